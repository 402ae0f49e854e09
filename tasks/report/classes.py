"""The card on a classifier: its accuracy beside baselines, its splits, its mistakes."""

from collections.abc import Iterator, Sequence
from typing import Literal

from tasks.machine.json_files import Json
from tasks.show.document import (
    PAGE_ONLY,
    Cell,
    Column,
    Excerpt,
    Excerpts,
    Fact,
    Fold,
    Group,
    Interval,
    Intervals,
    Keep,
    Point,
    Quote,
    Section,
    Table,
    Text,
    table_of,
)
from tasks.show.text import percent, percents, signed
from tasks.statistics.verdicts import shows

MOST_LABELS = 12  # of a confusion matrix that can be read; of more, the most frequent mistakes are listed
MOST_MISTAKES = 15
MOST_ROWS = 500  # misclassified texts on the page


def accuracy_interval(accuracy: Json) -> str:
    return percents(accuracy["low"], accuracy["high"])


def strongest(evaluation: Json) -> Json:
    """The baseline with the highest test accuracy: the one that must be beaten."""
    return max(evaluation["baselines"], key=lambda baseline: baseline["accuracy"]["mean"])


def verdict_on(baseline: Json) -> Literal["better", "worse", "open"]:
    """What the paired test shows of the classifier against a baseline."""
    return shows(baseline["difference"], baseline["p_value"])


def comparison(baseline: Json) -> str:
    """`Better than bag of words`, or that this cannot be shown."""
    return comparison_of(verdict_on(baseline), baseline["name"])


def comparison_of(shown: str, name: str) -> str:
    """The same of what is shown, and a name that can be."""
    return {
        "better": f"Better than {name}",
        "worse": f"Worse than {name}",
        "open": f"Not shown to be better than {name}",
    }[shown]


def comparison_detail(baseline: Json) -> str:
    """`+2.3 points, 95% interval +0.5 to +4.2; exact McNemar p = 0.012`."""
    found = baseline["difference"]
    holds = ", which holds 0" if shows(found) == "open" else ""
    return (
        f"{signed(found['difference'])} points, 95% interval {signed(found['low'])} to "
        f"{signed(found['high'])}{holds}; exact McNemar {p_text(baseline['p_value'])}"
    )


