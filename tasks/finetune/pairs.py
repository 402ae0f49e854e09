"""Trainers of pairs: what they minimise and log is of all pairs of a step, not of its batches' means."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from tasks.finetune.resuming import Resumable
from tasks.finetune.sharing import ungathered

PAIRS = "pairs"


class PairMeans(Resumable):
    """Before a trainer of TRL that learns from pairs among the parents; the parent's means are of batches.

    A batch holds the chosen sequences in its first half and the rejected in its second.
    """

    loss_is_scaled_for_ga = True  # by compute_loss, below
    measured: ClassVar[Mapping[str, str]]
    """The numbers of the parent, each a mean over the pairs of a batch, and what they are called here."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._sums = Counter[str]()  # over the pairs of this process since the numbers were last logged

    def get_batch_samples(self, *arguments: Any) -> tuple[list[dict[str, Tensor]], int]:
        """The micro-batches of a step, and how many pairs they hold together."""
        batches, _ = super().get_batch_samples(*arguments)
        return batches, int(self.sum_over(sum(map(pairs_in, batches))))

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> Tensor:
        with ungathered(self.accelerator):
            loss = super().compute_loss(model, inputs, return_outputs)
        if num_items_in_batch is None:
            return loss
        pairs, metrics = pairs_in(inputs), self._metrics["train"]
        self._sums.update({name: metrics[name][-1] * pairs for name in self.measured} | {PAIRS: pairs})
        return loss * pairs / num_items_in_batch * self.accelerator.num_processes  # which averages gradients

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # of a step
            pairs = self.sum_over(self._sums[PAIRS])
            for name in self.measured:
                self._metrics["train"][name] = [self.sum_over(self._sums[name]) / pairs]
            self._sums.clear()
        super().log(logs, start_time)


def pairs_in(batch: dict[str, Tensor]) -> int:
    """How many pairs of a batch count: none of one without a token to learn (sharing.py)."""
    learned = batch.get("completion_mask", batch["attention_mask"])
    return len(batch["input_ids"]) // 2 if learned.any() else 0
