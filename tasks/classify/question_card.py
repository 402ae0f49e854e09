"""The card on a model that finds answers: exact match beside F1, and questions with and without an answer."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from tasks.classify.answers import exact_match
from tasks.classify.card import Card, headline_interval
from tasks.machine.json_files import Json
from tasks.show.document import Cell, Fact, Keep, Quote, Section, Table, Text, table_of
from tasks.show.text import percent

NONE = "no answer"
KINDS = {"answerable": "with an answer", "unanswerable": "without an answer"}
USAGE = """\
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
model = AutoModelForQuestionAnswering.from_pretrained("FOLDER")
question, context = "Who founded Arlen?", "Anna Berg founded Arlen in 1312."
inputs = tokenizer(question, context, return_tensors="pt")
# With a base that reads from left to right: tokenizer(question + "\\n" + context, return_tensors="pt")
with torch.no_grad():
    found = model(**inputs)
start, end = int(found.start_logits.argmax()), int(found.end_logits.argmax())
print(tokenizer.decode(inputs["input_ids"][0, start : end + 1]))"""
LONG = 300  # characters of a context in a table


class QuestionCard(Card):
    """Of questions whose answers are spans of a context."""

    measures: ClassVar = {"f1": "F1", "exact_match": "exact match"}
    test = "paired test"
    thing = "question"
    unit = "nats per place"
    wrong = "answered wrongly"
    hub = ("question-answering", "Question answering")
    has_labels = False
    takes_text = False
    usage = USAGE
    baseline_numbers = ("f1", "exact_match")

    def own_sections(self, evaluation: Json) -> Iterator[Section]:
        yield Section("Exact match", list(self._exact(evaluation)))

    def _exact(self, evaluation: Json) -> Iterator[Text | Table]:
        test = evaluation["splits"]["test"]
        yield Text(
            "An answer matches where it is one of the right ones, whatever its case, punctuation and "
            "articles (SQuAD's official script); F1 counts the words that it shares with the right one. The "
            "interval draws the questions on one passage together.",
            "muted",
            Keep(terminal=0),
        )
        found = test["exact_match_interval"]
        every = {
            "questions": "all",
            "rows": f"{test['rows']:,}",
            "exact match": Cell(percent(found["mean"]), headline_interval(found)),
            "F1": percent(test["f1"]["mean"]),
        }
        kinds = [
            {
                "questions": title,
                "rows": f"{own['rows']:,}",
                "exact match": percent(own["exact_match"]),
                "F1": percent(own["f1"]),
                "answered with none": percent(own["given_none"]),
            }
            for kind, title in KINDS.items()
            if (own := test.get(kind))
        ]
        if len(kinds) > 1:
            none = sum(own["given_none"] * own["rows"] for kind in KINDS if (own := test.get(kind)))
            yield table_of([every | {"answered with none": percent(none / test["rows"])}, *kinds])
        else:
            yield table_of([every])

    def alarms(self, evaluation: Json) -> Iterator[str]:
        """That no question is answered."""
        test = evaluation["splits"]["test"]
        if (own := test.get("answerable")) and own["given_none"] == 1.0:
            yield "The model answers no question: it gives none to every one."

    def size(self, summary: Json) -> str:
        del summary
        return "answers as spans"

    def is_right(self, example: Json) -> bool:
        return exact_match(example["predicted"], example["answers"]) == 1.0

    def inputs(self, examples: Sequence[Json]) -> Json:
        del examples
        return {"context": "Anna Berg founded Arlen in 1312.", "question": "Who founded Arlen?"}

    def quotes(self, row: Json) -> Iterator[Quote]:
        yield Quote("question", row["question"])
        yield Quote("context", row["context"])

    def facts(self, row: Json) -> list[Fact]:
        found = [
            Fact("right", " / ".join(dict.fromkeys(row["answers"])) or NONE),
            Fact("model", row["predicted"] or NONE, percent(row["probability"])),
        ]
        return found + [Fact(name, said or NONE) for name, said in row["baselines"].items()]

    def table_row(self, row: Json) -> dict[str, Any]:
        context = row["context"]
        return {
            "row": str(row["id"]),
            "question": row["question"],
            "right": " / ".join(dict.fromkeys(row["answers"])) or NONE,
            "given": Cell(row["predicted"] or NONE, percent(row["probability"]), tone="worse"),
            "context": context if len(context) <= LONG else f"{context[: LONG - 1]}…",
        }


CARD = QuestionCard()
