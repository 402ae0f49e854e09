"""What a training leaves: the best model, its history, and the numbers beside them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tasks.batches.mixtures import sources_read
from tasks.errors import StageError
from tasks.machine.json_files import Json, write_json
from tasks.models.architectures import build_model
from tasks.models.summary import SOURCE_LOSS, write_history
from tasks.pretrain.outputs import SPEED, PretrainSummary
from tasks.pretrain.speed import matrix_rate
from tasks.show.curves import draw_losses

if TYPE_CHECKING:
    from tasks.pretrain.loop import Trainer


def write_result(trainer: "Trainer") -> None:
    """Write the outputs of a training that has ended; in the first process only.

    Raises StageError when the model that was written is not the one that was trained, or not finite.
    """
    run, history = trainer.run, trainer.progress.history
    sharded = trainer.config.sharding == "fsdp"
    best = build_model(trainer.config, trainer.files) if sharded else trainer.plain.cpu()
    best.load_state_dict(trainer.checkpoints.best_weights())
    best.save(run.out / "model")
    _check_saved(trainer, best)
    trainer.tokenizer.save_pretrained(run.out / "model")
    write_history(run.out, history)
    summary = _summary(trainer)
    summary.write(run.out)
    speed = speed_of(trainer)
    (
        run.auxiliary / "samples.txt"
    ).touch()  # an attempt that went on behind the last evaluation has written none
    write_json(run.auxiliary / SPEED, speed)
    told = summary.as_json()
    best_of = [f"best_{name}" for name in ("step", *trainer.objective.MEASURES)]
    metrics = {name: told[name] for name in ("parameters", "steps", *best_of) if name in told}
    if speed["tokens_per_second"]:
        metrics |= {name: speed[name] for name in ("tokens_per_second", "utilisation")}
    run.log_metrics(metrics)
    curves = {
        name: [(entry["tokens"], entry[f"{name}_loss"]) for entry in history if f"{name}_loss" in entry]
        for name in ("train", "validation")
    }
    draw_losses(
        run.auxiliary / "loss.png", "Pretraining", "tokens", curves, ("steps", trainer.tokens_per_step)
    )


def _summary(trainer: "Trainer") -> PretrainSummary:
    history, steps = trainer.progress.history, trainer.progress.step
    evaluations = [entry for entry in history if "validation_loss" in entry]
    best = min(evaluations, key=lambda entry: entry["validation_loss"]) if evaluations else {}
    return PretrainSummary(
        parameters=trainer.plain.parameter_count(),
        objective=None if trainer.config.objective == "causal" else trainer.config.objective,
        optimizer=trainer.config.optimizer,
        steps=steps,
        tokens=steps * trainer.tokens_per_step,
        stopped_early=steps < trainer.config.steps,
        train_loss=[entry for entry in history if "train_loss" in entry][-1]["train_loss"],
        **{f"best_{name}": best[name] for name in ("step", *trainer.objective.MEASURES) if best},
        sources=_sources(trainer, best) if trainer.config.mixture is not None else None,
    )


def _sources(trainer: "Trainer", best: Mapping[str, float]) -> list[Json]:
    """What was read of each source in all steps that were made, and the kept model's loss on it."""
    config, files = trainer.config, trainer.files
    mixed = trainer.objective.batches(files, 0, trainer.progress.step * config.sequences)
    losses = {
        name.removeprefix(SOURCE_LOSS): loss for name, loss in best.items() if name.startswith(SOURCE_LOSS)
    }
    return [
        asdict(own) | ({"validation_loss": losses[own.source]} if losses else {})
        for own in sources_read(config, files, mixed)
    ]


def speed_of(trainer: "Trainer") -> dict[str, Any]:
    """Speeds of this attempt. Utilisation is against the matrix products of this very machine."""
    flops = trainer.plain.flops_per_token(trainer.config.context)
    steady = trainer.clock.tokens_per_second()
    rate = matrix_rate(trainer.device, trainer.precision) * trainer.processes.count
    return {
        "device": trainer.processes.device_name,
        "processes": trainer.processes.count,
        "threads": torch.get_num_threads(),
        "precision": trainer.precision,
        "compiled": trainer.compiled,
        "tokens_per_second": steady,
        "tokens_per_second_all_told": trainer.clock.tokens_per_second_all_told(),
        "flops_per_token": flops,
        "matrix_flops_per_second": rate,
        "utilisation": steady * flops / rate if steady else None,
    }


@torch.no_grad()
def _check_saved(trainer: "Trainer", best: nn.Module) -> None:
    """Refuse a checkpoint that does not compute, bit for bit, what the model in memory does."""
    inputs = trainer.objective.batches(trainer.files, 0, 0).batch(1).inputs
    trained = best.eval()(inputs)
    loaded = type(best).load(trainer.run.out / "model").eval()(inputs)
    if not trained.isfinite().all():
        raise StageError("the trained weights give logits that are not finite; lower pretrain.learning_rate")
    if not torch.equal(trained, loaded):
        raise StageError("the checkpoint that was written does not compute what the trained model does")
