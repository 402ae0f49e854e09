"""The card in a terminal, in about sixty lines."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tasks.report import wording as words
from tasks.report.samples import spread

SAMPLES = 3
CATEGORIES = 8
TRACK = 30  # characters from 0 to 100
SPARK = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24
STYLES = {words.BASE: "bright_blue", words.TUNED: "yellow"}
TONES = {"better": "bold yellow", "worse": "bold red", "open": "bold", "none": "bold"}

Json = dict[str, Any]


def show(report: Json, cost: Json, console: Console) -> None:
    """Print the card. Every text is printed as it stands: nothing in it is markup or a terminal command."""
    card = Group(*_card(report, cost, console.width))
    console.print(card, soft_wrap=False, markup=False, highlight=False, emoji=False)


def _card(report: Json, cost: Json, width: int) -> Iterator[RenderableType]:
    yield from _head(report)
    if words.is_judged(report):
        yield from _section("Scores", *_scores(report))
        if categories := words.of_scorer(report["categories"], report["headline"]):
            yield from _section("By category, lowest first", _categories(categories))
        yield from _section("Samples", *_samples(report, width))
    yield from _section("Training", *_training(report, cost))
    if not words.is_judged(report):
        yield from _section("Samples", *_texts(cost, width))
    yield from _section("Data", *_data(report))
    yield from _section("Cost", *_cost(cost))


def _section(title: str, *body: RenderableType) -> Iterator[RenderableType]:
    yield Text(f"\n{title}", "bold")
    for part in body:
        yield Padding(part, (0, 0, 0, 2), expand=False)


def _head(report: Json) -> Iterator[RenderableType]:
    verdict = words.verdict(report)
    title = f"{words.visible(report['title'])} {words.under_title(report)}"
    yield Text.assemble((title, "bold"), "  ", (f" {words.standing(report)} ", "reverse"))
    yield Text.assemble(
        (f"{verdict.sentence} {verdict.number}".rstrip(), TONES[verdict.tone]), " ", verdict.detail
    )
    if words.is_judged(report):
        yield Text(words.visible(report["promotion"]["reason"]), "dim")


def _grid(*widths: int) -> Table:
    """A grid of columns at least that wide, so that one grid below the other lines up."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(overflow="fold", min_width=width)
    return grid


def _scores(report: Json) -> Iterator[RenderableType]:
    for scorer in words.scorers(report):
        yield Text(words.scorer_title(scorer))
        grid = _grid(10, TRACK, 0)
        for entry in words.of_scorer(report["scores"], scorer["scorer"]):
            style = STYLES[entry["model"]]
            track = Text(_track(entry), style) if words.has_mean(entry) else Text()
            numbers = Text.assemble(
                (words.mean_text(entry), "bold"), (f"  {words.interval_text(entry)}", "dim")
            )
            grid.add_row(Text(entry["model"], style), track, numbers)
        yield grid
        for entry in words.of_scorer(report["scores"], scorer["scorer"]):
            if entry["missing"]:
                yield Text(f"{entry['model']}: {words.scored_text(entry)}", "dim")
    for entry in report["responses"]:
        yield Text(f"{entry['model']} responses: {words.responses_text(entry)}", "dim")


def _track(entry: Json) -> str:
    """The interval and the mean on a line from 0 to 100."""
    low, mean, high = (round(entry[name] / 100 * (TRACK - 1)) for name in ("low", "mean", "high"))
    cells = ["─" if low <= at <= high else "·" for at in range(TRACK)]
    cells[mean] = "●"
    return "".join(cells)


def _categories(rows: Sequence[Json]) -> RenderableType:
    def mean(row: Json, model: str) -> float:
        return -1.0 if row[model] is None else row[model]

    grid = _grid(10, 0, 0, 0)
    for row in sorted(rows, key=lambda row: mean(row, words.TUNED))[:CATEGORIES]:
        both = (Text(words.category_mean(row[model]), STYLES[model]) for model in (words.BASE, words.TUNED))
        grid.add_row(Text(words.visible(row["category"])), *both, Text(f"{row['rows']:,} rows", "dim"))
    if len(rows) > CATEGORIES:
        grid.add_row(Text(f"and {len(rows) - CATEGORIES} more on the page", "dim"))
    return grid


