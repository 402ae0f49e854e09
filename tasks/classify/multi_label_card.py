"""The card on a classifier of any number of labels a text."""

from collections.abc import Iterator
from typing import Any, ClassVar

from tasks.classify.card import Card
from tasks.machine.json_files import Json
from tasks.show.document import Block, Cell, Fact, Fold, Keep, table_of
from tasks.show.text import percent

MOST_LABELS = 12  # that are shown at once


class MultiLabelCard(Card):
    """The headline is the mean F1 of a row's labels: each row counts alike, as its interval needs."""

    measures: ClassVar = {
        "labels_f1": "mean F1 of a text's labels",
        "micro_f1": "micro F1",
        "macro_f1": "macro F1",
        "exact_match": "exact match",
        "hamming_loss": "Hamming loss",
    }
    test = "paired test"
    unit = "nats per label"
    wrong = "wrong"

    def split_section(self, evaluation: Json) -> tuple[str, list[Block]]:
        labels = sorted(evaluation["labels"], key=evaluation["splits"]["test"]["f1"].__getitem__)
        rows = [
            {"label": label}
            | {name: f"{split['f1'][label]:.3f}" for name, split in evaluation["splits"].items()}
            for label in labels
        ]
        table = table_of(rows, keep=Keep(terminal=MOST_LABELS))
        title = "F1 of each label, the lowest on the test split first"
        fold = Fold(title, [table], is_open=len(labels) <= MOST_LABELS, keep=Keep())
        return "Splits and labels", [self.splits(evaluation), fold]

    def alarms(self, evaluation: Json) -> Iterator[str]:
        """That no label is ever given."""
        test = evaluation["splits"]["test"]
        if not test["micro_f1"] and any(one["micro_f1"] for one in evaluation["baselines"]):
            yield "The classifier gives no test text a right label."

    def is_right(self, example: Json) -> bool:
        return example["predicted"] == example["labels"]

    def facts(self, row: Json) -> list[Fact]:
        sure = f"the least sure of its decisions at {percent(row['probability'])}"
        found = [Fact("labels", _said(row["labels"])), Fact("classifier", _said(row["predicted"]), sure)]
        return found + [Fact(name, _said(said)) for name, said in row["baselines"].items()]

    def table_row(self, row: Json) -> dict[str, Any]:
        return {
            "row": str(row["id"]),
            "labels": _said(row["labels"]),
            "predicted": Cell(_said(row["predicted"]), percent(row["probability"]), tone="worse"),
            "text": row["text"],
            **({"second text": row["text_pair"]} if "text_pair" in row else {}),
        }


def _said(labels: list[str]) -> str:
    return ", ".join(labels) or "none"


CARD = MultiLabelCard()