def p_text(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def fits(evaluation: Json) -> bool:
    """Whether there are few enough labels for a matrix."""
    return len(evaluation["labels"]) <= MOST_LABELS


def sections(report: Json, rows: Sequence[Json]) -> Iterator[Section]:
    """The sections about a classifier; `rows` are all misclassified test texts, the surest mistake first."""
    evaluation = report["evaluation"]
    yield Section("Accuracy on the test split", list(_accuracies(evaluation)))
    yield Section("Splits and labels", [_splits(evaluation), _f1(evaluation)])
    title = "Confusion matrices" if fits(evaluation) else "Most frequent mistakes"
    yield Section(title, list(_confusions(evaluation)))
    yield Section("Examples", list(_examples(report, rows)))


def _accuracies(evaluation: Json) -> Iterator[Text | Intervals]:
    test = evaluation["splits"]["test"]
    yield Text(
        f"Beside baselines on the same {test['rows']:,} texts. The line is the 95% interval. What counts is "
        "how much better the classifier is than the strongest baseline.",
        "muted",
        Keep(terminal=0),
    )
    rows = [_accuracy("classifier", test["accuracy"], f"macro F1 {test['macro_f1']:.3f}")]
    for one in evaluation["baselines"]:
        under = f"macro F1 {one['macro_f1']:.3f}; {one['description']}"
        rows.append(_accuracy(one["name"], one["accuracy"], under))
    yield Intervals(rows, unit="%")
    for one in evaluation["baselines"]:
        yield Text(f"{comparison(one)}: {comparison_detail(one)}")


def _accuracy(name: str, accuracy: Json, under: str) -> Interval:
    low, mean, high = (100 * accuracy[part] for part in ("low", "mean", "high"))
    return Interval(
        name,
        percent(accuracy["mean"]),
        accuracy_interval(accuracy),
        "amber" if name == "classifier" else "slate",
        [Point(mean)],
        low,
        high,
        under=under,
    )


def _splits(evaluation: Json) -> Table:
    return table_of(
        [
            {
                "split": name,
                "texts": f"{split['rows']:,}",
                "accuracy": Cell(percent(split["accuracy"]["mean"]), accuracy_interval(split["accuracy"])),
                "macro F1": f"{split['macro_f1']:.3f}",
                "loss": f"{split['loss']:.3f}",
            }
            for name, split in evaluation["splits"].items()
        ]
    )


def _f1(evaluation: Json) -> Fold:
    """F1 of each label on each split; of many labels the lowest on the test split first."""
    labels = evaluation["labels"]
    title = "F1 of each label"
    if not fits(evaluation):
        title += ", the lowest on the test split first"
        labels = sorted(labels, key=evaluation["splits"]["test"]["f1"].__getitem__)
    rows = [
        {"label": label + " (positive)" * (label == evaluation["positive"])}
        | {name: f"{split['f1'][label]:.3f}" for name, split in evaluation["splits"].items()}
        for label in labels
    ]
    keep = Keep(terminal=MOST_LABELS)
    return Fold(title, [table_of(rows, keep=keep)], is_open=fits(evaluation), keep=Keep())


def _confusions(evaluation: Json) -> Iterator[Text | Group | Table]:
    """The classifier's matrix, on the page the baselines' too; of many labels the most frequent mistakes."""
    test = evaluation["splits"]["test"]
    if not fits(evaluation):
        yield Text(
            f"Of the test split. A matrix of {len(evaluation['labels']):,} labels could not be read.", "muted"
        )
        mistakes = common_mistakes(evaluation["labels"], test["confusion"])
        columns = [Column("true"), Column("predicted"), Column("texts")]
        cells = [[Cell(true), Cell(predicted), Cell(f"{count:,}")] for true, predicted, count in mistakes]
        yield Table(columns, cells, empty="no mistakes", keep=Keep(terminal=3))
        return
    yield Text(
        "Of the test split. A row is a true label, a column a predicted one; the stronger the colour, the "
        "larger the share of the row.",
        "muted",
        Keep(terminal=0),
    )
    yield matrix(evaluation["labels"], test["confusion"])
    for one in evaluation["baselines"]:
        table = matrix(evaluation["labels"], one["confusion"])
        yield Fold(f"Of the baseline: {one['name']}", [table], keep=Keep(terminal=0))


def matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """A confusion matrix, each cell shaded by its share of the texts with that true label."""
    rows = []
    for row, (label, own) in enumerate(zip(labels, counts, strict=True)):
        total = sum(own) or 1
        shaded = (
            Cell(f"{count:,}", shade=count / total, tone="better" if row == column else "worse")
            for column, count in enumerate(own)
        )
        rows.append([Cell(label), *shaded])
    return Table([Column("true \\ predicted"), *map(Column, labels)], rows, is_matrix=True)


def common_mistakes(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[str, str, int]]:
    """True label, predicted label and count of the most frequent mistakes."""
    found = [
        (labels[row], labels[column], count)
        for row, own in enumerate(counts)
        for column, count in enumerate(own)
        if row != column and count
    ]
    return sorted(found, key=lambda mistake: -mistake[2])[:MOST_MISTAKES]


def _examples(report: Json, rows: Sequence[Json]) -> Iterator[Text | Excerpts | Fold]:
    yield Text(_examples_text(report), "muted")
    yield Excerpts([_example(row) for row in report["examples"]["rows"]], keep=Keep(terminal=3))
    if len(rows) > len([row for row in report["examples"]["rows"] if row["predicted"] != row["label"]]):
        shown = [
            {
                "row": str(row["id"]),
                "label": row["label"],
                "predicted": Cell(row["predicted"], percent(row["probability"]), tone="worse"),
                "text": row["text"],
                **({"second text": row["text_pair"]} if "text_pair" in row else {}),
            }
            for row in rows[:MOST_ROWS]
        ]
        more = f", the first {MOST_ROWS:,}" if len(rows) > MOST_ROWS else ""
        title = f"All {len(rows):,} misclassified texts, the surest mistake first{more}"
        yield Fold(title, [table_of(shown)], keep=PAGE_ONLY)


def _example(row: Json) -> Excerpt:
    is_right = row["predicted"] == row["label"]
    second = [Quote("second text", row["text_pair"])] if "text_pair" in row else []
    facts = [Fact("label", row["label"]), Fact("classifier", row["predicted"], percent(row["probability"]))]
    facts += [Fact(name, said) for name, said in row["baselines"].items()]
    return Excerpt(
        f"Row {row['id']}",
        [Quote("text", row["text"]), *second],
        facts=facts,
        score="right" if is_right else "misclassified",
        tone="" if is_right else "worse",
    )


def _examples_text(report: Json) -> str:
    """How the examples were chosen."""
    examples = report["examples"]
    shown = sum(row["predicted"] != row["label"] for row in examples["rows"])
    wrong = examples["wrong"]
    if not wrong:
        text = f"None of {examples['of']:,} test texts is misclassified"
    elif shown == wrong:
        text = f"All {wrong:,} misclassified of {examples['of']:,} test texts, the surest mistake first"
    else:
        text = f"{shown} of the {wrong:,} misclassified of {examples['of']:,} test texts, evenly from the "
        text += "surest mistake on"
    if right := len(examples["rows"]) - shown:
        text += f"; then {right} of the others, the least sure first"
    return text + ". None was picked by hand."
