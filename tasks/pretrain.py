"""The one training loop we own: a GPT on a stream of tokens, resumed exactly where it died.

Its checkpoint holds everything the next step depends on (weights, optimizer, data position, random
states), so a run that was killed ends with the same bits as one that was not.
"""

import json
import logging
import math
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from tasks.config import PretrainConfig
from tasks.curves import draw_losses
from tasks.device import autocast, pick_device
from tasks.errors import StageError
from tasks.gpt import GPT, GPTConfig
from tasks.record import StageRun
from tasks.tokenize import text_ids

log = logging.getLogger(__name__)

KEPT_CHECKPOINTS = 2
UNTIMED_STEPS = 5  # the first steps allocate, and would make the speed look worse than it is


@dataclass
class Blocks:
    """Blocks of `context` + 1 tokens, every token of the stream once an epoch, in an order drawn by seed.

    Each epoch cuts the stream at another offset, so that block borders do not stay where they are; the
    tokens before the offset and after the last whole block wait for the next epoch.
    """

    tokens: np.ndarray
    context: int
    seed: int
    epoch: int = 0
    taken: int = 0
    _order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.tokens) < self.context + 1:
            raise StageError(
                f"the training split has {len(self.tokens)} tokens; a context of {self.context} needs "
                f"{self.context + 1}. Give more text, or lower pretrain.context"
            )
        self._order = self._drawn()

    def _drawn(self) -> list[int]:
        draw = np.random.default_rng((self.seed, self.epoch))
        slack = min(self.context, len(self.tokens) - self.context)
        offset = int(draw.integers(slack))
        starts = np.arange(offset, len(self.tokens) - self.context, self.context)
        return draw.permutation(starts).tolist()

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """Inputs and labels, both (size, context); labels are the inputs shifted by one, once and here."""
        rows = np.stack([self._next() for _ in range(size)])
        block = torch.from_numpy(rows)
        return block[:, :-1], block[:, 1:]

    def _next(self) -> np.ndarray:
        if self.taken == len(self._order):
            self.epoch, self.taken = self.epoch + 1, 0
            self._order = self._drawn()
        start = self._order[self.taken]
        self.taken += 1
        return self.tokens[start : start + self.context + 1].astype(np.int64)


@dataclass
class Progress:
    """Where training stands; what a checkpoint keeps beside tensors."""

    step: int = 0
    epoch: int = 0
    taken: int = 0
    best_loss: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)


def pretrain(config: PretrainConfig, run: StageRun, *, tokens: Path) -> None:
    """Train on `tokens` (from the tokenize stage) and write `model/`, `history.jsonl`, `summary.json`.

    `model/` is the checkpoint with the lowest validation loss, with its tokenizer; it loads with
    `AutoModelForCausalLM`. Raises StageError for a corpus shorter than the context and for a loss that is
    not a number.
    """
    trainer = Trainer(config, run, tokens)
    trainer.resume()
    trainer.fit()
    trainer.write()


