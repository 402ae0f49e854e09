"""What a folder or a file holds of a model, by its files alone: no library that computes is needed for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import UsageError
from tasks.machine.json_files import Json, read_json
from tasks.models.summary import CLASSIFICATION, REWARD, ModelSummary

GGUF = ".gguf"
CONFIG, ADAPTER = "config.json", "adapter_config.json"
TASKS = {"ForSequenceClassification": CLASSIFICATION}
"""What models of a class of Transformers are asked, by how its name ends; models of another one write."""


@dataclass(frozen=True)
class ModelFiles:
    """A GGUF file, or a folder of Transformers; of an output of a stage also what stands beside it."""

    path: Path
    summary: ModelSummary | None = None

    @property
    def is_gguf(self) -> bool:
        return self.path.suffix == GGUF

    @property
    def is_adapter(self) -> bool:
        """Whether these are adapters alone, and not the model that they were trained on."""
        return (self.path / ADAPTER).is_file()

    @property
    def template(self) -> str | None:
        """That it was fine-tuned in, where a stage told it."""
        return self.summary.numbers.get("template") if self.summary else None

    @property
    def task(self) -> str | None:
        """What a classifier gives (`tasks/classify/tasks.py`); None of a model that writes."""
        if self.summary:
            return self.summary.task
        classes = self._config.get("architectures") or ()
        return next(
            (task for end, task in TASKS.items() if any(name.endswith(end) for name in classes)), None
        )

    @property
    def labels(self) -> Sequence[str]:
        """Of a classifier, in the order of its outputs; of a model that writes none."""
        if self.task is None:
            return ()
        if self.summary:
            return self.summary.labels
        names = self._config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})  # which is never written
        return tuple(names[number] for number in sorted(names, key=int))

    @property
    def _config(self) -> Json:
        """Of Transformers; empty where there is none."""
        path = self.path / CONFIG
        return {} if self.is_gguf or not path.is_file() else read_json(path)


def find_files(path: Path) -> ModelFiles | None:
    """The model in a file that ends with .gguf, in a folder of Transformers, or in the output of a stage.

    None where there is no model, nor adapters.
    """
    if path.suffix == GGUF and path.is_file():
        return ModelFiles(path.resolve())
    summary = ModelSummary.find(path)
    folder = path / "model" if summary else path
    found = ModelFiles(folder.resolve(), summary)
    return found if (folder / CONFIG).is_file() or found.is_adapter else None


def whole_files(path: Path) -> ModelFiles:
    """As `find_files`. Raises UsageError for no model, and for adapters of one that is elsewhere."""
    found = find_files(path)
    if found is None:
        raise UsageError(
            f"{path} holds no model: expected a folder with config.json, safetensors and a tokenizer, or a "
            f"file that ends with {GGUF}"
        )
    if found.is_adapter:
        raise UsageError(
            f"{path} holds adapters alone, and not the model that they were trained on. Name the run or the "
            "registered version that they are from"
        )
    return found


def require_text(name: str, task: str | None, labels: Sequence[str], instead: str) -> None:
    """Raise UsageError for a classifier or a reward model, with what to use `instead`."""
    require_no_rewards(name, task, instead)
    if task:
        raise UsageError(
            f"{name} is a classifier: it gives labels ({', '.join(labels)}), and writes no text. {instead}"
        )


def require_no_rewards(name: str, task: str | None, instead: str) -> None:
    """Raise UsageError for a reward model, with what to use `instead`."""
    if task == REWARD:
        raise UsageError(
            f"{name} is a reward model: it says what a response is worth, and writes no text. {instead}"
        )
