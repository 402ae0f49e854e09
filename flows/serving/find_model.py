"""The model that a person names, as files of this machine."""

from pathlib import Path

from flows.dispatch.names import resolve_name
from flows.dispatch.runs import KIND, SEEDS, reference_of
from tasks.errors import UsageError
from tasks.models import CLASSIFIER, MODELS
from tasks.models.loading import ADAPTER
from tasks.models.summary import ModelSummary
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import MADE_BY
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference
from tasks.registry.resolve import intact, resolve
from tasks.serve.models import GGUF, LocalModel, local_model

STAGES = {  # that make the models of a run, by what people call these, the last trained first
    MODELS["preferred"]: ("dpo",),
    CLASSIFIER: ("classify",),
    MODELS["tuned"]: ("finetune",),
    MODELS["base"]: ("base", "pretrain"),
}
UNDER = {"dpo": ("finetune",), "finetune": ("base", "pretrain")}  # what adapters were trained on


def find_model(text: str) -> LocalModel:
    """The model in a folder or a GGUF file, of a run (`resolve_name`), or a registered version.

    Raises UsageError when there is none, or it could be several.
    """
    path = Path(text).expanduser()
    if path.is_dir() or path.suffix == GGUF:
        return _of_path(text, path)
    tracking = open_tracking()
    named = resolve_name(tracking, text)
    if named.version is not None:
        found = resolve(tracking, f"models:/{named.version.name}/{named.version.version}")
        return _model(tracking, found.label, found.model, found.under)
    return _of_run(tracking, text, named.run.data.tags, named.run.info.run_name, named.model)


def _of_path(text: str, path: Path) -> LocalModel:
    if not path.exists():
        raise UsageError(f"there is no file {text}")
    return local_model(path)


def _of_run(tracking: Tracking, text: str, tags: dict[str, str], run_name: str, model: str) -> LocalModel:
    if tags.get(KIND) == SEEDS:
        raise UsageError(f"{text!r} is a run of several seeds; name the run of one of them")
    made = {name: stage for name, stages in STAGES.items() for stage in stages if f"{MADE_BY}{stage}" in tags}
    if not made:
        raise UsageError(f"{text!r} has made no model yet; `touchstone runs` tells how far each has come")
    if model and model not in made:
        raise UsageError(f"{text!r}: the run has no model {model!r}; there are {', '.join(made)}")
    model = model or next(iter(made))
    stage = made[model]
    under = next((one for one in UNDER.get(stage, ()) if f"{MADE_BY}{one}" in tags), None)
    references = [reference_of(tracking, tags[f"{MADE_BY}{one}"]) for one in (stage, under) if one]
    return _model(tracking, f"{run_name}:{model}", *references)


def _model(tracking: Tracking, name: str, reference: Reference, under: Reference | None = None) -> LocalModel:
    """Raises StageError when its files are gone or altered."""
    output = fetch(tracking, intact(tracking, reference)) / OUTPUT
    summary, folder = ModelSummary.read(output), output / "model"
    base, digest = None, reference.digest
    if (folder / ADAPTER).exists():
        if under is None:
            raise UsageError(
                f"{name} is adapters alone, and does not say of which model. Run its profile again with "
                "lora.adapters=merged"
            )
        base = fetch(tracking, intact(tracking, under)) / OUTPUT / "model"
        digest = f"{digest[:16]}{under.digest[:16]}"
    return LocalModel(
        name,
        folder,
        base,
        summary.numbers.get("template"),
        summary.labels if summary.classifies else (),
        digest,
        summary.task,
    )