class Trainer:
    """Model, optimizer and data of one training, with what it takes to continue it."""

    def __init__(self, config: PretrainConfig, run: StageRun, tokens: Path) -> None:
        self.config = config
        self.run = run
        self.device = pick_device(config.device)
        self.facts = json.loads((tokens / "tokens.json").read_text(encoding="utf-8"))
        train, self.validation = (
            np.memmap(tokens / f"{name}.bin", dtype=self.facts["dtype"], mode="r")
            if self.facts[name]["tokens"]
            else np.empty(0, dtype=self.facts["dtype"])
            for name in ("train", "validation")
        )
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokens / "tokenizer")
        self.blocks = Blocks(train, config.context, config.seed)
        torch.manual_seed(config.seed)
        layers, heads, width = config.shape()
        self.model = GPT(
            GPTConfig(
                vocab_size=self.facts["vocab_size"],
                context=config.context,
                layers=layers,
                heads=heads,
                width=width,
                dropout=config.dropout,
                end_token=self.facts["end_token"],
            )
        ).to(self.device)
        self.optimizer = make_optimizer(self.model, config)
        self.progress = Progress()
        self.train_seconds = 0.0
        self.timed_tokens = 0

    @property
    def tokens_per_step(self) -> int:
        return self.config.batch_size * self.config.accumulation * self.config.context

    def fit(self) -> None:
        """Step until `config.steps`, evaluating and keeping a checkpoint every `eval_every` steps."""
        timed_from = self.progress.step + UNTIMED_STEPS
        while self.progress.step < self.config.steps:
            started = time.perf_counter()
            self._step()
            if self.progress.step > timed_from:
                self.train_seconds += time.perf_counter() - started
                self.timed_tokens += self.tokens_per_step
            self._report()
            if self.progress.step % self.config.eval_every == 0 or self.progress.step == self.config.steps:
                self._evaluate()
                self._save_checkpoint()

    def _step(self) -> None:
        self.model.train()
        rate = learning_rate(self.config, self.progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total = torch.zeros((), device=self.device)
        for _ in range(self.config.accumulation):
            inputs, labels = (part.to(self.device) for part in self.blocks.batch(self.config.batch_size))
            with autocast(self.device, self.config.precision):
                logits, _ = self.model(inputs)
            # Every micro-batch holds as many tokens, so the sum over all divided by their number is exact.
            loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum")
            loss = loss / self.tokens_per_step
            loss.backward()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        value = total.item()
        self._require_finite("training", value)
        self._remember({"train_loss": value, "learning_rate": rate, "gradient_norm": norm.item()})

    def _require_finite(self, name: str, loss: float) -> None:
        if not math.isfinite(loss):
            raise StageError(
                f"the {name} loss became {loss} at step {self.progress.step}. "
                "Lower pretrain.learning_rate, or raise pretrain.warmup"
            )

    def _remember(self, values: dict[str, float]) -> None:
        step = self.progress.step
        entry = {"step": step, "tokens": step * self.tokens_per_step, **values}
        self.progress.history.append(entry)
        self.run.log_metrics({name: value for name, value in entry.items() if name != "step"}, step)

    def _report(self) -> None:
        entry = self.progress.history[-1]
        note = f"loss {entry['train_loss']:.3f}"
        if self.train_seconds:
            note += f", {self.timed_tokens / self.train_seconds:,.0f} tokens/s"
        self.run.progress(self.progress.step, self.config.steps, "steps", note)

    def _evaluate(self) -> None:
        if len(self.validation) < 2:
            _save(self.model.state_dict(), self._best)  # nothing to choose by: the last is the best
            return
        loss, predicted = evaluate(self.model, self.validation, self.config, self.device)
        self._require_finite("validation", loss)
        per_byte = loss * predicted / math.log(2) / self.facts["validation"]["bytes"]
        self._remember(
            {"validation_loss": loss, "perplexity": math.exp(min(loss, 700)), "bits_per_byte": per_byte}
        )
        with (self.run.aside / "samples.txt").open("a", encoding="utf-8") as file:
            file.write(f"--- step {self.progress.step}, validation loss {loss:.4f}\n{self._sample()}\n")
        self._keep_best(loss)

    def _sample(self) -> str:
        (start,) = text_ids(self.tokenizer, [self.config.sample_prompt])
        ids = torch.tensor([start or [self.facts["end_token"]]], device=self.device)
        return self.tokenizer.decode(self.model.continue_greedily(ids, 48)[0], skip_special_tokens=True)

    def _keep_best(self, loss: float) -> None:
        if loss < self.progress.best_loss or not self._best.exists():
            self.progress.best_loss = min(loss, self.progress.best_loss)
            _save(self.model.state_dict(), self._best)

    @property
    def _best(self) -> Path:
        return self.run.checkpoint / "best.pt"

    def _save_checkpoint(self) -> None:
        self.progress.epoch, self.progress.taken = self.blocks.epoch, self.blocks.taken
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
        }
        _save(state, self.run.checkpoint / f"step-{self.progress.step:09d}.pt")
        for old in self._checkpoints()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def _checkpoints(self) -> list[Path]:
        return sorted(self.run.checkpoint.glob("step-*.pt"))

    def resume(self) -> None:
        """Continue from the newest checkpoint of an earlier attempt at the same key, if there is one."""
        if (state := self._newest_state()) is None:
            return
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"].cpu())
        if state["cuda_random"]:
            torch.cuda.set_rng_state_all([random.cpu() for random in state["cuda_random"]])
        self.progress = Progress(**state["progress"])
        self.blocks = Blocks(
            self.blocks.tokens,
            self.config.context,
            self.config.seed,
            self.progress.epoch,
            self.progress.taken,
        )
        for entry in self.progress.history:  # the new MLflow run shows the whole curve
            self.run.log_metrics(
                {name: value for name, value in entry.items() if name != "step"}, entry["step"]
            )
        self.run.progress(self.progress.step, self.config.steps, "steps", "continuing from a checkpoint")

    def _newest_state(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read; damaged ones (a power cut, a full disk) are removed."""
        for path in reversed(self._checkpoints()):
            try:
                torch.load(
                    self._best, map_location="cpu", weights_only=True
                )  # no use without the best weights
                return torch.load(path, map_location=self.device, weights_only=True)
            except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
                log.warning("the checkpoint %s cannot be read and is left out: %s", path, error)
                path.unlink()
        self._best.unlink(missing_ok=True)
        return None

    def write(self) -> None:
        """Write the outputs: the best model with its tokenizer, the history, and the numbers beside them."""
        self.model.load_state_dict(torch.load(self._best, map_location=self.device, weights_only=True))
        self.model.save(self.run.out / "model")
        self._check_saved()
        self.tokenizer.save_pretrained(self.run.out / "model")
        history = self.progress.history
        with (self.run.out / "history.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in history)
        evaluations = [entry for entry in history if "validation_loss" in entry]
        best = min(evaluations, key=lambda entry: entry["validation_loss"]) if evaluations else {}
        summary = {
            "parameters": self.model.parameter_count(),
            "steps": self.progress.step,
            "tokens": self.progress.step * self.tokens_per_step,
            "train_loss": [entry for entry in history if "train_loss" in entry][-1]["train_loss"],
            **{
                f"best_{name}": best[name]
                for name in ("step", "validation_loss", "perplexity", "bits_per_byte")
                if best
            },
        }
        (self.run.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
        numbers = {name: value for name, value in summary.items() if name not in history[0]}  # no point twice
        self.run.log_metrics(numbers, self.progress.step)
        speed = {
            "device": str(self.device),
            "threads": torch.get_num_threads(),
            "tokens_per_second": self.timed_tokens / self.train_seconds if self.train_seconds else None,
        }
        (self.run.aside / "speed.json").write_text(json.dumps(speed, indent=2) + "\n", encoding="utf-8")
        if speed["tokens_per_second"]:
            self.run.log_metrics({"tokens_per_second": speed["tokens_per_second"]}, self.progress.step)
        curves = {
            name: [(entry["tokens"], entry[f"{name}_loss"]) for entry in history if f"{name}_loss" in entry]
            for name in ("train", "validation")
        }
        draw_losses(self.run.aside / "loss.png", "Pretraining", "tokens", curves)

    @torch.no_grad()
    def _check_saved(self) -> None:
        """Refuse a checkpoint that does not compute, bit for bit, what the model in memory does."""
        inputs = torch.from_numpy(self.blocks.tokens[: self.config.context].astype(np.int64))[None]
        trained, _ = self.model.cpu().eval()(inputs)
        loaded, _ = GPT.load(self.run.out / "model").eval()(inputs)
        if not trained.isfinite().all():
            raise StageError(
                "the trained weights give logits that are not finite; lower pretrain.learning_rate"
            )
        if not torch.equal(trained, loaded):
            raise StageError("the checkpoint that was written does not compute what the trained model does")


def make_optimizer(model: GPT, config: PretrainConfig) -> torch.optim.AdamW:
    """AdamW that decays matrices and embeddings, not biases and norms."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


def learning_rate(config: PretrainConfig, step: int) -> float:
    """Linear warm-up to the rate, then a cosine to the least rate at the last step; `step` counts from 0."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    share = (step - config.warmup) / max(1, config.steps - 1 - config.warmup)
    low, high = config.min_learning_rate, config.learning_rate
    return low + (high - low) * (1 + math.cos(math.pi * share)) / 2


def _validation_blocks(tokens: np.ndarray, context: int) -> Iterator[Tensor]:
    for start in range(0, len(tokens) - 1, context):
        yield torch.from_numpy(tokens[start : start + context + 1].astype(np.int64))


@torch.no_grad()
def evaluate(
    model: GPT, tokens: np.ndarray, config: PretrainConfig, device: torch.device
) -> tuple[float, int]:
    """Mean loss over every token of the split but the first, in nats, and the number of those tokens.

    The sum over tokens is divided once: a mean of batch means would weigh the short last block too much.
    """
    model.eval()
    total, predicted = 0.0, 0
    blocks = list(_validation_blocks(tokens, config.context))
    whole = [block for block in blocks if len(block) == config.context + 1]
    groups = [
        torch.stack(whole[at : at + config.batch_size]) for at in range(0, len(whole), config.batch_size)
    ]
    for group in [*groups, *(block[None] for block in blocks[len(whole) :])]:
        inputs, labels = group[:, :-1].to(device), group[:, 1:].to(device)
        with autocast(device, config.precision):
            logits, _ = model(inputs)
        total += F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), reduction="sum").item()
        predicted += labels.numel()
    return total / predicted, predicted


def _save(state: Any, path: Path) -> None:
    """Write whole or not at all: a kill in the middle leaves the previous checkpoint as it was."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    with part.open("rb") as file:
        os.fsync(file.fileno())  # the bytes before the name, even across a power cut
    part.replace(path)