def _samples(report: Json, width: int) -> Iterator[RenderableType]:
    rows = report["samples"]["rows"]
    shown = spread(rows, SAMPLES)
    if len(shown) < len(rows):
        yield Text(f"{len(shown)} of the page's {len(rows)}: the lowest, the middle, the highest.", "dim")
    room = max(20, width - 24)
    for row in shown:
        question = " ".join((row["instruction"], row["input"]))
        grid = _grid(10, 5, 0)
        grid.add_row(Text("prompt", "dim"), Text(), Text(words.one_line(question, room), "bold"))
        for model in (words.BASE, words.TUNED):
            answer = row[model]
            response = words.one_line(answer["response"], room) or words.remarks(answer)
            style = "" if answer["response"] else "dim"
            score = Text(words.score_text(answer["score"]), STYLES[model], justify="right")
            grid.add_row(Text(model, STYLES[model]), score, Text(response, style))
        grid.add_row(Text("reference", "dim"), Text(), Text(words.one_line(row["reference"], room)))
        yield grid


def _texts(cost: Json, width: int) -> Iterator[RenderableType]:
    yield Text(words.texts_text(cost), "dim")
    grid = _grid(10, 5, 0)
    for row in spread(cost["texts"]["rows"], SAMPLES):
        text = words.one_line(row["text"], max(20, width - 34))
        loss = Text(f"{row['validation_loss']:.3f}", STYLES[words.TUNED], justify="right")
        grid.add_row(Text(f"step {row['step']:,}", "dim"), loss, Text(text))
    yield grid


def _training(report: Json, cost: Json) -> Iterator[RenderableType]:
    pretraining = report["pretraining"]
    shape = f"{words.short(pretraining['parameters'])} parameters: {words.shape_text(report['model'])}"
    how = f"pretrained on {words.short(pretraining['tokens'])} tokens in "
    if words.is_judged(report):
        how += f"{pretraining['steps']:,} steps, fine-tuned in {report['finetuning']['steps']:,}"
    else:
        how += words.schedule_text(pretraining)
    yield Text(f"{shape}; {how}")
    grid = _grid(11, SPARK_WIDTH, 0)
    for name, curve in report["curves"].items():
        train = [line["points"] for line in curve["lines"] if line["name"] == "train"]
        spark = sparkline([mean for points in train for _, mean, _, _ in points], SPARK_WIDTH)
        title = {"finetuning": "fine-tuning"}.get(name, name)
        losses = words.losses_text(report[name])
        grid.add_row(Text(title), Text(spark, STYLES[words.BASE]), Text(losses, "dim"))
    yield grid
    if speed := cost.get("speed"):  # cards of before have none
        yield Text(words.visible(words.speed_text(speed)), "dim")


def sparkline(values: Sequence[float], width: int) -> str:
    """`values` in at most `width` characters, each the mean of a run of neighbours; 0 is the base line."""
    count = min(width, len(values))
    borders = [len(values) * index // count for index in range(count + 1)] if count else []
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(borders)]
    top = max(means, default=0.0) or 1.0
    return "".join(SPARK[round(mean / top * (len(SPARK) - 1))] for mean in means)


def _data(report: Json) -> Iterator[RenderableType]:
    corpus = report["corpus"]
    yield Text(f"corpus: {words.files_text(corpus)}, {words.corpus_text(corpus)}")
    if not words.is_judged(report):
        return
    instructions = report["instructions"]
    splits = " + ".join(f"{count:,}" for count in instructions["splits"].values())
    yield Text(
        f"instructions: {words.files_text(instructions)}, {instructions['read']:,} rows, {splits} "
        f"({' + '.join(instructions['splits'])}); {words.moved_text(instructions)}"
    )


def _cost(cost: Json) -> Iterator[RenderableType]:
    parts = [
        f"{stage['output'].replace('_', ' ')} {words.duration(stage['seconds'])}" for stage in cost["stages"]
    ]
    if parts:
        yield Text(", ".join(parts))
    yield Text(words.cost_text(cost), "dim")
    lineage = cost["lineage"]
    known = [
        f"{label} {words.visible(lineage[name])}"
        for label, name in (("commit", "git_commit"), ("flow run", "prefect_flow_run"))
        if name in lineage
    ]
    if cost["run_id"]:
        known.append(f"MLflow run {cost['run_id']}")
    if known:
        yield Text(", ".join(known), "dim")
