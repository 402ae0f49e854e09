"""The objective of BERT: predict tokens that are masked, from what stands before and after them."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from tasks.batches.blocks import Batch, evaluation_rows
from tasks.batches.masked import MaskedRow, MaskedSequences, Masking, validation_rows, windows
from tasks.batches.mixtures import MixedSequences, masked_batches
from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED, Split, TokenFiles
from tasks.errors import StageError
from tasks.machine.device import autocast
from tasks.pretrain.outputs import of_sources
from tasks.tokenize.stage import text_ids
from tasks.tokenize.words import words_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tasks.pretrain.loop import Trainer

SCORED_TOKENS, SCORED_TEXTS = 256, 16  # of the validation split, for the pseudo-perplexity
SAMPLE_TOKENS = 40
FILLINGS = 3


class MaskedObjective:
    """Predict masked tokens. Validation texts are masked the same at every evaluation."""

    MEASURES = ("validation_loss", "masked_accuracy", "pseudo_perplexity")

    def __init__(self, config: PretrainConfig, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.config = config
        self.words = words_of(tokenizer) if config.masking == "words" else None

    def masking(self, files: TokenFiles) -> Masking:
        return Masking.of(self.config, files, self.words)

    def batches(self, files: TokenFiles, epoch: int, taken: int) -> MaskedSequences | MixedSequences:
        return masked_batches(
            self.config, files, self.masking(files), epoch, taken, together=self.config.batch_size
        )

    def tokens_per_step(self, files: TokenFiles) -> int:
        """On average: of documents apart, sequences have many lengths."""
        return round(self.config.sequences * self.batches(files, 0, 0).mean_length())

    def validation_batches(self, files: TokenFiles, split: Split) -> Iterator[Batch]:
        config, masking = self.config, self.masking(files)
        rows = validation_rows(split, masking, config.context, config.seed, config.document_mask)
        return _batched(rows, masking, config.context, self._rows_in_batch(files))

    def _rows_in_batch(self, files: TokenFiles) -> int:
        return evaluation_rows(self.config.context, files.vocab_size)

    def measure(self, trainer: "Trainer") -> dict[str, float]:
        streams = trainer.files.validation_streams()
        sums = {
            name: self._scored(trainer, self.validation_batches(trainer.files, split))
            for name, split in streams.items()
        }
        if lacking := [name for name, (_, _, count) in sums.items() if not count]:
            of = f" of the source {lacking[0]!r}" if lacking[0] else ""
            raise StageError(f"the validation split{of} has no token that can be masked")
        loss, right, count = (sum(numbers) for numbers in zip(*sums.values(), strict=True))
        pseudo, _, pseudo_count = self._scored(trainer, self.pseudo_batches(trainer.files))
        measured = {
            "validation_loss": loss / count,
            "masked_accuracy": right / count,
            "pseudo_perplexity": math.exp(min(pseudo / max(pseudo_count, 1), 700)),
        }
        return measured | of_sources({name: own / labels for name, (own, _, labels) in sums.items() if name})

    def pseudo_batches(self, files: TokenFiles) -> Iterator[Batch]:
        """Some validation texts, spread evenly, as often as they have tokens: each token masked in turn.

        The exponential of the mean loss over them is the pseudo-perplexity (Salazar et al. 2020, equation 4).
        """
        config, masking, split = self.config, self.masking(files), files.validation
        starts, lengths = windows(split, config.context - 2, config.document_mask)
        chosen = np.unique(np.linspace(0, len(starts) - 1, SCORED_TEXTS).astype(int))
        rows: list[MaskedRow] = []
        for place in chosen:
            if rows and len(rows) + lengths[place] > SCORED_TOKENS:
                continue
            text = split.tokens[starts[place] : starts[place] + lengths[place]][:SCORED_TOKENS]
            rows += _each_masked(masking, text)
        return _batched(iter(rows), masking, config.context, self._rows_in_batch(files))

    @torch.no_grad()
    def _scored(self, trainer: "Trainer", batches: Iterator[Batch]) -> tuple[float, float, int]:
        """Summed loss and number of right predictions over all labels, and how many those are."""
        trainer.model.eval()
        loss, right, count = 0.0, 0.0, 0
        for batch, counts in trainer.processes.shared_out(batches):
            trainer.stop_if_asked()
            moved = batch.to(trainer.device)
            with autocast(trainer.device, trainer.precision):
                found = trainer.model(moved.inputs, moved.labels, documents=moved.documents, per_label=True)
            if counts:
                losses, hits = found.double().sum(dim=1).tolist()
                loss, right, count = loss + losses, right + hits, count + batch.supervised()
        loss, right, count = (trainer.processes.sum(number) for number in (loss, right, count))
        return loss, right, int(count)

    def sample(self, trainer: "Trainer") -> str:
        """A text with its masked words, and for each of these the likeliest fillings."""
        masking, files = self.masking(trainer.files), trainer.files
        if self.config.sample_prompt:
            (text,) = text_ids(trainer.tokenizer, [self.config.sample_prompt])
        else:
            starts, lengths = windows(files.validation, self.config.context - 2, self.config.document_mask)
            text = files.validation.tokens[starts[0] : starts[0] + lengths[0]]
        room = min(SAMPLE_TOKENS, self.config.context - 2)
        row = masking.row(np.asarray(text[:room]), np.random.default_rng((self.config.seed, 2**33)))
        drawn = row.labels != IGNORED
        masked = np.where(drawn, masking.mask, row.original)
        inputs = torch.from_numpy(masked)[None].to(trainer.device)
        trainer.plain.eval()
        with torch.no_grad(), autocast(trainer.device, trainer.precision):
            chances = trainer.plain(inputs)[0].float().softmax(dim=-1).cpu()
        lines = [_shown(trainer.tokenizer, masked[1:-1].tolist(), masking.mask)]
        for number, place in enumerate(np.flatnonzero(drawn).tolist(), 1):
            best = chances[place].topk(FILLINGS)
            told = ", ".join(
                f"{trainer.tokenizer.decode([token])!r} {chance:.0%}"
                for chance, token in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            )
            stood = trainer.tokenizer.decode([int(row.original[place])])
            lines.append(f"[{number}] stands for {stood!r}; filled with {told}")
        return "\n".join(lines)


def _shown(tokenizer: "PreTrainedTokenizerBase", tokens: Sequence[int], mask: int) -> str:
    """The text, each mask as its number: `the [1] sat on the [2]`."""
    parts: list[str] = []
    run: list[int] = []
    for token in tokens:
        if token == mask:
            parts.append(tokenizer.decode(run, skip_special_tokens=True))
            run = []
        else:
            run.append(token)
    parts.append(tokenizer.decode(run, skip_special_tokens=True))
    text = parts[0]
    for number, part in enumerate(parts[1:], 1):
        text += f" [{number}]{'' if part.startswith(' ') or not part else ' '}{part}"
    return text.strip()


def _each_masked(masking: Masking, text: np.ndarray) -> Iterator[MaskedRow]:
    """The sequence of a text once for each token that may be masked, that one masked."""
    tokens = np.array([masking.start, *text.tolist(), masking.end], dtype=np.int64)
    for place in np.flatnonzero(~masking.special[tokens]):
        inputs, labels = tokens.copy(), np.full(len(tokens), IGNORED, dtype=np.int64)
        inputs[place], labels[place] = masking.mask, tokens[place]
        yield MaskedRow(tokens, inputs, labels)


def _batched(rows: Iterator[MaskedRow], masking: Masking, context: int, size: int) -> Iterator[Batch]:
    waiting: list[MaskedRow] = []
    for row in rows:
        waiting.append(row)
        if len(waiting) == size:
            yield masking.collate(waiting, context)
            waiting = []
    if waiting:
        yield masking.collate(waiting, context)
