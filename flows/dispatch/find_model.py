"""The model that a person names: what a stage made, or files of the person's own.

`chat`, `serve`, `generate` and `export` find it here. Prefect is not needed for it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from flows.dispatch.names import Named, pipeline_run_of, resolve_name
from flows.dispatch.runs import KIND, SEED, SEEDS, read_output, reference_of
from tasks.errors import UsageError
from tasks.models import CLASSIFIER, MODELS, STARTS_FROM, TRAININGS
from tasks.models.folders import GGUF, ModelFiles, find_files, whole_files
from tasks.models.summary import REWARD
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import MADE_BY, by_digest
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of
from tasks.registry.promotion import Promotion
from tasks.registry.resolve import intact, resolve

STAGES = {  # that make the models of a run, by what people call these, the last trained first
    CLASSIFIER: ("classify",),
    **{MODELS[model]: (stage,) for model, stage in reversed(TRAININGS.items())},
    MODELS["base"]: ("base", "pretrain"),
    REWARD: ("reward",),  # which stands for no run
}
WRITERS = ("base", "pretrain", *TRAININGS.values())  # stages that make models that write
DIGEST = "touchstone.digest"
DIGITS = 12  # of a digest, by which a model is known
LISTED = 200  # models of each stage that are listed


@dataclass(frozen=True)
class FoundModel:
    """A model by the name that people see: an output of a stage, or files that are not known to MLflow."""

    name: str
    files: ModelFiles | None = None
    model: Reference | None = None
    base: Reference | None = None
    """That it was fine-tuned from, which adapters alone need."""
    version: tuple[str, int] | None = None
    """Of the registry, where it is one."""
    run: Run | None = None
    """The pipeline's that it is of."""

    def fetched(self, tracking: Tracking) -> ModelFiles:
        """Its files on this machine."""
        if self.files:
            return self.files
        found = find_files(fetch(tracking, self.model) / OUTPUT)
        if found is None:
            raise UsageError(f"the output of {self.model.stage} that {self.name} stands for holds no model")
        return found

    def fetched_base(self, tracking: Tracking) -> ModelFiles | None:
        """Of adapters alone the files of the model that they were trained on; None for a whole model.

        Raises UsageError for adapters whose model is not known.
        """
        if not self.fetched(tracking).is_adapter:
            return None
        if self.base is None:
            raise UsageError(
                f"{self.name} is adapters alone, and does not say of which model. Run its profile again with "
                "lora.adapters=merged"
            )
        return find_files(fetch(tracking, self.base) / OUTPUT)


def find_model(tracking: Tracking, text: str, model: str = "") -> FoundModel:
    """The model in a folder or a GGUF file, else of a run or the registry, as `resolve_name` reads it.

    A run stands for the version that it registered, else for the last model that it trained; RUN:base and the
    like for one of its models, or for `model` where none is said; several seeds for their first.

    Raises UsageError when there is none, StageError when its files are gone or altered.
    """
    path = Path(text).expanduser()
    if found := _by_digest(tracking, text):
        return found
    if path.suffix == GGUF and not path.exists():
        raise UsageError(f"there is no file {text}")
    if find_files(path):
        return FoundModel(path.resolve().name.removesuffix(GGUF), whole_files(path))
    try:
        named = resolve_name(tracking, text)
    except UsageError as error:
        if path.is_dir():
            whole_files(path)  # says what is expected of a folder
        if "@" in text or ":" in text:
            raise
        raise UsageError(f"{error}; or a folder with a model, and there is none of this name") from error
    return _of_named(tracking, text, named, model)


def find_reward_model(tracking: Tracking, text: str) -> FoundModel:
    """As `find_model`, of a reward model, for which a run stands too that has trained one.

    Raises UsageError for another model, as that does for what is not there.
    """
    found = find_model(tracking, text, REWARD)
    files = found.fetched(tracking)
    if files.summary is None or files.summary.task != REWARD:
        raise UsageError(
            f"{text} is no reward model. Name a run that trained one (reward: in its profile), its version "
            "in the registry, or the folder of its output, which has summary.json and the folder model"
        )
    return found


