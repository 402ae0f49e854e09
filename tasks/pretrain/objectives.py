"""What a model is pretrained to do: what its batches are, how it is measured, and what a sample of it is.

The loop steps whatever batches an objective makes. `OBJECTIVES` has one of each kind; a further one is a
module and a line there.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from transformers import PreTrainedTokenizerBase

from tasks.batches.blocks import Batch, Blocks, evaluation_rows, validation_batches
from tasks.batches.mixtures import MixedBlocks, causal_batches
from tasks.config import PretrainConfig
from tasks.data.token_files import Split, TokenFiles
from tasks.errors import StageError
from tasks.machine.device import autocast
from tasks.pretrain.masked import MaskedObjective
from tasks.pretrain.outputs import of_sources
from tasks.tokenize.stage import text_ids

if TYPE_CHECKING:
    from tasks.pretrain.loop import Trainer

SAMPLE_TOKENS = 48


class TrainingBatches(Protocol):
    """Batches in an order that `epoch` and `taken` determine, so that a training can be continued."""

    epoch: int
    taken: int

    def batch(self, size: int, share: slice = ...) -> Batch:
        """The next `size` sequences, of which the `share` is read."""


class Objective(Protocol):
    """What the loop asks of an objective; `trainer` has the model, the tokens and the processes."""

    MEASURES: ClassVar[tuple[str, ...]]
    """What an evaluation measures, by the names of the history; the lowest `validation_loss` is the best."""

    def __init__(self, config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> None: ...

    def batches(self, files: TokenFiles, epoch: int, taken: int) -> TrainingBatches:
        """Those of training, from there on. Raises StageError for too little text."""

    def tokens_per_step(self, files: TokenFiles) -> int:
        """Tokens that an optimizer step reads, over all processes; padding is none."""

    def validation_batches(self, files: TokenFiles, split: Split) -> Iterator[Batch]:
        """A whole stream of the validation split, the same at every evaluation."""

    def measure(self, trainer: "Trainer") -> dict[str, float]:
        """The `MEASURES` of the model as it is, and the loss on each source by the names of `of_sources`.

        Raises StageError when there is nothing to predict.
        """

    def sample(self, trainer: "Trainer") -> str:
        """Some text that shows what the model can do."""


class CausalObjective:
    """Predict the next token."""

    MEASURES = ("validation_loss", "perplexity", "bits_per_byte")

    def __init__(self, config: PretrainConfig, tokenizer: PreTrainedTokenizerBase) -> None:  # noqa: ARG002
        self.config = config

    def batches(self, files: TokenFiles, epoch: int, taken: int) -> Blocks | MixedBlocks:
        return causal_batches(self.config, files, epoch, taken)

    def tokens_per_step(self, files: TokenFiles) -> int:  # noqa: ARG002 - blocks are always full
        return self.config.sequences * self.config.context

    def validation_batches(self, files: TokenFiles, split: Split) -> Iterator[Batch]:
        context = self.config.context
        rows = evaluation_rows(context, files.vocab_size)
        return validation_batches(split, context, rows, self.config.document_mask)

    def measure(self, trainer: "Trainer") -> dict[str, float]:
        loss, predicted, by_source = trainer.validation_loss()
        if (size := trainer.files.predicted_bytes(self.config.document_mask)) < 1:
            raise StageError("the validation split has no text to predict: its documents are one token long")
        per_byte = loss * predicted / math.log(2) / size
        measured = {
            "validation_loss": loss,
            "perplexity": math.exp(min(loss, 700)),
            "bits_per_byte": per_byte,
        }
        return measured | of_sources(by_source)

    def sample(self, trainer: "Trainer") -> str:
        (start,) = text_ids(trainer.tokenizer, [self.config.sample_prompt])
        ids = torch.tensor([start or [trainer.files.end_token]], device=trainer.device)
        with autocast(trainer.device, trainer.precision):
            continued = trainer.plain.continue_greedily(ids, SAMPLE_TOKENS)
        return trainer.tokenizer.decode(continued[0], skip_special_tokens=True)


OBJECTIVES: Mapping[str, type[Objective]] = {"causal": CausalObjective, "masked": MaskedObjective}
"""By what `pretrain.objective` calls them."""
