"""One frozen model per stage. What is here, with the inputs, decides a stage's result.

A field marked `OUTSIDE_KEY` cannot change the result (where a file is fetched from, which device
computes), so it takes no part in the stage's key: see `tasks/record.py`.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

OUTSIDE_KEY = "outside the key"

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="auto: the first CUDA device when there is one, else the CPU"),
    OUTSIDE_KEY,
]
PreflightMode = Annotated[
    Literal["refuse", "warn"],
    Field(description="what a failed proof does before training: refuse it, or only say so"),
    OUTSIDE_KEY,
]
TemplateName = Literal["alpaca", "phi3"]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0, lt=2**53)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class StageConfig(BaseModel):
    """Base of every stage's configuration: frozen, and a wrong key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, no, on, off as booleans, and pydantic takes those for 1 and 0."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"Input should not be a boolean, found {value}")
        return value

    def key_fields(self) -> dict[str, Any]:
        """The fields that decide the result, as JSON values, nested configurations included."""
        fields = {}
        for name, info in type(self).model_fields.items():
            if OUTSIDE_KEY not in info.metadata:
                fields[name] = _json_value(getattr(self, name))
        return fields


def _json_value(value: Any) -> Any:
    if isinstance(value, StageConfig):
        return value.key_fields()
    if isinstance(value, tuple):
        return [_json_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value


class Source(StageConfig):
    """One input: an address with its fallbacks, a path, a Hugging Face dataset, or data made here."""

    name: Annotated[str, Field(description="file name of the result, and its name in a mirror")] = ""
    urls: Annotated[tuple[str, ...], OUTSIDE_KEY] = ()
    path: Annotated[Path | None, Field(description="a file or a folder of this machine"), OUTSIDE_KEY] = None
    dataset: Annotated[str | None, Field(description="a Hugging Face dataset, such as owner/name")] = None
    subset: str | None = None
    split: str = "train"
    revision: Annotated[str | None, Field(description="commit or tag of the dataset")] = None
    made: Literal["python-reference", "skills"] | None = None
    rows: Annotated[Positive | None, Field(description="of a dataset: only so many rows, the first")] = None
    seed: Seed = 123
    count: Annotated[int, Field(gt=0, description="rows to make, for made: skills")] = 1000
    sha256: Annotated[str | None, Field(pattern="^[0-9a-f]{64}$")] = None
    size: Annotated[int | None, Field(ge=0, description="bytes")] = None
    unzip: bool = False

    @model_validator(mode="before")
    @classmethod
    def _name_from_origin(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("name"):
            return raw
        urls = raw.get("urls")
        origins = [
            *(urls[:1] if isinstance(urls, list | tuple) else ()),
            raw.get("path"),
            raw.get("dataset"),
            raw.get("made"),
        ]
        origin = next((str(value) for value in origins if value), "")
        suffix = ".jsonl" if raw.get("dataset") or raw.get("made") else ""
        return raw | {"name": PurePosixPath(origin.partition("?")[0].rstrip("/")).name + suffix}

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [field for field in ("urls", "path", "dataset", "made") if getattr(self, field)]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"a source needs exactly one of urls, path, dataset, made; found {found}")
        if self.rows is not None and self.dataset is None:
            raise ValueError(f"rows goes with dataset, not with {given[0]}; leave it out")
        parts = PurePosixPath(self.name).parts
        if not parts or ".." in parts or PurePosixPath(self.name).is_absolute() or "\\" in self.name:
            raise ValueError(f"a source's name must stay inside its folder; found {self.name!r}")
        return self


class DownloadConfig(StageConfig):
    """Files to be had. A single string stands for one source: a path, an address, or hf:owner/name."""

    sources: tuple[Source, ...] = Field(min_length=1)
    mirror: Annotated[
        str | None, Field(description="a folder or base address that is looked in first"), OUTSIDE_KEY
    ] = None
    timeout: Annotated[float, Field(gt=0, description="seconds without a byte"), OUTSIDE_KEY] = 30.0
    attempts: Annotated[Positive, OUTSIDE_KEY] = 4

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"sources": [source_from_text(raw)]}
        return raw

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [source.name for source in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two sources share the name {twice[0]!r}")
        return self


def source_from_text(text: str) -> dict[str, Any]:
    """The source that a single string stands for."""
    if text.startswith(("http://", "https://")):
        return {"urls": [text], "unzip": text.partition("?")[0].endswith(".zip")}
    if text.startswith("hf:"):
        return {"dataset": text.removeprefix("hf:")}
    return {"path": text, "unzip": text.endswith(".zip")}


class RowsConfig(StageConfig):
    """Reading instruction rows, and splitting them."""

    train: Fraction = 0.85
    validation: Fraction = 0.05
    shuffle: bool = True
    seed: Seed = 123

    @model_validator(mode="after")
    def _leaves_a_test_split(self) -> Self:
        if self.train <= 0 or self.train + self.validation >= 1:
            raise ValueError(
                f"train ({self.train}) and validation ({self.validation}) must leave rows for the test split"
            )
        return self


class TokenizeConfig(StageConfig):
    """The tokenizer, and the corpus as tokens."""

    kind: Annotated[
        Literal["bpe", "gpt2", "char", "hf"],
        Field(
            description="bpe: trained on the corpus; gpt2: from encoder.json and vocab.bpe; "
            "char: one token a character; hf: any Hugging Face tokenizer by name or folder"
        ),
    ] = "bpe"
    vocab_size: Annotated[int, Field(ge=258, description="for bpe: 256 bytes, end, pad, and merges")] = 4096
    name: Annotated[str | None, Field(description="for hf: owner/name or a folder")] = None
    revision: str | None = None
    training_bytes: Annotated[
        Positive,
        Field(description="a tokenizer trained here reads at most so much text, spread over the corpus"),
    ] = 50_000_000
    validation: Annotated[Fraction, Field(description="share of the corpus held out, by characters")] = 0.1
    include_rows: Annotated[
        bool, Field(description="a tokenizer trained here also learns from the training rows")
    ] = False
    seed: Seed = 123

    @model_validator(mode="after")
    def _hf_needs_a_name(self) -> Self:
        if (self.kind == "hf") != (self.name is not None):
            raise ValueError("tokenize.name goes with tokenize.kind=hf, and kind=hf needs it")
        return self


# Layers, heads, width: the four of the GPT-2 paper (table 2), nanoGPT's setting for a CPU, and a tiny one.
SIZES: dict[str, tuple[int, int, int]] = {
    "quickstart": (3, 4, 128),
    "cpu": (4, 4, 128),
    "124M": (12, 12, 768),
    "355M": (24, 16, 1024),
    "774M": (36, 20, 1280),
    "1558M": (48, 25, 1600),
}


class PretrainConfig(StageConfig):
    """A causal language model's shape and its training on a stream of tokens."""

    size: Annotated[str, Field(description=f"one of {', '.join(SIZES)}, or LAYERSxHEADSxWIDTH")] = (
        "quickstart"
    )
    model: Annotated[
        str | None,
        Field(description="instead of a GPT of that size: any Hugging Face causal model, by name or folder"),
    ] = None
    revision: Annotated[str | None, Field(description="commit or tag of that model")] = None
    weights: Annotated[
        Literal["random", "pretrained"],
        Field(description="of that model: random, from its config alone; pretrained, training is continued"),
    ] = "random"
    context: Annotated[Positive, Field(description="tokens")] = 256
    documents: Annotated[
        Literal["joined", "apart"],
        Field(
            description="joined: a block is plain text, and attention crosses the ends of documents; apart: "
            "no document sees another, positions restart, and no document is predicted from another"
        ),
    ] = "joined"
    dropout: Fraction = 0.0
    steps: Annotated[Positive, Field(description="optimizer steps")] = 600
    batch_size: Annotated[Positive, Field(description="sequences per micro-batch")] = 16
    accumulation: Annotated[
        Positive, Field(description="micro-batches per optimizer step, shared out among the processes")
    ] = 1
    optimizer: Annotated[
        Literal["adamw", "muon"],
        Field(description="muon: orthogonalised momentum for the matrices of the blocks, AdamW for the rest"),
    ] = "adamw"
    learning_rate: Annotated[float, Field(gt=0, description="of AdamW")] = 1e-3
    muon_learning_rate: Annotated[
        float, Field(gt=0, description="of the matrices that Muon updates; as large as AdamW's would be")
    ] = 5e-3
    min_learning_rate: Annotated[
        float | None,
        Field(
            ge=0,
            description="of AdamW at the last step, a tenth of learning_rate if left out; "
            "Muon's falls by the same share",
        ),
    ] = None
    schedule: Annotated[
        Literal["cosine", "wsd"], Field(description="wsd: warm up, stay, and fall linearly at the end")
    ] = "cosine"
    warmup: Annotated[int, Field(ge=0, description="steps")] = 50
    decay: Annotated[
        float, Field(gt=0, le=1, description="for wsd: the share of the steps in which the rate falls")
    ] = 0.2
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta2: Annotated[float, Field(gt=0, lt=1)] = 0.95
    clip: Annotated[float, Field(gt=0, description="largest norm of the gradient")] = 1.0
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="bfloat16: autocast, weights stay float32; auto: where it is faster"),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "always", "never"],
        Field(description="torch.compile; auto: where the time it takes comes back"),
        OUTSIDE_KEY,
    ] = "auto"
    eval_every: Annotated[Positive, Field(description="steps; a checkpoint and a sample are written too")] = (
        100
    )
    patience: Annotated[
        Positive | None, Field(description="stop after so many evaluations without a new best; null: never")
    ] = None
    sample_prompt: str = ""
    seed: Seed = 123
    preflight: PreflightMode = "refuse"
    device: Device = "auto"
    processes: Annotated[
        Positive, Field(description="on this machine, started by torchrun; one a GPU"), OUTSIDE_KEY
    ] = 1
    sharding: Annotated[
        Literal["none", "fsdp"],
        Field(description="of several processes: none, each holds the model (DDP); fsdp, each holds a part"),
        OUTSIDE_KEY,
    ] = "none"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self.shape()
        if self.model is None and (self.weights == "pretrained" or self.revision):
            raise ValueError("weights: pretrained and revision go with model; set model to a name or folder")
        if self.model is not None and self.dropout:
            raise ValueError("a Hugging Face model has its own dropout, in its configuration; leave it out")
        if self.batch_size * self.accumulation < self.processes:
            raise ValueError(
                f"{self.processes} processes need a sequence each; batch_size x accumulation is "
                f"{self.batch_size * self.accumulation}"
            )
        if self.sharding == "fsdp" and self.optimizer == "muon":
            raise ValueError(
                "muon orthogonalises whole matrices, which sharding: fsdp cuts; choose adamw or none"
            )
        if (self.min_learning_rate or 0) > self.learning_rate:
            raise ValueError(
                f"min_learning_rate {self.min_learning_rate} is above learning_rate {self.learning_rate}"
            )
        return self

    def shape(self) -> tuple[int, int, int]:
        """Layers, heads and width; raises ValueError for a size that is neither named nor well formed."""
        if self.size in SIZES:
            return SIZES[self.size]
        numbers = self.size.split("x")
        if len(numbers) != 3 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
            raise ValueError(
                f"size {self.size!r} is neither one of {', '.join(SIZES)} nor LAYERSxHEADSxWIDTH"
            )
        layers, heads, width = map(int, numbers)
        if width % heads:
            raise ValueError(f"size {self.size!r}: the width must be a multiple of the heads")
        return layers, heads, width


