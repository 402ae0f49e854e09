"""What a labelling came to, as a document."""

import shlex

from tasks.judge.labels.labels_wording import interval_text, lines
from tasks.machine.json_files import Json
from tasks.show.document import (
    Block,
    Bullet,
    Bullets,
    Code,
    Document,
    Interval,
    Intervals,
    Point,
    Section,
    Text,
)


def document(outcome: Json) -> Document:
    """What was done, and what all labels so far make of the scores."""
    labels = outcome["labels"]
    done = Section("Labels", _done(outcome))
    return Document(
        kind="labels",
        title=f"Labels of {outcome['of']}",
        sections=[done, Section("Scores and people", _scores(labels))] if labels else [done],
    )


def _done(outcome: Json) -> list[Block]:
    if outcome["place"] == "mlflow":
        told = (
            f"{outcome['drawn']:,} rows are in MLflow's review queue {outcome['queue']!r}: open the "
            "experiment touchstone, then Review queue. `touchstone report` reads what is labelled there."
        )
        return [Text(told)]
    if outcome["place"] == "csv":
        told = f"{outcome['drawn']:,} rows are in this file. Fill in its column label, 0 to 5; then read it:"
        named, file = (shlex.quote(outcome[name]) for name in ("named", "file"))
        return [Text(told), Code(f"touchstone label {named} --from {file}")]
    return [Text(f"{outcome['given']:,} labels by {outcome['by']}.")]


def _scores(entry: Json) -> list[Block]:
    rows = [
        Interval(name, f"{at:.1f}", told, points=[Point(at)], low=low, high=high)
        for name, at, told, low, high in (
            ("as scored", entry["mean"], "", None, None),
            ("corrected", entry["estimate"], interval_text(entry), entry["low"], entry["high"]),
        )
        if at is not None
    ]
    return [Intervals(rows, empty=""), Bullets([Bullet(line) for line in lines(entry)])]
