"""What every stage's configuration is made of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

OUTSIDE_KEY = "outside the key"
KEYED_IF_SET = "in the key where it is not the default"
"""Of a setting that came later: a stage that does without it keeps the key that it had."""

Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    Field(description="auto: the first CUDA device when there is one, else the CPU"),
    OUTSIDE_KEY,
]
PreflightMode = Annotated[
    Literal["refuse", "warn"],
    Field(description="what a check that fails before training does: refuse to train, or only warn"),
]
Reuse = Literal["auto", "same-environment", "any"]
CheckpointEvery = Annotated[
    float,
    Field(
        ge=0,
        description="seconds from one checkpoint to the next, or a twentieth of the steps where those take "
        "longer: what a crash costs at most",
    ),
    OUTSIDE_KEY,
]
Optimizer = Annotated[
    Literal["adamw", "muon"],
    Field(description="muon: orthogonalised momentum for the matrices of the blocks, AdamW for the rest"),
]
AdamWRate = Annotated[float, Field(gt=0, description="the highest learning rate of AdamW")]
MuonRate = Annotated[
    float,
    Field(
        gt=0,
        description="the highest learning rate of the matrices that Muon updates; of the size that AdamW's "
        "would have",
    ),
]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0, lt=2**53)]
Seed = Annotated[
    int, Field(ge=0, lt=2**32, description="what is drawn at random: the same seed draws the same")
]
WeightDecay = Annotated[
    float, Field(ge=0, description="of matrices and embeddings; biases and norms are not decayed")
]
Epochs = Annotated[float, Field(gt=0, description="times that every training row is read")]


def one_of(names: Sequence[str]) -> str:
    """What may be written, in words: `a, b or c`."""
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def without_login(address: str | None) -> str | None:
    """The address. Raises ValueError for one that holds a login: configurations are kept in the clear."""
    if address and "@" in address:
        raise ValueError(
            "an address with a login would be kept in the clear; give the key in the environment"
        )
    return address


class StageConfig(BaseModel):
    """Base of every stage's configuration: frozen, and a wrong key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    RENAMED: ClassVar[Mapping[str, str]] = {}
    """Settings that had another name: what each is called now, and how it is written."""

    @model_validator(mode="before")
    @classmethod
    def _by_its_name(cls, raw: Any) -> Any:
        for name in cls.RENAMED.keys() & (raw.keys() if isinstance(raw, dict) else set()):
            raise ValueError(f"{name} is now {cls.RENAMED[name]}")
        return raw

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads yes, no, on, off as booleans, and pydantic takes those for 1 and 0."""
        if isinstance(value, bool) and cls.model_fields[info.field_name].annotation is not bool:
            raise ValueError(f"Input should not be a boolean, found {value}")
        return value

    @property
    def in_process(self) -> bool:
        """Whether a model of this process does the work, where the settings leave that open."""
        return False

    def key_fields(self) -> dict[str, Any]:
        """The fields that decide the result, as JSON values, nested configurations included."""
        fields = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            is_left_out = KEYED_IF_SET in info.metadata and value == info.default
            if OUTSIDE_KEY not in info.metadata and not is_left_out:
                fields[name] = _json_value(value)
        return fields


def _json_value(value: Any) -> Any:
    if isinstance(value, StageConfig):
        return value.key_fields()
    if isinstance(value, tuple):
        return [_json_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value
