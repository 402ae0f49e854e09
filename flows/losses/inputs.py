"""What is compared by its losses: a run that pretrained and did nothing else, or several seeds of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from flows.dispatch.lookup import Runs
from flows.dispatch.names import SHOWN, resolve_name
from flows.dispatch.runs import KIND, SEED, SEEDS, read_output, reference_of
from tasks.config import LossesConfig, PretrainConfig, PretrainedConfig
from tasks.errors import UsageError
from tasks.machine.json_files import Json
from tasks.pretrain.outputs import TIMES, LossComparison
from tasks.record.outputs import read_auxiliary, read_config
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of

PRETRAIN = f"{MADE_BY}pretrain"
BESIDE = {
    *("download corpus", "download vocabulary", "tokenize", "preflight", "pretrain", "export", "report"),
    *("download benchmarks", "download questions", "suite", "benchmark base"),
}
"""The stages of a run that pretrains and does nothing else."""


@dataclass(frozen=True)
class PretrainedInput:
    """One of the two: a name to show, its models by seed, and what they were trained and evaluated on."""

    name: str
    config: PretrainedConfig
    models: tuple[Reference, ...]
    tokens: Reference


def find_pretrained(text: str) -> PretrainedInput | None:
    """The pretrained models that a name stands for; None for a file, for other runs, and for no run.

    Raises UsageError for masked language models.
    """
    if Path(text).is_file() or "://" in text:
        return None
    tracking = open_tracking()
    try:
        found = resolve_name(tracking, text)
    except UsageError:  # what the name could be otherwise is told where responses are looked for
        return None
    if found.version is not None or found.model:
        return None
    runs = _trainings(tracking, found.run)
    if not runs or not all(map(_only_pretrains, runs)):
        return None
    return _input(tracking, found.run, runs)


def _trainings(tracking: Tracking, run: Run) -> list[Run]:
    """The run itself, or of several seeds those that came to their end."""
    if run.data.tags[KIND] != SEEDS:
        return [run]
    numbers = sorted(int(name.removeprefix(SEED)) for name in run.data.tags if name.startswith(SEED))
    return [tracking.client.get_run(run.data.tags[f"{SEED}{number}"]) for number in numbers]


def _only_pretrains(run: Run) -> bool:
    made = {tag.removeprefix(MADE_BY) for tag in run.data.tags if tag.startswith(MADE_BY)}
    return "pretrain" in made and made <= BESIDE


def _input(tracking: Tracking, run: Run, runs: list[Run]) -> PretrainedInput:
    models = tuple(reference_of(tracking, one.data.tags[PRETRAIN]) for one in runs)
    configs = [PretrainConfig.model_validate_json(read_config(model)) for model in models]
    first, name = configs[0], f"{run.info.run_name} ({run.info.run_id[:SHOWN]})"
    if first.objective != "causal":
        raise UsageError(
            f"{name} fills in what is masked: its losses are of other tokens than those of a model that "
            "predicts the next one. Compare the classifiers that were trained from it by their cards"
        )
    recipe = PretrainedConfig(
        seeds=tuple(config.seed for config in configs),
        context=first.context,
        sequences=first.sequences,
        document_mask=first.document_mask,
        mixture_phases=first.mixture_phases,
    )
    tokens = input_of(tracking, tracking.client.get_run(models[0].run_id), "tokens")
    several = f", {len(models)} seeds" if len(models) > 1 else ""
    return PretrainedInput(name + several, recipe, models, tokens)


def require_same_tokens(a: PretrainedInput, b: PretrainedInput) -> None:
    """Raises UsageError for models of different tokens, whose losses are of different things."""
    if a.tokens.digest != b.tokens.digest:
        raise UsageError(
            f"{a.name} and {b.name} were trained on different tokens (another corpus, tokenizer or split): "
            "their losses have no token in common. Train both with the same corpus and tokenize settings"
        )


def compared_losses(run: Runs, a: PretrainedInput, b: PretrainedInput) -> tuple[Json, None]:
    """What is told of A and B; nothing speaks against it."""
    given: Mapping[str, Reference] = {
        f"{side}_{place}": model
        for side, own in (("a", a), ("b", b))
        for place, model in enumerate(own.models, start=1)
    }
    made = run.stage("losses", LossesConfig(a=a.config, b=b.config), tokens=a.tokens, **given)
    found = read_output(run.tracking, made, LossComparison.read).as_json()
    times = json.loads(read_auxiliary(made, TIMES))
    return {"name_a": a.name, "name_b": b.name, **found, "times": times}, None
