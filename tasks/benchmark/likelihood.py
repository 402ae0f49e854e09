"""The model as lm-eval asks it: how likely a text is after another, and whether it is the greedy choice."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.generate.decoding import DIVERGED, Reader, slices
from tasks.generate.references import ReferenceText, logits_after_prompts
from tasks.machine.json_files import as_line, read_whole_lines
from tasks.models.architectures import longest
from tasks.models.kernels import loss_by_token
from tasks.tokenize.templates import begins_texts

Request = tuple[tuple[str, str], list[int], list[int]]
"""A context with its continuation, and the tokens of both."""


class LikelihoodModel(TemplateLM):
    """A causal model in memory, asked in batches of about one length.

    A journal keeps each batch as it is done: a later attempt goes on behind it, and forms the same batches.
    In float32 the numbers are those of each request read alone, but for rounding.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch_tokens: int,
        journal: Path,
        report: Callable[[int, int], None],
    ) -> None:
        """`report` is told how many requests are done, and of how many."""
        super().__init__()
        self.tokenizer = tokenizer
        self.cut = 0
        """Rows with a context that was longer than the model's, so that its beginning was left out."""
        self.unknown = 0
        """Rows with a continuation that holds what the tokenizer does not know."""
        self._read = Reader(network)
        self._context = longest(network)
        self._budget = min(self._read.slice_tokens, batch_tokens)
        self._journal, self._report = journal, report
        self._begin = [tokenizer.bos_token_id] if begins_texts(tokenizer) else []
        self._rows: list[int | None] = []  # that the requests are of

    @property
    def eot_token_id(self) -> int:
        """The token that a text without a context is put behind."""
        tokenizer = self.tokenizer
        found = next(
            (one for one in (tokenizer.bos_token_id, tokenizer.eos_token_id) if one is not None), None
        )
        if found is None:
            raise StageError(
                "the tokenizer has neither a beginning nor an end token, behind one of which a text without "
                "context stands. Ask tasks with a context, or name a model with such a token"
            )
        return found

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """The tokens of a text, behind the beginning token where the tokenizer puts it before every text."""
        ids = self.tokenizer(string, add_special_tokens=False, verbose=False)["input_ids"]
        begins = add_special_tokens is not False and ids[:1] != self._begin
        return self._begin + ids if begins else ids

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """As lm-eval: the tokens of both together, parted behind those of the context alone.

        A continuation whose tokens join those of the context is encoded by itself.
        """
        before, after = super()._encode_pair(context, continuation)
        return before, after or self.tok_encode(continuation, add_special_tokens=False)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Of each (context, continuation): log-probability in nats, and whether it is the greedy choice."""
        self._rows = [request.doc_id for request in requests]
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    @torch.no_grad()
    def _loglikelihood_tokens(self, requests: list[Request], **_: Any) -> list[tuple[float, bool]]:
        references = [self._reference(place, request) for place, request in enumerate(requests)]
        unknown = self.tokenizer.unk_token_id
        self.cut = len({self._rows[one.row] for one in references if one.cut})
        self.unknown = len({self._rows[one.row] for one in references if unknown in one.completion})
        lines = read_whole_lines(self._journal)
        done = {place: (value, is_greedy) for line in lines for place, value, is_greedy in line}
        waiting = [one for one in references if one.row not in done]
        waiting.sort(key=lambda one: len(one.prompt) + len(one.completion))
        lengths = [len(one.prompt) + len(one.completion) for one in waiting]
        with self._journal.open("a", encoding="utf-8") as journal:
            for places in slices(lengths, self._budget):
                found = self._of_batch(waiting[places])
                journal.write(as_line(found))
                journal.flush()
                done |= {place: (value, is_greedy) for place, value, is_greedy in found}
                self._report(len(done), len(requests))
        return [done[place] for place in range(len(requests))]

    def _of_batch(self, members: Sequence[ReferenceText]) -> list[tuple[int, float, bool]]:
        """The place, log-probability and greediness of each."""
        logits, labels = logits_after_prompts(self._read, members)
        values = -loss_by_token(logits, labels).double().sum(dim=1)
        if not values.isfinite().all():
            raise StageError(DIVERGED)
        greedy = ((logits.argmax(dim=-1) == labels) | (labels == IGNORED)).all(dim=1)
        rows = zip(members, values.tolist(), greedy.tolist(), strict=True)
        return [(one.row, value, is_greedy) for one, value, is_greedy in rows]

    def _reference(self, place: int, request: Request) -> ReferenceText:
        """The request with no more of its context than the model reads. Raises StageError for no room."""
        (_, text), context, continuation = request
        if not continuation:
            raise StageError(
                f"the answer {text!r} has no tokens in this model's tokenizer, so that it has no probability"
            )
        room = self._context - len(continuation)
        if room < 1:
            raise StageError(
                f"an answer of {len(continuation)} tokens leaves no room for its question in the model's "
                f"context of {self._context}: {text[:80]!r}. Leave its row or task out"
            )
        kept = context if math.isinf(room) else context[-int(room) :]
        return ReferenceText(place, kept, continuation, len(kept) < len(context))

    def loglikelihood_rolling(self, *_: Any, **__: Any) -> list[float]:
        raise StageError("a text as a whole is not asked about: see the validation loss of pretraining")

    def generate_until(self, *_: Any, **__: Any) -> list[str]:
        raise StageError("tasks that ask a model to write are not asked here: see generate and judge")