class FinetuneConfig(StageConfig):
    """Supervised fine-tuning on the completions of instruction rows."""

    template: TemplateName = "alpaca"
    epochs: Annotated[float, Field(gt=0)] = 2.0
    batch_size: Positive = 8
    accumulation: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    warmup: Annotated[Fraction, Field(description="share of the steps")] = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    max_length: Annotated[Positive, Field(description="tokens of prompt and completion together")] = 256
    precision: Literal["float32", "bfloat16"] = "float32"
    evaluations: Annotated[Positive, Field(description="evaluations and checkpoints over the training")] = 4
    seed: Seed = 123
    preflight: PreflightMode = "refuse"
    device: Device = "auto"


class PreflightConfig(StageConfig):
    """The proofs before training, without the training: what is to be trained how."""

    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig | None = None


class GenerateConfig(StageConfig):
    """Responses to the prompts of the test split, by greedy decoding."""

    template: TemplateName = "alpaca"
    max_new_tokens: Positive = 256
    batch_size: Positive = 32
    device: Device = "auto"


class JudgeConfig(StageConfig):
    """Who scores the responses. The reference metric is always computed beside a judge."""

    scorer: Annotated[
        str, Field(pattern=r"^(metric:chrf|ollama:\S+)$", description="metric:chrf, or ollama:MODEL")
    ] = "metric:chrf"
    host: Annotated[
        str | None, Field(description="default: OLLAMA_HOST, then 127.0.0.1:11434"), OUTSIDE_KEY
    ] = None
    context: Annotated[Positive, Field(description="num_ctx sent with every call, tokens")] = 4096
    max_tokens: Annotated[Positive, Field(description="tokens of the judge's answer")] = 256
    seed: Seed = 123
    concurrency: Annotated[Positive, Field(description="requests in flight"), OUTSIDE_KEY] = 2
    timeout: Annotated[
        float, Field(gt=0, description="seconds for one answer, queueing included"), OUTSIDE_KEY
    ] = 300.0
    attempts: Annotated[
        Positive, Field(description="tries of a call that the server did not answer"), OUTSIDE_KEY
    ] = 5
    max_missing: Annotated[
        Fraction, Field(description="above this share of missing rows there is no mean")
    ] = 0.05
    resamples: Annotated[Positive, Field(description="bootstrap resamples of the interval")] = 10_000


class PromoteConfig(StageConfig):
    """When the registered model becomes the champion."""

    name: Annotated[
        str, Field(pattern=r"^[^/:]+$", description="registered model; {profile} is filled in")
    ] = "touchstone-{profile}"
    min_score: Annotated[float, Field(ge=0, le=100, description="mean that the first champion needs")] = 10.0
    min_rows: Annotated[Positive, Field(description="rows scored for both that a comparison needs")] = 5
    margin: Annotated[float, Field(ge=0, description="points that the paired interval must lie above")] = 0.0
    resamples: Positive = 10_000
    seed: Seed = 123


class ReportConfig(StageConfig):
    """The report card."""

    samples: Annotated[Positive, Field(description="responses shown side by side")] = 12
    seed: Seed = 123
