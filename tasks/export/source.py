"""What is exported: a model of a stage's output, with what else is known of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.config import ExportConfig
from tasks.errors import StageError
from tasks.generate.ends import ends_of
from tasks.machine.json_files import Json, read_json
from tasks.models.kinds import is_seq2seq
from tasks.models.loading import ADAPTER, load_model, load_tokenizer
from tasks.models.summary import ModelSummary
from tasks.record.stage import StageRun
from tasks.report.outputs import read_report
from tasks.rows import Row, load_split
from tasks.tokenize.templates import Template, load_template


@dataclass(frozen=True)
class ExportSource:
    """A model, and the outputs that its lineage knows; None stands for what it does not."""

    config: ExportConfig
    run: StageRun
    model: Path
    base: Path | None = None
    """Of adapters alone: the model that they were trained on."""
    rows: Path | None = None
    responses: Path | None = None
    """Of the model to the test rows, as they were generated after its training."""
    scores: Path | None = None
    report: Path | None = None

    @property
    def files(self) -> Path:
        """Where what leaves is written to."""
        return self.run.out / "files"

    @property
    def folder(self) -> Path:
        """The model's own files."""
        return self.model / "model"

    @property
    def name(self) -> str:
        return self.config.name or "model"

    @cached_property
    def summary(self) -> ModelSummary:
        return ModelSummary.read(self.model)

    @property
    def is_adapter(self) -> bool:
        return (self.folder / ADAPTER).exists()

    @cached_property
    def is_seq2seq(self) -> bool:
        """Whether it is an encoder-decoder, or adapters of one."""
        return is_seq2seq(self.folder, self.base / "model" if self.base else None)

    def require_base(self) -> Path | None:
        """The folder of the model that adapters belong to; None for a whole model.

        Raises StageError for adapters whose base is not known.
        """
        if not self.is_adapter:
            return None
        if self.base is None:
            raise StageError(
                "the model is adapters alone, and it is not known of which model. Export a run or a version "
                "of the registry, which know, or train with finetune.lora.adapters=merged"
            )
        return self.base / "model"

    def load(self) -> PreTrainedModel:
        """The whole model anew, in float32, adapters merged."""
        return load_model(self.folder, self.require_base())[0].eval()

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.folder)

    @cached_property
    def template(self) -> Template | None:
        """That it was trained in; of an imported model its own, if it has one; of a pretrained one none."""
        name = self.summary.numbers.get("template")
        if name is None and isinstance(self.tokenizer.chat_template, str):
            name = "tokenizer"
        return load_template(name, self.tokenizer) if name else None

    def ends(self, network: PreTrainedModel) -> frozenset[int]:
        """The tokens that end its responses."""
        return ends_of(network, self.tokenizer)

    @cached_property
    def test(self) -> Sequence[Row]:
        """The test rows that are answered from exported files; none where the rows are not known."""
        if self.rows is None or self.responses is None or self.scores is None:
            return ()
        return load_split(self.rows, "test")[: self.config.scored_rows]

    @cached_property
    def card(self) -> Json | None:
        """The report card, where there is one."""
        return read_report(self.report) if self.report else None

    @cached_property
    def base_model(self) -> str | None:
        """The model of the hub that it was trained from; None where it was trained here from the start, or
        from a folder of this machine."""
        numbers = self.summary.numbers
        origin = (self.card or {}).get("origin") or numbers
        named = origin.get("model")
        revision = origin.get("revision")
        return named if isinstance(named, str) and revision and not named.startswith("models:/") else None

    @property
    def size(self) -> int:
        """Bytes of the model's weights in float32."""
        own = self.base / "model" if self.is_adapter and self.base else self.folder
        return sum(path.stat().st_size for path in own.glob("*.safetensors"))


@dataclass(frozen=True)
class Check:
    """One thing that was found to be right of the files."""

    name: str
    found: str


@dataclass
class Written:
    """What a format found of the files that it wrote."""

    checks: list[Check] = field(default_factory=list)
    costs: list[Json] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a person should know."""


def without_local_names(folder: Path) -> None:
    """Take the names of this machine's folders out of the JSON files that libraries write."""
    from tasks.machine.json_files import write_json

    for path in folder.glob("*.json"):
        if path.name in ("tokenizer.json", "vocab.json"):  # nothing but the tokenizer's own
            continue
        values = read_json(path)
        if not isinstance(values, dict):
            continue
        local = [name for name in ("_name_or_path", "name_or_path") if name in values]
        if local:
            write_json(path, {name: value for name, value in values.items() if name not in local})
