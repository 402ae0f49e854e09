"""Checks about a model: what it may see, what it costs at first, how it counts labels, that it learns.

Every model here has the signature of `CausalModel` (tasks/models/causal.py): logits for (input_ids,
documents=), the summed loss with labels. Checks run in float32 without dropout, and leave the model and
every random state as they were.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tasks.batches.blocks import Batch
from tasks.data.token_files import IGNORED
from tasks.models.optimizers import decoder_blocks
from tasks.preflight.checks import Check
from tasks.preflight.report import CheckResult

Weights = Literal["random", "pretrained", "base"]
"""Where a model's weights are from; base: from the stage before, on other text than it is to learn now."""

# Rows of one batch, and one document in a pack or alone, are summed in another order at most: float32 gives
# a relative difference of 1e-7 a step. What one token sees of another is of the order of 1/time.
LEAK = 1e-5  # of the largest logit
UNEQUAL = 1e-3  # of the largest logit: other kernels, through all layers
STEPS, FALL = 10, 0.02
FALL_OF_SOME = 0.002  # where most weights are frozen: adapters, a last block


def causality(model: nn.Module, input_ids: Tensor, documents: Tensor | None = None) -> CheckResult:
    """Change a token: no logit before it may move, in no layer, and its own must.

    `input_ids` and `documents` (1, time). The second, the middle and the last token are changed in turn.
    """
    time = input_ids.shape[1]
    expected = "no logit before a changed token moves"
    if time < 2:
        return CheckResult(
            "causality", "skipped", "a sequence of one token has no later one to see", expected
        )
    name, blocks = decoder_blocks(model)
    with still(model), _outputs_of(blocks) as outputs:
        vocabulary = model(input_ids[:, :1]).shape[-1]
        outputs.clear()
        logits = model(input_ids, documents=documents)
        before = [*outputs]
        for token in sorted({1, time // 2, time - 1}):
            changed = input_ids.clone()
            changed[:, token] = (changed[:, token] + 1) % vocabulary
            outputs.clear()
            moved = model(changed, documents=documents)
            limit = LEAK * logits.abs().max().item()
            difference = (moved - logits).abs().amax(dim=(0, 2))
            if difference[:token].max() > limit:
                position = int(difference[:token].argmax())
                found = f"logits at token {position} moved by {difference[position]:.2g}"
                where = f"{_first_moved(name, before, outputs, token)}, token {token} seen from {position}"
                return CheckResult("causality", "failed", found, expected, where)
            if difference[token] <= limit:
                found = "the logits at a changed token did not move: the model does not read its input"
                return CheckResult("causality", "failed", found, expected, f"token {token}")
    found = f"{time} tokens, {len(blocks)} layers: nothing moved before token 1, {time // 2} or {time - 1}"
    return CheckResult("causality", "passed", found, expected)


@contextmanager
def _outputs_of(blocks: nn.ModuleList) -> Iterator[list[Tensor]]:
    """What goes into the first block, and what comes out of each, in the order in which they are called."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        outputs.append(output if isinstance(output, Tensor) else output[0])

    def keep_input(_module: nn.Module, inputs: Any, options: dict[str, Any]) -> None:
        outputs.append(inputs[0] if inputs else options["hidden_states"])

    hooks = [block.register_forward_hook(keep) for block in blocks]
    hooks.append(blocks[0].register_forward_pre_hook(keep_input, with_kwargs=True))
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _first_moved(name: str, before: list[Tensor], after: list[Tensor], token: int) -> str:
    for number, (one, other) in enumerate(zip(before, after, strict=True)):
        if (one - other)[:, :token].abs().max() > LEAK * one.abs().max():
            return f"layer {name}.{number - 1}" if number else "the embedding, before the first layer"
    return "the head, after the last layer"


def loss_checks(
    model: nn.Module, batch: Batch, weights: Weights, own: Callable[[], float] | None = None
) -> list[Check]:
    """The checks that need labels: the first loss, the model's own loss, and that it falls.

    `own` computes the mean loss of a model that has another way to it than `CausalModel`.
    """
    checks = [
        Check("initial loss", lambda: initial_loss(model, batch, weights)),
        Check("labels shift once: model", lambda: own_loss(model, batch, own)),
        Check("learns one batch", lambda: learns_one_batch(model, batch)),
    ]
    return checks if batch.supervised() else [Check(check.name, _no_label(check.name)) for check in checks]


def _no_label(name: str) -> Callable[[], CheckResult]:
    return lambda: CheckResult(name, "skipped", "no token of the first rows is trained on", "a label")


def initial_loss(model: nn.Module, batch: Batch, weights: Weights) -> CheckResult:
    """The mean loss before any step, against guessing among all tokens alike: ln(vocabulary).

    Independent logits of variance s² cost ln(vocabulary) + s²/2. GPT-2's own initialisation (0.02) gives
    s² = 0.0004 width: 0.15 nats at 768, 0.32 at 1600. So much is allowed, and 0.5 beside it: with the
    weights ten times as large it is 15 nats.
    """
    with still(model):
        logits = model(batch.inputs, documents=batch.documents)
    vocabulary = logits.shape[-1]
    loss = mean_loss(logits, batch.labels)
    guess = math.log(vocabulary)
    allowed = 0.5 + 0.0002 * model.width
    found = f"{loss:.3f} nats a token"
    if weights == "base":
        verdict = "info" if math.isfinite(loss) else "failed"
        return CheckResult("initial loss", verdict, found, f"a number; guessing costs {guess:.3f}")
    if weights == "pretrained":
        passed = loss < guess + allowed
        expected = f"pretrained weights: below {guess + allowed:.3f}; guessing costs {guess:.3f}"
    else:
        passed = abs(loss - guess) <= allowed
        expected = f"random weights: ln({vocabulary}) = {guess:.3f}, at most {allowed:.2f} off"
    return CheckResult("initial loss", "passed" if passed else "failed", found, expected)


def own_loss(model: nn.Module, batch: Batch, own: Callable[[], float] | None = None) -> CheckResult:
    """The loss that is minimised is the cross-entropy of the model's logits with labels shifted once."""
    with still(model):
        plain = mean_loss(model(batch.inputs, documents=batch.documents), batch.labels)
        if own is None:
            total = model(batch.inputs, batch.labels, documents=batch.documents).item()
            said = total / batch.supervised()
        else:
            said = own()
    agree = math.isclose(said, plain, rel_tol=1e-4, abs_tol=1e-5)
    found = f"the model's loss is {said:.4f}, that of its logits {plain:.4f}"
    expected = "the two are one: labels are shifted once, and once only"
    where = "" if agree else "the model's loss"
    return CheckResult("labels shift once: model", "passed" if agree else "failed", found, expected, where)


def mean_loss(logits: Tensor, labels: Tensor) -> float:
    """Of logits (batch, time, vocabulary) and shifted labels (batch, time), in nats."""
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED).item()


def packed_equals_separate(model: nn.Module, input_ids: Tensor, documents: Tensor) -> CheckResult:
    """Documents in one row give the logits that each gives alone; both (1, time)."""
    expected = "logits as of each document alone"
    numbers = documents[0].unique_consecutive(return_counts=True)
    worst, where, limit = 0.0, "", 0.0
    with still(model):
        packed = model(input_ids, documents=documents)[0]
        start = 0
        for number, length in zip(*(values.tolist() for values in numbers), strict=True):
            alone = model(input_ids[:, start : start + length])[0]
            limit = max(limit, UNEQUAL * alone.abs().max().item())
            difference = (packed[start : start + length] - alone).abs().amax(dim=1)
            if (largest := difference.max().item()) > worst or not math.isfinite(largest):
                worst, where = largest, f"document {number}, its token {int(difference.argmax())}"
            start += length
    found = f"{len(numbers[0])} documents in {input_ids.shape[1]} tokens: logits differ by up to {worst:.1e}"
    if worst <= limit:
        return CheckResult("packed equals separate", "passed", found, expected)
    return CheckResult("packed equals separate", "failed", found, expected, where)


def learns_one_batch(model: nn.Module, batch: Batch) -> CheckResult:
    """As `learns`, for a model with the signature of `CausalModel`."""

    def loss() -> Tensor:
        return model(batch.inputs, batch.labels, documents=batch.documents) / batch.supervised()

    return learns(model, loss, model.width, f"{batch.supervised()} labels")


def learns(model: nn.Module, loss: Callable[[], Tensor], width: int, labels: str) -> CheckResult:
    """A few steps on one batch, whose loss must fall by a fiftieth at least; the weights are then put back.

    With frozen weights, as under adapters, a five-hundredth is enough. `loss` computes the mean loss of the
    model on the batch, `labels` says how many it is of. The rate is so that the steps may move a logit by
    about 2 nats at any width: a model that learns falls by far more, one that does not learn not at all.
    """
    fall = FALL if all(parameter.requires_grad for parameter in model.parameters()) else FALL_OF_SOME
    name, expected = "learns one batch", f"the loss falls by {fall:.1%} or more in {STEPS} steps"
    if reason := _no_room(model):
        return CheckResult(name, "skipped", reason, expected)
    losses, without = _learn(model, loss, min(1e-2, 0.3 / width))
    if not all(map(math.isfinite, losses)):
        found = f"the loss became {losses[-1]} at step {len(losses) - 1}"
    else:
        found = f"{losses[0]:.3f} to {min(losses):.3f} nats on {labels}"
        if min(losses) <= (1 - fall) * losses[0]:
            return CheckResult(name, "passed", found, expected)
    where = f"without a gradient: {some(without)}" if without else "every parameter has a gradient"
    return CheckResult(name, "failed", found, expected, where)


def _learn(model: nn.Module, compute: Callable[[], Tensor], rate: float) -> tuple[list[float], list[str]]:
    """The loss before each step and after the last, and the parameters that the first gave no gradient.

    In place: trainers patch the forward of a model in ways that no copy of it survives.
    """
    parameters = dict(model.named_parameters())
    trained = [parameter for parameter in parameters.values() if parameter.requires_grad]
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    losses: list[float] = []
    without = list(parameters)
    try:
        with still(model, gradients=True):  # without dropout; gradients flow all the same
            optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0) if trained else None
            for step in range(STEPS + 1):
                loss = compute()
                losses.append(loss.item())
                if optimizer is None or not loss.requires_grad or not math.isfinite(losses[-1]):
                    break
                if step < STEPS:
                    optimizer.zero_grad()
                    loss.backward()
                    if not step:
                        without = [
                            name
                            for name, p in parameters.items()
                            if p.requires_grad and (p.grad is None or not p.grad.any())
                        ]
                    optimizer.step()
    finally:
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.copy_(before[name])
        model.zero_grad(set_to_none=True)
    return losses, without


def _no_room(model: nn.Module) -> str | None:
    """Why there is no memory for the weights once more, gradients and two moments, or None."""
    needed = 4 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    device = next(model.parameters()).device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed <= 0.9 * free:
        return None
    return (
        f"weights to put back, gradients and moments take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"
    )


def some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


@contextmanager
def still(model: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Dropout off and random states restored; without gradients unless asked for."""
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
