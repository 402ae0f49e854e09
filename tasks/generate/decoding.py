"""The decode loop over a causal model of Hugging Face: batches of rows that leave when they are finished.

A batch is padded on the left, and the tokens that all its prompts begin with are read once:

    columns   0 ...                               width
              . . . P P P . . a a a | A A A A A          P  prefix, the same for all rows
              . . . P P P a a a a a | A A                a  the rest of the prompt, A  the response
              P P P . a a a a a a a | A A A A            .  padding, masked

Positions are counted over what is not masked, so that padding shifts none.
"""

import inspect
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache

from tasks.config import GenerateConfig
from tasks.errors import StageError
from tasks.generate import sampling
from tasks.generate.cache import BufferCache

SLICE = {"cpu": 1024, "cuda": 4096}
"""Tokens that are read at once: what a device needs to be busy, and what its caches and memory bear."""

DIVERGED = "the model computes no finite numbers: its training diverged. Train it at a lower learning rate"


@dataclass(frozen=True)
class Prompt:
    """The tokens of a row, and how many more there may be."""

    row: int | str
    ids: list[int]
    limit: int


@dataclass
class ActiveSequence:
    """A row of a batch: its response so far, and what its tokens are drawn from."""

    prompt: Prompt
    random: random.Random
    tokens: list[int] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        return self.prompt.ids + self.tokens


def batches(prompts: Iterable[Prompt], budget: int, rows_each: int = 1) -> Iterator[list[Prompt]]:
    """Prompts of about one length; the tokens that each batch may come to are within `budget`.

    Each prompt counts as `rows_each` rows of the longest prompt and the highest limit of its batch. A prompt
    that alone is over the budget is a batch.
    """
    batch: list[Prompt] = []
    for prompt in sorted(prompts, key=lambda prompt: len(prompt.ids)):
        grown = [*batch, prompt]
        width = len(prompt.ids) + max(one.limit for one in grown)
        if batch and len(grown) * rows_each * width > budget:
            yield batch
            grown = [prompt]
        batch = grown
    if batch:
        yield batch


class Reader:
    """A model's logits in float32, its positions counted over the mask."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.slice_tokens = SLICE[model.device.type]
        self._positions = "position_ids" in inspect.signature(model.forward).parameters

    def __call__(self, ids: Tensor, mask: Tensor, keep: Tensor | int, cache: Cache | None = None) -> Tensor:
        """Logits (rows, kept, vocabulary) after the last `keep` of `ids` (rows, time), or after those places.

        `mask` (rows, columns) has a column for everything in the cache, too.
        """
        places = {}
        if self._positions:
            places["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self.model(
            input_ids=ids,
            attention_mask=mask,
            cache=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
            **places,
        ).logits.float()

    def alone(self, ids: Sequence[int]) -> Tensor:
        """Logits (1, vocabulary) after a sequence that is read by itself and without a cache."""
        sequence = torch.tensor([ids], device=self.model.device)
        return self(sequence, torch.ones_like(sequence), 1)[:, -1]


class Chooser:
    """Chooses the next token of every row of a batch, greedily or by chance.

    In float32 a greedy token is that of the row decoded alone.
    """

    def __init__(self, model: PreTrainedModel, config: GenerateConfig, ends: frozenset[int]) -> None:
        """`ends` are the tokens that end a response."""
        self.config, self.ends = config, ends
        self.device = model.device
        self.read_alone = 0
        """Tokens that were too close to call in the batch."""

    def _seen(self, row: ActiveSequence) -> list[int]:
        """The row's tokens that a repetition penalty counts."""
        raise NotImplementedError

    def _logits_alone(self, row: ActiveSequence) -> Tensor:
        """Logits (1, vocabulary) after the row's last token, read by itself and without a cache."""
        raise NotImplementedError

    def _is_finished(self, row: ActiveSequence) -> bool:
        return row.tokens[-1] in self.ends or len(row.tokens) == row.prompt.limit

    def _choose(self, rows: Sequence[ActiveSequence], logits: Tensor) -> Tensor:
        """The next token of every row (rows,)."""
        logits = self._penalized(rows, logits)
        if self.config.decoding == "sample":
            tokens = self._drawn(rows, logits)
        else:
            tokens = sampling.largest(logits)
            if self.config.precision == "float32":
                for place in sampling.ties(logits).tolist():
                    self.read_alone += 1
                    row = rows[place]
                    alone = self._penalized([row], self._logits_alone(row))
                    tokens[place] = sampling.largest(alone)[0]
        if not logits.gather(1, tokens[:, None]).isfinite().all():
            raise StageError(DIVERGED)
        return tokens

    def _penalized(self, rows: Sequence[ActiveSequence], logits: Tensor) -> Tensor:
        if self.config.repetition_penalty == 1:
            return logits
        seen = torch.zeros_like(logits, dtype=torch.bool)
        for place, row in enumerate(rows):  # the row's own tokens: never the padding
            seen[place, self._seen(row)] = True
        return sampling.penalized(logits, seen, self.config.repetition_penalty)

    def _drawn(self, rows: Sequence[ActiveSequence], logits: Tensor) -> Tensor:
        config = self.config
        uniforms = torch.tensor([row.random.random() for row in rows], dtype=torch.float64)
        kept = sampling.warped(logits, config.temperature, config.top_k, config.top_p)
        return sampling.drawn(kept, uniforms.to(self.device))


