"""Optimizers: fused AdamW, and Muon for the matrices inside the blocks."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasks.compat.training import lerp, lerp_, scale_
from tasks.config import PretrainConfig, TuningConfig
from tasks.machine.device import multiplies_in_bfloat16
from tasks.models.fused import Layout, layout_of

# Coefficients of the quintic iteration (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
# networks"): they drive every singular value to about 1 within five rounds, most of the way in the first.
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.95


def make_optimizers(model: nn.Module, config: PretrainConfig | TuningConfig) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the matrices of the blocks and AdamW for the rest.

    Matrices and embeddings decay; biases and norms do not. Each group keeps its highest rate as
    `peak_lr`, from which the schedule sets `lr`.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    hidden = hidden_matrices(model) if config.optimizer == "muon" else {}
    hidden = {name: p for name, p in hidden.items() if name in parameters}
    rest = [p for name, p in parameters.items() if name not in hidden]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )
    optimizers: list[torch.optim.Optimizer] = [adamw]
    if hidden:
        by_layout: dict[Layout | None, list[nn.Parameter]] = {None: []}
        for name, parameter in hidden.items():
            by_layout.setdefault(layout_of(model, name), []).append(parameter)
        muon_groups = [
            {"params": members, "layout": layout and tuple(layout)}
            for layout, members in by_layout.items()
            if members
        ]
        optimizers.append(Muon(muon_groups, lr=config.muon_learning_rate, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


class JointOptimizer(torch.optim.Optimizer):
    """Several optimizers of one model as one, for a trainer that has room for one."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})
        self._join_groups()

    def _join_groups(self) -> None:
        """The very groups of the optimizers: a schedule that sets a rate here sets it there."""
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self, closure: None = None) -> None:  # noqa: ARG002 - the signature of Optimizer
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self._join_groups()  # loading makes new ones


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices inside the decoder's blocks."""
    name, blocks = decoder_blocks(model)
    return {f"{name}.{inner}": p for inner, p in blocks.named_parameters() if p.dim() == 2}


def decoder_blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The name and the list of the decoder's blocks: the list of modules that holds most parameters."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda found: sum(p.numel() for p in found[1].parameters()))


@dataclass
class _Piece:
    """A matrix to orthogonalise: where its update goes, and its momentum, oriented rows <= columns.

    `turned`: it is the transpose of what it is in the target, (groups, rows of each, columns).
    """

    target: Tensor
    update: Tensor
    turned: bool


class Muon(torch.optim.Optimizer):
    """Momentum whose every matrix is replaced by the nearest orthogonal one (Jordan et al. 2024).

    The update of a matrix is scaled by 0.2 sqrt(its longer side), so that its elements are as large as
    AdamW's (Liu et al. 2025, "Muon is Scalable for LLM Training"). Matrices of one shape are
    orthogonalised as one batch, in bfloat16 where the hardware multiplies in it. A group's `layout` says
    which matrices each of its parameters holds (fused.py); its `precision` is chosen when the optimizer is
    made, and is part of its state.
    """

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, weight_decay: float, momentum: float = MOMENTUM
    ) -> None:
        groups = list(params)
        precision = "bfloat16" if multiplies_in_bfloat16(groups[0]["params"][0].device) else "float32"
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "layout": None,
            "precision": precision,
        }
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002 - the signature of Optimizer
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            by_shape: dict[torch.Size, list[_Piece]] = defaultdict(list)
            for parameter, update in zip(moving, self._updates(group, moving), strict=True):
                for piece in _pieces(parameter, update, group["layout"]):
                    by_shape[piece.update.shape].append(piece)
            if moving:
                scale_(moving, 1 - group["lr"] * group["weight_decay"])
            for shape, pieces in by_shape.items():
                step = -group["lr"] * 0.2 * max(shape) ** 0.5
                orthogonal = orthogonalised(torch.stack([piece.update for piece in pieces]))
                for piece, direction in zip(pieces, orthogonal, strict=True):
                    upright = direction.t() if piece.turned else direction
                    piece.target.add_(upright.reshape(piece.target.shape), alpha=step)

    def _updates(self, group: dict[str, Any], moving: list[nn.Parameter]) -> list[Tensor]:
        """Nesterov momentum of every parameter, in the group's precision."""
        for parameter in moving:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        gradients = [p.grad for p in moving]
        buffers = [self.state[p]["momentum"] for p in moving]
        if not moving:
            return []
        lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = lerp(gradients, buffers, group["momentum"])
        return [update.to(getattr(torch, group["precision"])) for update in ahead]


def _pieces(parameter: Tensor, update: Tensor, layout: Sequence[Any] | None) -> Iterator[_Piece]:
    """The matrices that a parameter holds."""
    whole = Layout(*layout) if layout else Layout(0, 1, (len(parameter),))
    for target, part in zip(whole.parts(parameter), whole.parts(update), strict=True):
        matrix = part.flatten(0, 1)
        turned = matrix.shape[0] > matrix.shape[1]
        yield _Piece(target, matrix.t() if turned else matrix, turned)


def orthogonalised(matrices: Tensor) -> Tensor:
    """The orthogonal factor of each matrix, roughly: (count, rows, columns) with rows <= columns.

    Newton and Schulz's iteration with coefficients that trade exactness for speed: singular values above a
    hundredth of the norm end between about 0.7 and 1.2, and smaller ones on the way there.
    """
    a, b, c = QUINTIC
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        mixed = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, mixed, x, beta=a)
    return x
