"""The card's words on a classifier: its splits, its baselines, its mistakes."""

from typing import Literal

from tasks.machine.json_files import Json
from tasks.show.text import percent, percents, signed, visible
from tasks.statistics.verdicts import shows

MOST_LABELS = 12  # of a confusion matrix that can be read; of more, the commonest mistakes are listed
MOST_MISTAKES = 15


def accuracy_interval(accuracy: Json) -> str:
    return percents(accuracy["low"], accuracy["high"])


def strongest(evaluation: Json) -> Json:
    """The baseline with the highest test accuracy: the one that must be beaten."""
    return max(evaluation["baselines"], key=lambda baseline: baseline["accuracy"]["mean"])


def split_rows(evaluation: Json) -> list[Json]:
    """The table of the splits, as text by column."""
    return [
        {
            "split": name,
            "texts": f"{split['rows']:,}",
            "accuracy": percent(split["accuracy"]["mean"]),
            "95% interval": accuracy_interval(split["accuracy"]),
            "macro F1": f"{split['macro_f1']:.3f}",
            "loss": f"{split['loss']:.3f}",
        }
        for name, split in evaluation["splits"].items()
    ]


def verdict_on(baseline: Json) -> Literal["better", "worse", "open"]:
    """What the paired test shows of the classifier against a baseline."""
    return shows(baseline["difference"], baseline["p_value"])


def comparison(baseline: Json) -> str:
    """`Better than bag of words`, or that this cannot be shown."""
    return comparison_of(verdict_on(baseline), visible(baseline["name"]))


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


def label_text(label: str, evaluation: Json) -> str:
    """The label, marked where it is the positive one."""
    return visible(label) + " (positive)" * (label == evaluation["positive"])


def f1_title(evaluation: Json) -> str:
    return "F1 of each label" + ", the lowest on the test split first" * (not fits(evaluation))


def f1_rows(evaluation: Json) -> list[Json]:
    """F1 of each label on each split, as text by column."""
    labels = evaluation["labels"]
    if not fits(evaluation):
        labels = sorted(labels, key=evaluation["splits"]["test"]["f1"].__getitem__)
    return [
        {"label": label_text(label, evaluation)}
        | {name: f"{split['f1'][label]:.3f}" for name, split in evaluation["splits"].items()}
        for label in labels
    ]


def confusions(evaluation: Json) -> list[tuple[str, list[list[int]]]]:
    """Name and matrix, true by predicted, of the test split: the baselines' too where they can be read."""
    found = [("classifier", evaluation["splits"]["test"]["confusion"])]
    baselines = evaluation["baselines"] if fits(evaluation) else []
    return found + [(visible(one["name"]), one["confusion"]) for one in baselines]


def share_of_row(matrix: list[list[int]], row: int, column: int) -> float:
    """Which share of the texts with a true label got the predicted one; 0 of a label that never occurs."""
    return matrix[row][column] / (sum(matrix[row]) or 1)


def fits(evaluation: Json) -> bool:
    """Whether there are few enough labels for a matrix."""
    return len(evaluation["labels"]) <= MOST_LABELS


def common_mistakes(evaluation: Json, matrix: list[list[int]]) -> list[tuple[str, str, int]]:
    """True label, predicted label and count of the commonest mistakes."""
    labels = [visible(label) for label in evaluation["labels"]]
    found = [
        (labels[row], labels[column], count)
        for row, counts in enumerate(matrix)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(found, key=lambda mistake: -mistake[2])[:MOST_MISTAKES]


def examples_text(report: Json) -> str:
    """How the examples were chosen."""
    examples = report["examples"]
    shown = sum(row["predicted"] != row["label"] for row in examples["rows"])
    wrong = examples["wrong"]
    if not wrong:
        text = f"None of {examples['of']:,} test texts is misclassified"
    elif shown == wrong:
        text = f"All {wrong:,} misclassified of {examples['of']:,} test texts, from the surest mistake on"
    else:
        text = f"{shown} of the {wrong:,} misclassified of {examples['of']:,} test texts, evenly from the "
        text += "surest mistake on"
    if right := len(examples["rows"]) - shown:
        text += f"; then {right} of the others, from the least sure on"
    return text + ". None was picked by hand."
