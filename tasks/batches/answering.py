"""Answers to questions as spans of a context: windows of tokens, and the best span over all windows.

MLflow keeps this file with a model and runs it where this package is not installed: it imports what the model
is loaded with, and nothing of ours.
"""

from typing import Any, NamedTuple

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, PreTrainedTokenizerBase

OVERLAP = 4  # a window shares this part of its length with the next; a longer answer is not looked for
BEST = 20  # spans, among which the probability of the best one is
BETWEEN = "\n"  # a question and its context, where the tokenizer puts nothing there


class Window(NamedTuple):
    """The tokens of a question and of so much of its context as fits; `offsets` of the context's tokens."""

    input_ids: list[int]
    token_types: list[int]
    """Empty where the tokenizer has none."""
    offsets: list[tuple[int, int] | None]
    """Of each token: its characters in the context, None of a token that is not of the context."""
    none: int
    """The place of the token that stands for no answer: the first one of an encoder; of a model that reads
    from left to right the last, which has read all."""


class Answer(NamedTuple):
    """A span of the context with its offsets in characters; "" from None to None where there is none."""

    text: str
    start: int | None
    end: int | None
    probability: float


def longest_answer(max_length: int) -> int:
    """Tokens. Whatever is no longer stands whole in one window at least."""
    return max(1, max_length // OVERLAP)


def windows_of(
    tokenizer: PreTrainedTokenizerBase, question: str, context: str, max_length: int
) -> list[Window]:
    """Windows of at most `max_length` tokens over a context, each behind the whole question.

    An encoder's tokenizer puts its own tokens around the two. Others begin with theirs, and end with the
    token of the end, or that of the padding. Raises ValueError for a question that leaves no room.
    """
    room = longest_answer(max_length)
    if tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add():
        needed = len(tokenizer(question, "")["input_ids"])
        _require_room(needed, room, max_length)
        found = tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=max_length,
            stride=min(room, max_length - needed - 1),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        types = found.get("token_type_ids", [[]] * len(found["input_ids"]))
        return [
            Window(
                ids,
                types[place],
                [
                    offset if of == 1 else None
                    for of, offset in zip(
                        found.sequence_ids(place), found["offset_mapping"][place], strict=True
                    )
                ],
                0,
            )
            for place, ids in enumerate(found["input_ids"])
        ]
    asked = tokenizer(question + BETWEEN)["input_ids"]
    last = tokenizer.pad_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    asked = asked[:-1] if asked[-1] == tokenizer.eos_token_id else asked
    _require_room(len(asked) + 1, room, max_length)
    told = tokenizer(context, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = told["input_ids"], told["offset_mapping"]
    size = max_length - len(asked) - 1
    step = max(1, size - room)
    found = []
    for start in range(0, max(1, len(ids) - min(room, size - 1)), step):
        part = slice(start, start + size)
        window = [*asked, *ids[part], last]
        places = [*([None] * len(asked)), *offsets[part], None]
        found.append(Window(window, [], places, len(window) - 1))
    return found


def _require_room(needed: int, room: int, max_length: int) -> None:
    if needed + room > max_length:
        raise ValueError(f"the question takes {needed} of {max_length} tokens, fewer than {room} are left")


def best_answer(
    context: str, windows: list[Window], starts: list[Tensor], ends: list[Tensor], longest: int
) -> Answer:
    """The span with the highest sum of the logits of its first and last token, over all windows.

    No answer is given where none scores higher than any span: its score is the lowest over the windows, for
    each of which holds but a part of the context (Devlin et al. 2019, section 4.3). The probability is the
    softmax over the best spans and none. `starts` and `ends` are the logits (tokens,) of each window.
    """
    scores, spans = [], []
    for window, start, end in zip(windows, starts, ends, strict=True):
        places = torch.tensor([place for place, offset in enumerate(window.offsets) if offset is not None])
        if not len(places):
            continue
        sums = start[places][:, None] + end[places][None, :]
        allowed = torch.ones_like(sums).triu().tril(longest - 1) > 0
        sums = sums.masked_fill(~allowed, -torch.inf).flatten()
        best = sums.topk(min(BEST, int(allowed.sum())))
        for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            first, last = divmod(index, len(places))
            begin, stop = window.offsets[places[first]][0], window.offsets[places[last]][1]
            if context[begin:stop].strip():
                scores.append(score)
                spans.append(_stripped(context, begin, stop))
    unique: dict[tuple[int, int], float] = {}
    for score, span in sorted(zip(scores, spans, strict=True), reverse=True):
        unique.setdefault(span, score)  # a span may stand in two windows
    kept = list(unique.items())[:BEST]
    none = min(
        float(start[window.none] + end[window.none])
        for window, start, end in zip(windows, starts, ends, strict=True)
    )
    shares = torch.tensor([none, *(score for _, score in kept)], dtype=torch.float64).softmax(0).tolist()
    if not kept or none > kept[0][1]:
        return Answer("", None, None, shares[0])
    (begin, stop), _ = kept[0]
    return Answer(context[begin:stop], begin, stop, shares[1])


def _stripped(context: str, begin: int, stop: int) -> tuple[int, int]:
    """The span without the spaces around it, which the tokens of some tokenizers hold."""
    text = context[begin:stop]
    return begin + len(text) - len(text.lstrip()), begin + len(text.rstrip())


class Answerer(PythonModel):
    """Takes `context` and `question`; gives `answer`, `start`, `end` and `probability`."""

    def load_context(self, context: Any) -> None:
        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForQuestionAnswering.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        del context, params
        found = [self._answer(row["question"], row["context"]) for row in model_input.to_dict("records")]
        return pd.DataFrame(
            {
                "answer": [answer.text for answer in found],
                "start": pd.array([answer.start for answer in found], dtype="Int64"),
                "end": pd.array([answer.end for answer in found], dtype="Int64"),
                "probability": [answer.probability for answer in found],
            }
        )

    @torch.no_grad()
    def _answer(self, question: str, context: str) -> Answer:
        longest = self.tokenizer.model_max_length
        windows = windows_of(self.tokenizer, question, context, longest)
        starts, ends = [], []
        for window in windows:
            types = {"token_type_ids": torch.tensor([window.token_types])} if window.token_types else {}
            output = self.model(input_ids=torch.tensor([window.input_ids]), **types)
            starts.append(output.start_logits[0])
            ends.append(output.end_logits[0])
        return best_answer(context, windows, starts, ends, longest_answer(longest))


if not __package__:  # MLflow runs the file by itself
    set_model(Answerer())
