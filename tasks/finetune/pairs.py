"""Trainers of pairs: what they minimise and log is of all pairs of a step, not of its batches' means."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.nn.functional import logsigmoid
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
    """The margin and the accuracy of the parent, each a mean over the pairs of a batch; their names here."""

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

    def pair_metrics(self) -> dict[str, float]:
        """The loss of the order, the margin and the accuracy over all validation pairs."""
        margins = self.margins(self.heeding(self.get_eval_dataloader()))
        margin, accuracy = self.measured
        return {
            "eval_loss": -logsigmoid(margins).mean().item(),
            f"eval_{margin}": margins.mean().item(),
            f"eval_{accuracy}": (margins > 0).double().mean().item(),
        }

    @torch.no_grad()
    def margins(self, batches: Iterable[dict[str, Tensor]]) -> Tensor:
        """How far the chosen sequence of each pair is ahead of the rejected, in every process: (pairs,)."""
        was_training = self.model.training
        self.model.eval()
        found = []
        for batch in batches:
            inputs = {name: tensor.to(self.args.device) for name, tensor in batch.items()}
            found.append(self.ahead(inputs).double().cpu())
        self.model.train(was_training)
        return torch.cat(gather_object(found))

    def ahead(self, batch: dict[str, Tensor]) -> Tensor:
        """How far the chosen sequence of each pair of a batch is ahead of the rejected: (pairs,)."""
        raise NotImplementedError


def pairs_in(batch: dict[str, Tensor]) -> int:
    """How many pairs of a batch count: none of one without a token to learn (sharing.py)."""
    learned = batch.get("completion_mask", batch["attention_mask"])
    return len(batch["input_ids"]) // 2 if learned.any() else 0
