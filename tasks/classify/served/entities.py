"""A classifier of words, as MLflow loads it: a text in, its entities with their characters' places out.

A text is taken apart into words and signs; whoever has words of their own gives them as `words`, and places
are those in the words joined with spaces.
"""

import re

import mlflow
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from transformers import AutoModelForTokenClassification, AutoTokenizer

WORD = re.compile(r"\w+(?:[-'’.]\w+)*|[^\w\s]")


def words_of(text: str) -> list[tuple[int, int]]:
    """Where each word begins and ends."""
    return [found.span() for found in WORD.finditer(text)]


@torch.no_grad()
def tag_words(model, tokenizer, words: list[str]) -> tuple[list[str], list[float]]:  # noqa: ANN001
    """A tag for each word with its probability; those behind the longest text are outside."""
    inputs = tokenizer(" ".join(words), truncation=True, return_offsets_mapping=True, return_tensors="pt")
    offsets = inputs.pop("offset_mapping")[0].tolist()
    shares = model(**inputs).logits[0].double().softmax(dim=-1)
    names = model.config.id2label
    unread = "O" if "O" in names.values() else min(names.values())
    tags, sure, begin, token = [], [], 0, 0
    for word in words:
        while token < len(offsets) and offsets[token][1] <= begin:
            token += 1
        is_read = token < len(offsets)
        tags.append(names[int(shares[token].argmax())] if is_read else unread)
        sure.append(float(shares[token].max()) if is_read else 0.0)
        begin += len(word) + 1
    return tags, sure


class Entities(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: pd.DataFrame,
        params: dict | None = None,  # noqa: ARG002
    ) -> list[dict]:
        return [self._answer(row["text"], row.get("words")) for row in model_input.to_dict("records")]

    def _answer(self, text: str, given: list[str] | None) -> dict:
        if given is None or isinstance(given, float):  # pandas has NaN where nothing is given
            places = words_of(text)
            words = [text[start:stop] for start, stop in places]
        else:
            words, places, begin = [str(word) for word in given], [], 0
            text = " ".join(words)
            for word in words:
                places.append((begin, begin + len(word)))
                begin += len(word) + 1
        tags, sure = tag_words(self.model, self.tokenizer, words) if words else ([], [])
        found: list[dict] = []
        before = "O"
        for (start, stop), tag, probability in zip(places, tags, sure, strict=True):
            kind = tag[2:] if tag[:2] in ("B-", "I-") else tag
            if tag[:2] == "I-" and before[2:] == kind:
                found[-1] |= {"end": stop, "probability": min(probability, found[-1]["probability"])}
            elif tag != "O":
                found.append({"type": kind, "start": start, "end": stop, "probability": probability})
            before = tag
        entities = [{"text": text[one["start"] : one["end"]]} | one for one in found]
        return {"entities": entities, "words": words, "tags": tags}


mlflow.models.set_model(Entities())
