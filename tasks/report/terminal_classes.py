"""A classifier with its baselines, its splits and its mistakes, for the terminal."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tasks.machine.json_files import Json
from tasks.report import classes_wording as words
from tasks.report.samples import spread
from tasks.show.terminal_style import SAMPLES, STYLES, TRACK, bar, grid_of
from tasks.show.text import one_line, percent, visible

LABELS = 12  # characters of the first column


def sections(report: Json, width: int) -> dict[str, list[RenderableType]]:
    """The sections by their titles."""
    evaluation = report["evaluation"]
    return {
        "Test accuracy": list(_accuracies(evaluation)),
        "Splits": [_table_of(words.split_rows(evaluation))],
        words.f1_title(evaluation): [_table_of(words.f1_rows(evaluation)[: words.MOST_LABELS])],
        "Confusions of the test split": list(_confusions(evaluation)),
        "Examples": list(_examples(report, width)),
    }


def _accuracies(evaluation: Json) -> Iterator[RenderableType]:
    grid = grid_of(LABELS, TRACK, 0)
    grid.add_row(*_bar("classifier", STYLES["classifier"], evaluation["splits"]["test"]["accuracy"]))
    for baseline in evaluation["baselines"]:
        grid.add_row(*_bar(visible(baseline["name"]), STYLES["base"], baseline["accuracy"]))
    yield grid
    for baseline in evaluation["baselines"]:
        yield Text.assemble(words.comparison(baseline), (f": {words.comparison_detail(baseline)}", "dim"))


def _bar(name: str, style: str, accuracy: Json) -> tuple[Text, ...]:
    low, mean, high = (100 * accuracy[part] for part in ("low", "mean", "high"))
    return bar(name, style, (low, mean, high), percent(accuracy["mean"]), words.accuracy_interval(accuracy))


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    heads = [Text(name, "dim") for name in names]
    grid = grid_of(LABELS, *([0] * (len(heads) - 1)))
    grid.add_row(*heads)
    for row in rows:
        grid.add_row(*map(Text, row))
    return grid


def _table_of(rows: list[Json]) -> Table:
    return _table(rows[0], (row.values() for row in rows))


def _confusions(evaluation: Json) -> Iterator[RenderableType]:
    """The classifier's matrix; of many labels its commonest mistakes. The baselines' are on the page."""
    _, matrix = words.confusions(evaluation)[0]
    if not words.fits(evaluation):
        for true, predicted, count in words.common_mistakes(evaluation, matrix)[:SAMPLES]:
            yield Text(f"{count:,} of {true} taken for {predicted}")
        return
    labels = [visible(label) for label in evaluation["labels"]]
    rows = (
        [label, *(f"{count:,}" for count in counts)] for label, counts in zip(labels, matrix, strict=True)
    )
    yield _table(["true \\ predicted", *labels], rows)


def _examples(report: Json, width: int) -> Iterator[RenderableType]:
    yield Text(words.examples_text(report), "dim")
    grid = grid_of(LABELS, 0)
    for row in spread(report["examples"]["rows"], SAMPLES):
        said = f"{visible(row['predicted'])} ({percent(row['probability'])})"
        judgement = "right" if row["predicted"] == row["label"] else f"it is {visible(row['label'])}"
        grid.add_row(
            Text(said, STYLES["classifier"]),
            Text(judgement, "dim"),
            Text(one_line(row["text"], max(20, width - 44))),
        )
    yield grid
