"""What the generate stage asks of a model that writes: by continuing a prompt, or beside a source."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.batches.seq2seq import require_source, source_template
from tasks.config import GenerateConfig
from tasks.generate import beams, seq2seq
from tasks.generate.decoding import Decoder, Prompt, Reader
from tasks.generate.ends import ends_of
from tasks.generate.references import ReferenceText, reference, summed_after_prompts
from tasks.models.architectures import longest
from tasks.models.kinds import kind_of
from tasks.rows import Row
from tasks.tokenize.templates import Template, load_template, require_room

Decoded = Iterator[list[tuple[Prompt, list[int]]]]


class RowDecoder(Protocol):
    """Decodes a batch token by token; `read_alone` counts those that were too close to call in it."""

    read_alone: int

    def decode(self, prompts: Sequence[Prompt]) -> Decoded: ...


class Writer(Protocol):
    """A model with its template, as rows are answered by it."""

    template: Template
    ends: frozenset[int]
    slice_tokens: int
    """Tokens that are read at once."""

    def prompts(self, rows: Sequence[Row]) -> dict[int, list[int]]:
        """What the model reads, by row. Raises StageError for what leaves no room."""

    def limit(self, prompt: Sequence[int], most: int) -> int:
        """How many tokens may be written, of `most`."""

    def reference(self, row: Row, prompt: list[int]) -> ReferenceText:
        """The row's reference as far as the context reaches."""

    def summed_losses(self, references: Sequence[ReferenceText]) -> Tensor:
        """Of each reference in nats, (rows,)."""

    def decoder(self, config: GenerateConfig) -> RowDecoder: ...

    def search(self, prompts: Sequence[Prompt], width: int) -> Decoded:
        """The likeliest of `width` responses that are grown side by side."""


class CausalWriter:
    """A model that continues the template's prompt."""

    def __init__(self, network: PreTrainedModel, template: Template) -> None:
        self.network, self.template, self.context = network, template, longest(network)
        self.ends = ends_of(network, template.tokenizer)
        self._read = Reader(network)
        self.slice_tokens = self._read.slice_tokens

    def prompts(self, rows: Sequence[Row]) -> dict[int, list[int]]:
        found = {row["id"]: self.template.prompt_ids(row) for row in rows}
        for row, ids in found.items():
            require_room(row, ids, self.context)
        return found

    def limit(self, prompt: Sequence[int], most: int) -> int:
        return int(min(most, self.context - len(prompt)))

    def reference(self, row: Row, prompt: list[int]) -> ReferenceText:
        return reference(row["id"], prompt, self.template.completion_ids(row["output"]), self.context)

    def summed_losses(self, references: Sequence[ReferenceText]) -> Tensor:
        return summed_after_prompts(self._read, references)

    def decoder(self, config: GenerateConfig) -> RowDecoder:
        return Decoder(self.network, config, self.ends)

    def search(self, prompts: Sequence[Prompt], width: int) -> Decoded:
        def grow(members: list[Prompt], limit: int) -> list[tuple[Prompt, list[int]]]:
            return beams.grown(self.network, members, limit, width, self.ends)

        return beams.search(prompts, grow)


class Seq2SeqWriter:
    """An encoder-decoder: the template's prompt is the source, and the response is written beside it."""

    def __init__(self, network: PreTrainedModel, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        self.network, self.context = network, longest(network)
        self._sources = source_template(name, tokenizer)
        self.template = self._sources.template
        self.ends = ends_of(network, tokenizer)
        self._read = seq2seq.SourceReader(network)
        self.slice_tokens = self._read.slice_tokens

    def prompts(self, rows: Sequence[Row]) -> dict[int, list[int]]:
        ids = [row["id"] for row in rows]
        found = dict(zip(ids, self._sources.sources_ids(rows), strict=True))
        for row, source in found.items():
            require_source(row, source, self.context)
        return found

    def limit(self, prompt: Sequence[int], most: int) -> int:  # noqa: ARG002 - it takes no place from the target
        return int(min(most, self.context - 1))

    def reference(self, row: Row, prompt: list[int]) -> ReferenceText:
        target = self._sources.target_ids(row["output"])
        room = self.limit(prompt, len(target))
        return ReferenceText(row["id"], prompt, target[:room], room < len(target))

    def summed_losses(self, references: Sequence[ReferenceText]) -> Tensor:
        return self._read.summed(references)

    def decoder(self, config: GenerateConfig) -> RowDecoder:
        return seq2seq.SourceDecoder(self._read, config, self.ends)

    def search(self, prompts: Sequence[Prompt], width: int) -> Decoded:
        return beams.search(prompts, partial(self._read.grown, width=width, ends=self.ends))


def writer_of(network: PreTrainedModel, template: str, tokenizer: PreTrainedTokenizerBase) -> Writer:
    """The model as rows in the named template are answered by it."""
    if kind_of(network.config) == "encoder-decoder":
        return Seq2SeqWriter(network, template, tokenizer)
    return CausalWriter(network, load_template(template, tokenizer))
