"""The card on a model that chooses: its accuracy beside chance, and beside what the choices alone tell."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from tasks.classify.card import Card
from tasks.machine.json_files import Json
from tasks.show.document import Cell, Fact, Intervals, Quote, Text
from tasks.show.text import percent

USAGE = """\
import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("FOLDER")
# With a base that reads from left to right: AutoModelForSequenceClassification, which gives one score
# to each of tokenizer([prompt + "\\n" + choice for choice in choices], padding=True, return_tensors="pt").
model = AutoModelForMultipleChoice.from_pretrained("FOLDER")
prompt, choices = "The Elbe is", ["a river.", "a bird."]
inputs = tokenizer([prompt] * len(choices), choices, padding=True, return_tensors="pt")
with torch.no_grad():
    found = model(**{name: each[None] for name, each in inputs.items()})
print(choices[int(found.logits[0].argmax())])"""


class ChoiceCard(Card):
    """Of prompts with several choices each."""

    measures: ClassVar = {"accuracy": "accuracy"}
    thing = "prompt"
    unit = "nats per prompt"
    wrong = "answered wrongly"
    hub = ("multiple-choice", "Multiple choice")
    has_labels = False
    takes_text = False
    usage = USAGE
    baseline_numbers = ("accuracy",)

    def headlines(self, evaluation: Json) -> Iterator[Text | Intervals]:
        yield from super().headlines(evaluation)
        chance = evaluation["splits"]["test"]["chance"]
        yield Text(
            f"Guessing among the choices of each prompt is right for {percent(chance)}. What 'choices alone' "
            "reaches above that is told by the choices themselves, without what is asked.",
            "muted",
        )

    def size(self, summary: Json) -> str:
        del summary
        return "one of several choices"

    def inputs(self, examples: Sequence[Json]) -> Json:
        del examples
        return {"prompt": "The Elbe is", "choices": ["a river.", "a bird."]}

    def quotes(self, row: Json) -> Iterator[Quote]:
        yield Quote("prompt", row["prompt"])
        yield Quote("choices", "\n".join(row["choices"]))

    def facts(self, row: Json) -> list[Fact]:
        found = [Fact("right", row["label"]), Fact("model", row["predicted"], percent(row["probability"]))]
        return found + [Fact(name, said) for name, said in row["baselines"].items()]

    def table_row(self, row: Json) -> dict[str, Any]:
        return {
            "row": str(row["id"]),
            "prompt": row["prompt"],
            "right": row["label"],
            "given": Cell(row["predicted"], percent(row["probability"]), tone="worse"),
        }


CARD = ChoiceCard()