class Decoder(Chooser):
    """Responses of a causal model, greedy or sampled."""

    def __init__(self, model: PreTrainedModel, config: GenerateConfig, ends: frozenset[int]) -> None:
        """`ends` are the tokens that end a response."""
        super().__init__(model, config, ends)
        self.read = Reader(model)
        # With a sliding window distances are counted in columns: no padding may lie within a row.
        self._shares_prefix = getattr(model.config.get_text_config(), "sliding_window", None) is None

    @torch.no_grad()
    def decode(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[Prompt, list[int]]]]:
        """After each step the rows that it finished, with their tokens, an end token included.

        In float32 a greedy response is that of the row decoded alone. Raises StageError for logits that are
        no numbers.
        """
        rows = [
            ActiveSequence(prompt, sampling.generator_of(self.config.seed, prompt.row)) for prompt in prompts
        ]
        cache, mask, logits = self._read_prompts(prompts)
        while True:
            latest = self._choose(rows, logits)
            for row, token in zip(rows, latest.tolist(), strict=True):
                row.tokens.append(token)
            finished = [self._is_finished(row) for row in rows]
            yield [(row.prompt, row.tokens) for row, done in zip(rows, finished, strict=True) if done]
            if all(finished):
                return
            if any(finished):
                rows, latest, mask = _without(finished, rows, latest, mask, cache)
            columns = slice(cache.window.start, cache.window.end + 1)
            logits = self.read(latest[:, None], mask[:, columns], 1, cache)[:, -1]
            cache.window.end += 1

    @torch.no_grad()
    def stream(self, prompt: Prompt) -> Iterator[int]:
        """The tokens of one response as they are chosen, an end token included: those that `decode` gives."""
        row = ActiveSequence(prompt, sampling.generator_of(self.config.seed, prompt.row))
        cache, mask, logits = self._read_prompts([prompt])
        while True:
            latest = self._choose([row], logits)
            row.tokens.append(int(latest[0]))
            yield row.tokens[-1]
            if self._is_finished(row):
                return
            columns = slice(cache.window.start, cache.window.end + 1)
            logits = self.read(latest[:, None], mask[:, columns], 1, cache)[:, -1]
            cache.window.end += 1

    @torch.no_grad()
    def logits_after(self, prompts: Sequence[Prompt]) -> Tensor:
        """Logits (rows, vocabulary) of the token that follows each prompt, in float32."""
        return self._read_prompts(prompts)[2]

    def _read_prompts(self, prompts: Sequence[Prompt]) -> tuple[BufferCache, Tensor, Tensor]:
        """Keys and values, the mask (rows, width), and the logits after each prompt (rows, vocabulary)."""
        start = max(len(prompt.ids) for prompt in prompts)
        width = start + max(prompt.limit for prompt in prompts)
        cache = BufferCache(self.read.model, len(prompts), width)
        mask = torch.ones(len(prompts), width, dtype=torch.long, device=self.device)
        prefix = self._prefix(prompts)
        shared = DynamicCache(config=self.read.model.config)
        if prefix:
            ids = torch.tensor([prefix], device=self.device)
            self.read(ids, torch.ones_like(ids), 1, shared)
        rests = [prompt.ids[len(prefix) :] for prompt in prompts]
        logits = []
        for rows in slices([len(rest) for rest in rests], self.read.slice_tokens):
            longest = max(map(len, rests[rows]))
            column = start - longest - len(prefix)
            mask[rows, :column] = 0
            for row, rest in zip(range(rows.start, rows.stop), rests[rows], strict=True):
                mask[row, start - longest : start - len(rest)] = 0
            ids = torch.tensor([[0] * (longest - len(rest)) + rest for rest in rests[rows]])
            if prefix:
                cache.start_with(shared, rows, column)
            cache.window.show(rows, column, column + len(prefix))
            logits.append(self.read(ids.to(self.device), mask[rows, column:start], 1, cache)[:, -1])
        cache.window.show(slice(0, len(prompts)), 0, start)
        return cache, mask, torch.cat(logits)

    def _prefix(self, prompts: Sequence[Prompt]) -> list[int]:
        """What all prompts begin with, short of the last token of any."""
        if len(prompts) == 1 or not self._shares_prefix:
            return []
        places = zip(*(prompt.ids[:-1] for prompt in prompts), strict=False)  # up to the shortest
        return [tokens[0] for tokens in takewhile(lambda tokens: len(set(tokens)) == 1, places)]

    def _seen(self, row: ActiveSequence) -> list[int]:
        return row.ids

    def _logits_alone(self, row: ActiveSequence) -> Tensor:
        return self.read.alone(row.ids)


def slices(lengths: Sequence[int], tokens: int) -> Iterator[slice]:
    """Neighbours that, padded to the longest of them, have up to `tokens` tokens; at least one."""
    first, longest = 0, 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if place > first and (place + 1 - first) * longest > tokens:
            yield slice(first, place)
            first, longest = place, length
    if lengths:
        yield slice(first, len(lengths))


def _without(
    finished: Sequence[bool], rows: list[ActiveSequence], latest: Tensor, mask: Tensor, cache: BufferCache
) -> tuple[list[ActiveSequence], Tensor, Tensor]:
    """What remains of a batch. The last rows take the places of finished ones: no other row is copied.

    Columns before the first token of any row are out of sight from then on.
    """
    left = len(rows) - sum(finished)
    targets = [place for place in range(left) if finished[place]]
    sources = [place for place in range(left, len(rows)) if not finished[place]]
    for source, target in zip(sources, targets, strict=True):
        rows[target], latest[target], mask[target] = rows[source], latest[source], mask[source]
    if sources:
        cache.move(sources, targets)
    cache.window.last = left
    cache.window.start = int(mask[:left].argmax(dim=1).min())
    return rows[:left], latest[:left], mask[:left]
