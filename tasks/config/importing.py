"""Configuration of a base model that is imported."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config.base import OUTSIDE_KEY, Seed, StageConfig, one_of

REGISTERED = re.compile(r"models:/(?P<name>[^/:]+?)(?:@(?P<alias>[\w-]+)|/(?P<version>[1-9]\d*))")


def is_registered(model: str | None) -> bool:
    """Whether a model is named as MLflow's registry names it."""
    return model is not None and model.startswith("models:/")


RANDOM_MODELS = ("t5", "bart")


class BaseConfig(StageConfig):
    """A model with its tokenizer, to fine-tune as it is: safetensors, no code of its own.

    With `weights: random` nothing is imported: a small encoder-decoder is drawn, with a tokenizer trained on
    the training rows.
    """

    model: Annotated[
        str,
        Field(
            min_length=1,
            description="of Hugging Face: owner/name or a folder; of the registry: models:/NAME@champion or "
            "models:/NAME/VERSION; with weights: random t5 or bart",
        ),
    ]
    weights: Annotated[
        Literal["pretrained", "random"],
        Field(
            description="random: an encoder-decoder of its size, which has read nothing yet; pretrained: "
            "those of the model"
        ),
    ] = "pretrained"
    size: Annotated[
        Literal["tiny", "small", "base"],
        Field(description="of weights: random; tiny has 2 layers in each stack and a width of 128"),
    ] = "tiny"
    vocab_size: Annotated[
        int,
        Field(ge=258, description="of weights: random: 256 bytes, end, pad, and merges of the rows' words"),
    ] = 1024
    seed: Annotated[Seed, Field(description="of weights: random: draws them")] = 123
    revision: Annotated[str | None, Field(description="commit or tag")] = None
    mirror: Annotated[
        str | None, Field(description="a folder that is looked in first, for owner/name or name"), OUTSIDE_KEY
    ] = None

    @property
    def is_random(self) -> bool:
        """Whether it is made here, of the training rows' words."""
        return self.weights == "random"

    @property
    def is_registered(self) -> bool:
        """Whether the model is one of the registry."""
        return is_registered(self.model)

    @property
    def folder(self) -> Path | None:
        """The model's files on this machine, in a folder of its own or in the mirror; None: on the hub."""
        if self.is_registered or self.is_random:
            return None
        if Path(self.model).is_dir():
            return Path(self.model)
        names = (self.model, self.model.rpartition("/")[2]) if self.mirror else ()
        places = [Path(self.mirror, name) for name in names]
        return next((place for place in places if (place / "config.json").is_file()), None)

    @model_validator(mode="after")
    def _goes_with_weights(self) -> Self:
        fields = type(self).model_fields
        if self.is_random:
            if self.model not in RANDOM_MODELS:
                raise ValueError(
                    f"weights: random makes {one_of(RANDOM_MODELS)}; found model {self.model!r}. Pretrain a "
                    "causal model with pretrain instead"
                )
            if self.revision:
                raise ValueError("revision goes with weights: pretrained; leave it out")
        elif idle := [
            name for name in ("size", "vocab_size", "seed") if getattr(self, name) != fields[name].default
        ]:
            raise ValueError(f"{', '.join(idle)}: set, but not used by weights: pretrained")
        return self

    @model_validator(mode="after")
    def _names_a_version(self) -> Self:
        if self.is_registered and not REGISTERED.fullmatch(self.model):
            raise ValueError(
                f"{self.model!r} names no registered model; expected models:/NAME@champion or models:/NAME/3"
            )
        if self.is_registered and self.revision:
            raise ValueError("revision goes with a model of Hugging Face; name a version: models:/NAME/3")
        return self
