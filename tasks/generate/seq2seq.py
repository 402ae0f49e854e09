"""The decode loop over an encoder-decoder: sources are encoded once, targets grow until they are finished."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel
from transformers.cache_utils import EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from tasks.config import GenerateConfig
from tasks.data.token_files import IGNORED
from tasks.generate import sampling
from tasks.generate.beams import settings, up_to_end
from tasks.generate.decoding import SLICE, ActiveSequence, Chooser, Prompt
from tasks.generate.references import ReferenceText
from tasks.models.kernels import loss_by_token


@dataclass
class Encoded:
    """Sources of a batch as the decoder sees them."""

    hidden: Tensor
    """(rows, source time, width)"""
    mask: Tensor
    """(rows, source time)"""

    def keep(self, rows: Tensor) -> None:
        self.hidden, self.mask = self.hidden[rows], self.mask[rows]


class SourceReader:
    """An encoder-decoder's logits in float32."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.slice_tokens = SLICE[model.device.type]
        generation = model.generation_config
        own = generation.decoder_start_token_id
        self.start = model.config.decoder_start_token_id if own is None else own
        self.forced_first: int | None = generation.forced_bos_token_id
        """The one token that a target may begin with, where the model says so."""
        model.generation_config = GenerationConfig()  # lengths and penalties are those of the settings alone

    def encode(self, sources: Sequence[Sequence[int]]) -> Encoded:
        ids, mask = self._padded(sources)
        hidden = self.model.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state
        return Encoded(hidden, mask)

    def __call__(self, encoded: Encoded, ids: Tensor, cache: EncoderDecoderCache | None = None) -> Tensor:
        """Logits (rows, time, vocabulary) after each of the decoder's `ids` (rows, time)."""
        return self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded.hidden),
            attention_mask=encoded.mask,
            decoder_input_ids=ids,
            cache=cache,
            use_cache=cache is not None,
        ).logits.float()

    def alone(self, source: Sequence[int], target: Sequence[int]) -> Tensor:
        """Logits (1, vocabulary) after a target that is read by itself and without a cache."""
        ids = torch.tensor([[self.start, *target]], device=self.model.device)
        return self(self.encode([source]), ids)[:, -1]

    def summed(self, references: Sequence[ReferenceText]) -> Tensor:
        """The loss of each reference in nats, (rows,) in float64; what pads them is seen by nothing."""
        width = max(len(one.completion) for one in references)
        labels = torch.full((len(references), width), IGNORED)
        ids = torch.full_like(labels, self.start)
        for place, one in enumerate(references):
            labels[place, : len(one.completion)] = torch.tensor(one.completion)
            ids[place, 1 : len(one.completion)] = torch.tensor(one.completion[:-1])
        device = self.model.device
        logits = self(self.encode([one.prompt for one in references]), ids.to(device))
        return loss_by_token(logits, labels.to(device)).double().sum(dim=1)

    @torch.no_grad()
    def grown(
        self, prompts: list[Prompt], limit: int, *, width: int, ends: frozenset[int]
    ) -> list[tuple[Prompt, list[int]]]:
        """The likeliest of `width` targets by Hugging Face's beam search."""
        ids, mask = self._padded([prompt.ids for prompt in prompts])
        first = {} if self.forced_first is None else {"forced_bos_token_id": self.forced_first}
        output = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings(
                limit, width, ends, min(ends), decoder_start_token_id=self.start, **first
            ),
        )
        return [
            (prompt, up_to_end(tokens, ends))
            for prompt, tokens in zip(prompts, output[:, 1:].tolist(), strict=True)
        ]

    def _padded(self, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask (rows, source time), padded on the right."""
        time, padding = max(map(len, sources)), self.model.config.pad_token_id
        rows = [[*source, *[padding] * (time - len(source))] for source in sources]
        mask = [[1] * len(source) + [0] * (time - len(source)) for source in sources]
        device = self.model.device
        return torch.tensor(rows, device=device), torch.tensor(mask, device=device)


class SourceDecoder(Chooser):
    """Responses of an encoder-decoder, greedy or sampled."""

    def __init__(self, read: SourceReader, config: GenerateConfig, ends: frozenset[int]) -> None:
        """`ends` are the tokens that end a response."""
        super().__init__(read.model, config, ends)
        self.read = read

    @torch.no_grad()
    def decode(self, prompts: Sequence[Prompt]) -> Iterator[list[tuple[Prompt, list[int]]]]:
        """After each step the rows that it finished, with their tokens, an end token included.

        In float32 a greedy response is that of the row decoded alone. Raises StageError for logits that are
        no numbers.
        """
        rows = [
            ActiveSequence(prompt, sampling.generator_of(self.config.seed, prompt.row)) for prompt in prompts
        ]
        encoded = self.read.encode([prompt.ids for prompt in prompts])
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        latest = torch.full((len(rows),), self.read.start, device=self.device)
        while rows:
            logits = self.read(encoded, latest[:, None], cache)[:, -1]
            if self.read.forced_first is not None and not rows[0].tokens:
                latest = torch.full_like(latest, self.read.forced_first)
            else:
                latest = self._choose(rows, logits)
            for row, token in zip(rows, latest.tolist(), strict=True):
                row.tokens.append(token)
            finished = [self._is_finished(row) for row in rows]
            yield [(row.prompt, row.tokens) for row, done in zip(rows, finished, strict=True) if done]
            if any(finished) and not all(finished):
                left = torch.tensor([place for place, done in enumerate(finished) if not done])
                left = left.to(self.device)
                encoded.keep(left)
                cache.batch_select_indices(left)
                latest = latest[left]
            rows = [row for row, done in zip(rows, finished, strict=True) if not done]

    def _seen(self, row: ActiveSequence) -> list[int]:
        return row.tokens

    def _logits_alone(self, row: ActiveSequence) -> Tensor:
        return self.read.alone(row.prompt.ids, row.tokens)
