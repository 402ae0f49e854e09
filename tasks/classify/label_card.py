"""The card on a classifier of one label a text: the F1 of each label, which labels are taken for others."""

from collections.abc import Iterator, Sequence

from tasks.classify.card import Card
from tasks.classify.outputs import ACCURACY
from tasks.machine.json_files import Json
from tasks.show.document import Block, Cell, Column, Fold, Group, Keep, Section, Table, Text, table_of

MOST_LABELS = 12  # of a confusion matrix that can be read; of more, the most frequent mistakes are listed
MOST_MISTAKES = 15


def fits(evaluation: Json) -> bool:
    """Whether there are few enough labels for a matrix."""
    return len(evaluation["labels"]) <= MOST_LABELS


class LabelCard(Card):
    """Of texts with one label each."""

    baseline_numbers = (ACCURACY, "macro_f1", "confusion")

    def split_section(self, evaluation: Json) -> tuple[str, list[Block]]:
        return "Splits and labels", [self.splits(evaluation), _f1(evaluation)]

    def own_sections(self, evaluation: Json) -> Iterator[Section]:
        title = "Confusion matrices" if fits(evaluation) else "Most frequent mistakes"
        yield Section(title, list(_confusions(evaluation)))

    def alarms(self, evaluation: Json) -> Iterator[str]:
        """That one label alone is given."""
        confusion = evaluation["splits"]["test"]["confusion"]
        predicted = [sum(row[at] for row in confusion) for at in range(len(evaluation["labels"]))]
        if len(predicted) > 1 and sum(map(bool, predicted)) == 1:
            label = evaluation["labels"][predicted.index(max(predicted))]
            yield f"The classifier gives every test text the same label, {label}."


CARD = LabelCard()


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
