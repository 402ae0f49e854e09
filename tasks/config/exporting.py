"""Configuration of exports: the formats that there are, and what is written in one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.config.base import OUTSIDE_KEY, Device, Positive, StageConfig, one_of


@dataclass(frozen=True)
class ExportFormat:
    """A form in which a model leaves; all that is known of it before it is written."""

    entry: str
    """`module:function`, called as `function(source)`, an ExportSource (tasks/export/source.py): it writes
    files to `source.files`, and returns what it found of them (`Written`)."""
    description: str
    classifies: bool = False
    """Whether a classifier can be written in it."""
    seq2seq: bool = False
    """Whether an encoder-decoder can be written in it."""
    quantizes: bool = False
    """Whether its weights may be of the kinds of GGUF."""
    delivers: str | None = None
    """`module:function` that brings the files to a server at each export: `function(config, output)`."""


FORMATS: dict[str, ExportFormat] = {
    "folder": ExportFormat(
        "tasks.export.folder:write",
        "a folder of Hugging Face: safetensors and tokenizer",
        classifies=True,
        seq2seq=True,
    ),
    "gguf": ExportFormat("tasks.export.gguf:write", "a file for llama.cpp", quantizes=True),
    "ollama": ExportFormat(
        "tasks.export.ollama:write",
        "a file and a Modelfile for Ollama, and the model in its server where one runs",
        quantizes=True,
        delivers="tasks.export.ollama:deliver",
    ),
    "adapter": ExportFormat(
        "tasks.export.adapter:write", "the LoRA weights alone, as PEFT reads them", seq2seq=True
    ),
}

PLAIN_KINDS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
K_KINDS = ("q6_k", "q5_k_m", "q5_k_s", "q4_k_m", "q4_k_s", "q3_k_l", "q3_k_m", "q3_k_s", "q2_k")
"""What llama.cpp's own tool alone quantizes to."""

REPOSITORY = r"^[\w.-]+/[\w.-]+$"


class ExportConfig(StageConfig):
    """A model as files that other programs read."""

    to: Annotated[
        str,
        Field(
            description="; ".join(f"{name}: {form.description}" for name, form in FORMATS.items()),
            json_schema_extra={"enum": list(FORMATS)},
        ),
    ] = "folder"
    quantize: Annotated[
        tuple[str, ...],
        Field(
            description=f"kinds of numbers that GGUF files are written in, a file each; none: f32. "
            f"{', '.join(PLAIN_KINDS)}; with llama.cpp's llama-quantize also {', '.join(K_KINDS)}"
        ),
    ] = ()
    name: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9][\w.-]*$",
            description="what the model is called in the files and in Ollama; null: as it is registered",
        ),
    ] = None
    license: Annotated[
        str | None, Field(description="for the model card: apache-2.0, mit; null: the card names none")
    ] = None
    language: Annotated[
        tuple[str, ...], Field(description="for the model card: codes of ISO 639-1, such as en")
    ] = ()
    scored_rows: Annotated[
        Positive | None,
        Field(
            description="test rows, from the first on, that are answered from each GGUF file to measure what "
            "its numbers cost; null: all of them"
        ),
    ] = None
    device: Device = "auto"
    output: Annotated[
        str | None,
        Field(description="folder that the files are copied to; it must be empty or new"),
        OUTSIDE_KEY,
    ] = None
    push: Annotated[
        str | None,
        Field(pattern=REPOSITORY, description="owner/name of a model repository of the hub to upload to"),
        OUTSIDE_KEY,
    ] = None
    private: Annotated[
        bool, Field(description="whether a repository that push creates is private"), OUTSIDE_KEY
    ] = True
    host: Annotated[
        str | None,
        Field(description="of the Ollama server, for ollama; null: OLLAMA_HOST, then 127.0.0.1"),
        OUTSIDE_KEY,
    ] = None

    @property
    def format(self) -> ExportFormat:
        return FORMATS[self.to]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of numbers in which GGUF files are written."""
        return self.quantize or ("f32",)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.to not in FORMATS:
            raise ValueError(f"to: {self.to!r} is no format; expected {one_of(list(FORMATS))}")
        known: Mapping[str, None] = dict.fromkeys((*PLAIN_KINDS, *K_KINDS))
        for kind in self.quantize:
            if kind not in known:
                raise ValueError(f"quantize: {kind!r} is no kind; expected {one_of(list(known))}")
        if len(set(self.quantize)) < len(self.quantize):
            raise ValueError(f"quantize: {', '.join(self.quantize)} names a kind twice")
        if self.quantize and not self.format.quantizes:
            able = one_of([name for name, form in FORMATS.items() if form.quantizes])
            raise ValueError(f"quantize goes with to: {able}, and this is {self.to}; leave it out")
        if self.to == "ollama" and len(self.quantize) > 1:
            raise ValueError("quantize: a model of Ollama has one file; name one kind")
        if self.host is not None and self.to != "ollama":
            raise ValueError(f"host is of the Ollama server, and this is {self.to}; leave it out")
        return self