def find_made(tracking: Tracking, text: str) -> FoundModel:
    """As `find_model`, of what was made here alone: no folder and no file. Raises as it does."""
    return _by_digest(tracking, text) or _of_named(tracking, text, resolve_name(tracking, text))


def made_models(tracking: Tracking) -> list[str]:
    """The first digits of the digest of every model that writes, stage by stage, the newest first."""
    found: dict[str, None] = {}
    for stage in WRITERS:
        condition = f"tags.`touchstone.stage` = '{stage}' AND attributes.status = 'FINISHED'"
        for run in tracking.client.search_runs([tracking.experiment_id], condition, max_results=LISTED):
            if digest := run.data.tags.get(DIGEST):
                found[digest[:DIGITS]] = None
    return list(found)


def _by_digest(tracking: Tracking, text: str) -> FoundModel | None:
    """What a stage made, by the digest of it or the beginning; None where nothing has such a one."""
    if not re.fullmatch(rf"[0-9a-f]{{{DIGITS},64}}", text):
        return None
    model = by_digest(tracking, text, (*WRITERS, "classify", REWARD))
    if model is None:
        return None
    under, run = STARTS_FROM.get(model.stage), tracking.client.get_run(model.run_id)
    return FoundModel(
        text[:DIGITS],
        model=intact(tracking, model),
        base=intact(tracking, input_of(tracking, run, under)) if under else None,
    )


def _of_named(tracking: Tracking, text: str, named: Named, model: str = "") -> FoundModel:
    if named.version is not None:
        return _of_version(tracking, named.version.name, int(named.version.version))
    return _of_run(tracking, text, named.run, named.model or model)


def _of_version(tracking: Tracking, name: str, number: int) -> FoundModel:
    found = resolve(tracking, f"models:/{name}/{number}")
    base = found.under if found.model.stage in STARTS_FROM else None
    version = tracking.client.get_model_version(name, str(number))
    return FoundModel(
        found.label,
        model=intact(tracking, found.model),
        base=base and intact(tracking, base),
        version=(name, number),
        run=pipeline_run_of(tracking, tracking.client.get_run(version.run_id)),
    )


def models_of(run: Run) -> dict[str, str]:
    """The models of a pipeline's run by what people call them, with their stages; the last trained first."""
    tags = run.data.tags
    return {name: stage for name, stages in STAGES.items() for stage in stages if f"{MADE_BY}{stage}" in tags}


def _of_run(tracking: Tracking, text: str, run: Run, model: str) -> FoundModel:
    tags = run.data.tags
    if tags.get(KIND) == SEEDS and (
        numbers := [int(name.removeprefix(SEED)) for name in tags if name.startswith(SEED)]
    ):
        return _of_run(tracking, text, tracking.client.get_run(tags[f"{SEED}{min(numbers)}"]), model)
    if not model and (promoted := tags.get(f"{MADE_BY}promote")):
        made = read_output(tracking, reference_of(tracking, promoted), Promotion.read)
        return _of_version(tracking, made.name, made.version)
    made = models_of(run)
    if not made:
        raise UsageError(f"{text!r} has made no model; `touchstone runs` tells how far each run has come")
    if model and model not in made:
        raise UsageError(f"{text!r}: the run has no model {model!r}; there are {', '.join(made)}")
    model = model or next(iter(made))
    stage = made[model]
    reference = reference_of(tracking, tags[f"{MADE_BY}{stage}"])
    under = STARTS_FROM.get(stage)
    base = input_of(tracking, tracking.client.get_run(reference.run_id), under) if under else None
    return FoundModel(
        f"{run.info.run_name}:{model}",
        model=intact(tracking, reference),
        base=base and intact(tracking, base),
        run=run,
    )
