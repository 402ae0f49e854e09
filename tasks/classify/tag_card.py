"""The card on a classifier of words: entities and their types, or tags."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from tasks.classify.card import Card
from tasks.classify.entities import marks_entities, spans
from tasks.machine.json_files import Json
from tasks.show.document import Block, Cell, Fact, Fold, Keep, Quote, Text, table_of
from tasks.show.text import percent

MOST_TYPES = 12  # that are shown at once
SAID = (
    "F1 is of whole entities, of their first word, last word and type, as conlleval and seqeval count them. "
    "Where tags are of single words, as parts of speech, it is the share of words with the right tag."
)


class TagCard(Card):
    """The headline is the F1 over all entities of a split."""

    measures: ClassVar = {
        "f1": "F1",
        "precision": "precision",
        "recall": "recall",
        "tag_accuracy": "accuracy of tags",
    }
    test = "paired test"
    score = "the F1 of a sentence"
    thing = "sentence"
    unit = "nats per word"
    wrong = "wrong"
    hub = ("token-classification", "Token classification")

    def size(self, summary: Json) -> str:
        return f"{len(summary['labels'])} tags"

    def split_section(self, evaluation: Json) -> tuple[str, list[Block]]:
        test = evaluation["splits"]["test"]["by_type"]
        rows = [
            {
                "type": kind,
                "entities": f"{one['entities']:,}",
                "precision": f"{one['precision']:.3f}",
                "recall": f"{one['recall']:.3f}",
                "F1": f"{one['f1']:.3f}",
            }
            for kind, one in sorted(test.items(), key=lambda item: item[1]["f1"])
        ]
        table = table_of(rows, keep=Keep(terminal=MOST_TYPES))
        title = "Each type on the test split, the lowest F1 first"
        fold = Fold(title, [table], is_open=len(rows) <= MOST_TYPES, keep=Keep())
        return "Splits and types", [Text(SAID, "muted", Keep(terminal=0)), self.splits(evaluation), fold]

    def alarms(self, evaluation: Json) -> Iterator[str]:
        """That nothing is found."""
        if not evaluation["splits"]["test"]["f1"]["mean"]:
            yield "The classifier finds no entity of the test sentences rightly."

    def is_right(self, example: Json) -> bool:
        return example["predicted"] == example["tags"]

    def inputs(self, examples: Sequence[Json]) -> Json:
        del examples
        return {"text": "Anna Weber moved to Lisbon in May."}

    def quotes(self, row: Json) -> Iterator[Quote]:
        yield Quote("sentence", " ".join(row["words"]))

    def facts(self, row: Json) -> list[Fact]:
        sure = f"the least sure tag at {percent(row['probability'])}"
        found = [
            Fact("true", said(row["words"], row["tags"])),
            Fact("classifier", said(row["words"], row["predicted"]), sure),
        ]
        return found + [Fact(name, said(row["words"], tags)) for name, tags in row["baselines"].items()]

    def table_row(self, row: Json) -> dict[str, Any]:
        given = said(row["words"], row["predicted"])
        return {
            "row": str(row["id"]),
            "sentence": " ".join(row["words"]),
            "true": said(row["words"], row["tags"]),
            "predicted": Cell(given, percent(row["probability"]), tone="worse"),
        }


def said(words: Sequence[str], tags: Sequence[str]) -> str:
    """`Anna Weber (PER), Lisbon (LOC)`; tags of single words as they are."""
    if not marks_entities([tags]):
        return " ".join(tags)
    return ", ".join(f"{' '.join(words[one.start : one.stop])} ({one.type})" for one in spans(tags)) or "none"


CARD = TagCard()
