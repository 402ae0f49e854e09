"""Scores, categories and samples of models that were judged side by side, for the terminal."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from tasks.judge.labels import labels_wording as labelling
from tasks.judge.score import scores_wording as words
from tasks.machine.json_files import Json
from tasks.report import judging_wording as judging
from tasks.report.samples import spread
from tasks.show.terminal_style import SAMPLES, STYLES, TRACK, bar, grid_of
from tasks.show.text import one_line, visible

CATEGORIES = 8
GATES = 4  # of one judge that failed or warn
LABELS = 10  # characters of the first column


def sections(report: Json, width: int) -> dict[str, list[RenderableType]]:
    """The sections by their titles."""
    found = {"Scores": list(_scores(report))}
    if judges := judging.judges(report):
        found["Judges" if len(judges) > 1 else "Judge"] = list(_judges(report))
    if labelling.means(report):
        found["People's labels"] = list(_labels(report))
    if categories := words.headline_categories(report):
        found["By category, lowest first"] = [_categories(categories, words.models(report))]
    return found | {"Samples": list(_samples(report, width))}


def _scores(report: Json) -> Iterator[RenderableType]:
    headline, *others = words.scorers(report)
    yield Text(words.scorer_title(headline))
    if criteria := judging.criteria_text(report):
        yield Text(criteria, "dim")
    entries = words.of_scorer(report["scores"], headline["scorer"])
    grid = grid_of(LABELS, TRACK, 0)
    for entry in entries:
        if words.has_mean(entry):
            numbers = entry["low"], entry["mean"], entry["high"]
            value, interval = words.mean_text(entry), words.interval_text(entry)
            grid.add_row(*bar(entry["model"], STYLES[entry["model"]], numbers, value, interval))
        else:
            grid.add_row(
                Text(entry["model"], STYLES[entry["model"]]), Text(), Text(words.mean_text(entry), "bold")
            )
    yield grid
    for entry in entries:
        if words.is_incomplete(entry):
            yield Text(f"{entry['model']}: {words.scored_text(entry)}", "dim")
    for line in judging.correlation_lines(report):
        yield Text(line, "dim")
    if others:
        yield _table(report, others)
    for entry in report["responses"]:
        yield Text(f"{entry['model']} responses: {words.responses_text(entry)}", "dim")


def _table(report: Json, scorers: Sequence[Json]) -> RenderableType:
    """The other scorers, a line each: every model's mean with its interval."""
    grid = grid_of(0, *([0] * len(words.models(report))))
    grid.columns[0].no_wrap = True  # as a least width the others would be cut off behind it, not wrapped
    for scorer in scorers:
        cells = []
        for entry in words.of_scorer(report["scores"], scorer["scorer"]):
            interval = f" ({words.interval_text(entry)})" if words.has_mean(entry) else ""
            cells.append(Text.assemble((words.mean_text(entry), STYLES[entry["model"]]), (interval, "dim")))
        grid.add_row(Text(words.scorer_title(scorer)), *cells)
    return grid


def _judges(report: Json) -> Iterator[RenderableType]:
    """Each judge with its audit, and how far they agree."""
    for judge in judging.judges(report):
        yield Text(judging.judge_text(judge))
        lines = judging.gate_lines(judge)
        yield Text(judging.audit_text(judge), "bold red" if judging.gates(judge, "fail") else "dim")
        for line in lines[:GATES]:
            yield Text(f"  {line}", "dim")
        if len(lines) > GATES:
            yield Text(f"  and {len(lines) - GATES} more on the page", "dim")
    for own in report["agreements"]:
        yield Text(f"{own['model']} responses: {judging.agreement_text(own)}")
        for row in judging.pair_rows(report):
            if row["model"] == own["model"]:
                yield Text(f"  {judging.pair_text(row)}", "dim")


def _labels(report: Json) -> Iterator[RenderableType]:
    """Each labelled model's mean and each difference, corrected."""
    for entry in labelling.means(report):
        first, *others = labelling.lines(entry)
        yield Text(first)
        yield from (Text(f"  {line}", "dim") for line in others)
    for found in labelling.differences(report):
        yield Text(f"{words.minus_text(found)}: {labelling.difference_text(found)}")


def _categories(rows: Sequence[Json], models: Sequence[str]) -> RenderableType:
    def mean(row: Json) -> float:
        return -1.0 if row[models[-1]] is None else row[models[-1]]

    grid = grid_of(LABELS, *([0] * len(models)), 0)
    for row in sorted(rows, key=mean)[:CATEGORIES]:
        means = (Text(words.category_mean(row[model]), STYLES[model]) for model in models)
        grid.add_row(Text(visible(row["category"])), *means, Text(f"{row['rows']:,} rows", "dim"))
    if len(rows) > CATEGORIES:
        grid.add_row(Text(f"and {len(rows) - CATEGORIES} more on the page", "dim"))
    return grid


def _samples(report: Json, width: int) -> Iterator[RenderableType]:
    rows = report["samples"]["rows"]
    shown = spread(rows, SAMPLES)
    if len(shown) < len(rows):
        yield Text(f"{len(shown)} of the page's {len(rows)}: the first, the middle, the last.", "dim")
    room = max(20, width - 24)
    for row in shown:
        question = " ".join((row["instruction"], row["input"]))
        grid = grid_of(LABELS, 5, 0)
        grid.add_row(Text("prompt", "dim"), Text(), Text(one_line(question, room), "bold"))
        for model in words.models(report):
            answer = row[model]
            response = one_line(answer["response"], room) or words.remarks(answer)
            style = "" if answer["response"] else "dim"
            score = Text(words.score_text(answer["score"]), STYLES[model], justify="right")
            grid.add_row(Text(model, STYLES[model]), score, Text(response, style))
        grid.add_row(Text("reference", "dim"), Text(), Text(one_line(row["reference"], room)))
        yield grid
