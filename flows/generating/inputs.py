"""The model that is to respond: a registered version, what a run registered, or a folder of Hugging Face."""

from dataclasses import dataclass
from pathlib import Path

from flows.dispatch.names import resolve_version
from flows.dispatch.runs import read_output
from tasks.errors import UsageError
from tasks.models.summary import ModelSummary
from tasks.record.tracking import open_tracking
from tasks.record.work import Reference
from tasks.registry.resolve import intact, resolve

CONFIG, ADAPTER = "config.json", "adapter_config.json"


@dataclass(frozen=True)
class ModelInput:
    """A model by the name that people see: an output of a stage, or a folder."""

    name: str
    template: str | None
    """In which it is asked; None where it carries none."""
    folder: Path | None = None
    model: Reference | None = None
    base: Reference | None = None
    """Of adapters alone, the model that they were trained on."""


def find_model(text: str) -> ModelInput:
    """The model that a person names. Raises UsageError for none, for a classifier, for adapters alone."""
    folder = Path(text).expanduser()
    if folder.is_dir():
        return _of_folder(text, folder)
    tracking = open_tracking()
    try:
        version = resolve_version(tracking, text)
    except UsageError as error:
        raise UsageError(f"{error}; or a folder with a model, and there is none of this name") from error
    found = resolve(tracking, f"models:/{version.name}/{version.version}")
    model = intact(tracking, found.model)
    summary = read_output(tracking, model, ModelSummary.read)
    if summary.classifies:
        raise UsageError(
            f"{found.label} is a classifier: it gives labels ({', '.join(summary.labels)}), and writes no "
            "text; expected a model that was fine-tuned on instructions"
        )
    base = intact(tracking, found.under) if found.under else None
    return ModelInput(found.label, summary.numbers.get("template"), model=model, base=base)


def _of_folder(text: str, folder: Path) -> ModelInput:
    if not (folder / CONFIG).is_file():
        what = "adapters alone" if (folder / ADAPTER).is_file() else "no model"
        raise UsageError(
            f"{text} holds {what}; expected a folder with config.json, safetensors and a tokenizer, or a "
            "registered model: NAME, NAME@champion or NAME/3"
        )
    from tasks.models.loading import load_tokenizer  # imports torch, which takes seconds
    from tasks.tokenize.templates import own_template

    try:
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the tokenizer in {text} cannot be loaded: {reason}") from error
    return ModelInput(folder.resolve().name, own_template(tokenizer), folder=folder.resolve())
