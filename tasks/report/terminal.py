"""The card in a terminal, in about sixty lines."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from tasks.machine.json_files import Json
from tasks.registry.promote.promotion_wording import checked_text
from tasks.report import seeds_wording as seeds
from tasks.report import terminal_classes, terminal_scores
from tasks.report import wording as words
from tasks.report.samples import spread
from tasks.report.seeds_wording import SEEDS_OF
from tasks.report.verdict import verdict
from tasks.show.terminal_style import SAMPLES, STYLES, TRACK, grid_of, loss_style, track
from tasks.show.text import duration, one_line, short, visible

SPARK = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24
TONES = {"better": "bold yellow", "worse": "bold red", "open": "bold", "none": "bold"}


def show(report: Json, cost: Json, console: Console) -> None:
    """Print the card. Every text is printed as it stands: nothing in it is markup or a terminal command."""
    card = Group(*_card(report, cost, console.width))
    console.print(card, soft_wrap=False, markup=False, highlight=False, emoji=False)


def _card(report: Json, cost: Json, width: int) -> Iterator[RenderableType]:
    yield from _head(report)
    if "seeds" in report:
        yield from _section(seeds.title(report).capitalize(), *_seeds(report))
    about: dict[str, list[RenderableType]] = {}
    if words.is_judged(report):
        about = terminal_scores.sections(report, width)
    if words.is_classified(report):
        about = terminal_classes.sections(report, width)
    for title, body in about.items():
        yield from _section(title, *body)
    yield from _section("Training", *_training(report, cost))
    if words.is_pretrained_only(report):
        yield from _section("Samples", *_texts(cost, width))
    yield from _section("Data", *_data(report))
    yield from _section("Cost", *_cost(cost))


def _section(title: str, *body: RenderableType) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", "bold")
    for part in body:
        yield Padding(part, (0, 0, 0, 2), expand=False)


def _head(report: Json) -> Iterator[RenderableType]:
    found = verdict(report)
    title = f"{visible(report['title'])} {words.under_title(report)}"
    yield Text.assemble((title, "bold"), "  ", (f" {words.standing(report)} ", "reverse"))
    yield Text.assemble((f"{found.sentence} {found.number}".rstrip(), TONES[found.tone]), " ", found.detail)
    if found.more:
        yield Text(found.more)
    if found.warning:
        yield Text(found.warning, "bold red")
    if not words.is_pretrained_only(report):
        yield Text(visible(report["promotion"]["reason"]), "dim")
        if checked := checked_text(report["promotion"]):
            yield Text(visible(checked), "dim")


def _seeds(report: Json) -> Iterator[RenderableType]:
    """Every seed on one line from 0 to 100, with the interval over all; then the differences."""
    for line in seeds.explained(report):
        yield Text(line, "dim")
    for line in seeds.failures(report):
        yield Text(line, "bold red")
    grid = grid_of(10, TRACK, 0)
    for entry in seeds.headline(report):
        low, *means, high = entry["low"], *entry["by_seed"], entry["high"]
        style, mean = STYLES[entry["model"]], f"{entry['mean']:.1f}"
        told = Text.assemble((mean, "bold"), (f"  {seeds.spread_text(entry)}", "dim"))
        grid.add_row(Text(entry["model"], style), Text(track(low, means, high), style), told)
    yield grid
    for row in seeds.run_rows(report):
        numbers = [f"{name} {value}" for name, value in row.items() if name not in ("seed", SEEDS_OF)]
        yield Text(f"seed {row['seed']}: {', '.join(numbers)}  ({row[SEEDS_OF]})")
    if loss := seeds.loss_text(report):
        yield Text(loss, "dim")
    for row in seeds.difference_rows(report):
        interval = f"; 95% over seeds and rows {row['95% over seeds and rows']}" if row["each seed"] else ""
        yield Text(f"{row['difference']}, {row['scorer']}: {row['points']}, {row['shown']}{interval}")


def _texts(cost: Json, width: int) -> Iterator[RenderableType]:
    yield Text(words.texts_text(cost), "dim")
    grid = grid_of(10, 5, 0)
    for row in spread(cost["texts"]["rows"], SAMPLES):
        text = one_line(row["text"], max(20, width - 34))
        loss = Text(f"{row['validation_loss']:.3f}", loss_style("validation"), justify="right")
        grid.add_row(Text(f"step {row['step']:,}", "dim"), loss, Text(text))
    yield grid


def _training(report: Json, cost: Json) -> Iterator[RenderableType]:
    model = report["model"]
    yield Text(f"{short(model['parameters'])} parameters: {words.shape_text(model)}")
    if origin := report.get("origin"):
        yield Text(f"base model imported: {words.origin_text(origin)}")
    for name, summary in words.trainings(report).items():
        how, *results = words.training_lines(name, summary)
        yield Text(f"{words.TRAINING_TITLES[name]}: {how[0].lower()}{how[1:]}")
        spark = _spark_of(report, name)
        for index, line in enumerate(results):
            grid = grid_of(0, SPARK_WIDTH, 0)
            mark = Text(spark, loss_style("train")) if index == 0 else Text()
            grid.add_row(Text(), mark, Text(line[0].lower() + line[1:], "dim"))
            yield grid
    if speed := cost["speed"]:
        yield Text(visible(words.speed_text(speed)), "dim")


def _spark_of(report: Json, training: str) -> str:
    """The training loss as a line of bars; nothing where none was measured."""
    return next(
        (
            sparkline([mean for _, mean, _, _ in line["points"]], SPARK_WIDTH)
            for curve in report["curves"]
            if (curve["training"], curve["quantity"]) == (training, "loss")
            for line in curve["lines"]
            if line["name"] == "train"
        ),
        "",
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` in at most `width` characters, each the mean of a run of neighbours; 0 is the base line."""
    count = min(width, len(values))
    borders = [len(values) * index // count for index in range(count + 1)] if count else []
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(borders)]
    top = max(means, default=0.0) or 1.0
    return "".join(SPARK[round(mean / top * (len(SPARK) - 1))] for mean in means)


def _data(report: Json) -> Iterator[RenderableType]:
    for name, title in words.DATA.items():
        if name in report:
            yield Text(f"{title.lower()}: {words.data_text(name, report)}")


def _cost(cost: Json) -> Iterator[RenderableType]:
    parts = [f"{stage['output'].replace('_', ' ')} {duration(stage['seconds'])}" for stage in cost["stages"]]
    if parts:
        yield Text(", ".join(parts))
    yield Text(words.cost_text(cost), "dim")
    lineage = cost["lineage"]
    known = [
        f"{label} {visible(lineage[name])}"
        for label, name in (("commit", "git_commit"), ("flow run", "prefect_flow_run"))
        if name in lineage
    ]
    if cost["run_id"]:
        known.append(f"MLflow run {cost['run_id']}")
    if known:
        yield Text(", ".join(known), "dim")
