"""The model that is to respond: a registered version, one of a run, or a folder of Hugging Face."""

from dataclasses import dataclass
from pathlib import Path

from flows.dispatch.find_model import find_model
from tasks.errors import UsageError
from tasks.models.folders import require_text
from tasks.record.tracking import open_tracking
from tasks.record.work import Reference


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


def find_model_input(text: str) -> ModelInput:
    """As `find_model`. Raises UsageError for a classifier, and for a GGUF file."""
    tracking = open_tracking()
    found = find_model(tracking, text)
    files = found.fetched(tracking)
    if files.is_gguf:
        raise UsageError(
            f"{text} is a GGUF file; expected the model that it was written from: a version, a run or "
            "a folder of Hugging Face"
        )
    require_text(found.name, files.task, files.labels, "Expected a model that was fine-tuned on instructions")
    found.fetched_base(tracking)  # adapters whose model is not known
    if found.model:
        return ModelInput(found.name, files.template, model=found.model, base=found.base)
    from tasks.models.loading import load_tokenizer  # imports torch, which takes seconds
    from tasks.tokenize.templates import own_template

    try:
        tokenizer = load_tokenizer(files.path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"the tokenizer in {text} cannot be loaded: {reason}") from error
    return ModelInput(found.name, files.template or own_template(tokenizer), folder=files.path)
