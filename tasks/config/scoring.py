"""Configuration of what comes after training, but for judging: responses, promotion, report."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config.base import OUTSIDE_KEY, Device, Positive, Seed, StageConfig
from tasks.config.servers import ServerConfig
from tasks.config.tuning import TemplateName

OF_SAMPLING = ("temperature", "top_k", "top_p", "seed")
OF_SERVERS = ("model", "base_url", "key_variable", "concurrency", "timeout", "attempts")
OF_THIS_PROCESS = ("repetition_penalty", "precision")  # where and in what memory stand for another backend


class GenerateConfig(ServerConfig):
    """Responses to the prompts of the test split."""

    template: TemplateName = "alpaca"
    decoding: Annotated[
        Literal["greedy", "sample", "beam"],
        Field(description="sample: drawn from temperature, top_k and top_p; beam: the likeliest of several"),
    ] = "greedy"
    temperature: Annotated[float, Field(gt=0, description="logits are divided by it")] = 1.0
    top_k: Annotated[
        Positive | None, Field(description="draw from that many likeliest tokens only; null: from all")
    ] = None
    top_p: Annotated[
        float, Field(gt=0, le=1, description="only the likeliest tokens that together have this probability")
    ] = 1.0
    beams: Annotated[int, Field(ge=2, description="for decoding: beam")] = 4
    repetition_penalty: Annotated[
        float, Field(ge=1, description="logits of tokens that occurred are made so many times less likely")
    ] = 1.0
    seed: Annotated[
        Seed, Field(description="for decoding: sample; each row draws from a seed of its own")
    ] = 123
    max_new_tokens: Annotated[Positive, Field(description="after which a response is cut")] = 256
    precision: Annotated[
        Literal["float32", "bfloat16"], Field(description="of the weights and of all that is computed")
    ] = "float32"
    batch_tokens: Annotated[
        Positive,
        Field(description="bounds the memory: rows of a batch times the tokens each may come to"),
        OUTSIDE_KEY,
    ] = 32_768
    device: Device = "auto"
    backend: Annotated[
        Literal["process", "openai"],
        Field(description="process: the model is loaded here; openai: a server of OpenAI's protocol has it"),
    ] = "process"
    model: Annotated[
        str | None,
        Field(
            min_length=1,
            description="of backend: openai: the server's name of the model; default: the first 12 digits of "
            "its digest, which say that it is this one",
        ),
    ] = None
    concurrency: Annotated[
        Positive, Field(description="of backend: openai: requests in flight"), OUTSIDE_KEY
    ] = 16

    @property
    def in_process(self) -> bool:
        return self.backend == "process"

    @model_validator(mode="after")
    def _goes_with_backend(self) -> Self:
        fields = type(self).model_fields
        idle = OF_SERVERS if self.in_process else OF_THIS_PROCESS
        if wrong := [name for name in idle if getattr(self, name) != fields[name].default]:
            raise ValueError(f"{', '.join(wrong)}: set, but not used by backend: {self.backend}")
        if not self.in_process and self.decoding == "beam":
            raise ValueError("decoding: beam is not in OpenAI's protocol; choose greedy or sample")
        return self

    @model_validator(mode="after")
    def _goes_with_decoding(self) -> Self:
        idle = {
            "sample": ("beams",),
            "beam": (*OF_SAMPLING, "repetition_penalty"),
            "greedy": (*OF_SAMPLING, "beams"),
        }[self.decoding]
        fields = type(self).model_fields
        if wrong := [name for name in idle if getattr(self, name) != fields[name].default]:
            raise ValueError(f"{', '.join(wrong)}: set, but not used by decoding: {self.decoding}")
        return self


class PredictConfig(StageConfig):
    """Labels that a trained classifier gives to the texts of a test split."""

    batch_size: Annotated[Positive, Field(description="texts at once")] = 32
    device: Device = "auto"


class PromoteConfig(StageConfig):
    """When the registered model becomes the champion."""

    name: Annotated[
        str, Field(pattern=r"^[^/:]+$", description="registered model; {profile} is filled in")
    ] = "touchstone-{profile}"
    min_score: Annotated[float, Field(ge=0, le=100, description="mean that the first champion needs")] = 10.0
    min_rows: Annotated[
        Positive,
        Field(description="rows scored for both that a comparison needs; fewer than 6 can show nothing"),
    ] = 6
    margin: Annotated[float, Field(ge=0, description="points that the paired interval must lie above")] = 0.0
    eligible: Annotated[
        bool,
        Field(
            description="whether it may become the champion; of several seeds the first alone may, which is "
            "fixed before any is scored: the best of several would be chosen by its luck"
        ),
    ] = True
    require_labels: Annotated[
        int,
        Field(
            ge=0,
            description="rows that people must have labelled (touchstone label), of the champion's responses "
            "too; the mean and the difference corrected by them must then pass as well. 0: none",
        ),
    ] = 0
    criterion: Annotated[
        str | None, Field(description="of judge.criteria, the one that decides; null: the overall score")
    ] = None
    accept_warned_judge: Annotated[
        bool, Field(description="let scores make a champion whose judge passed its audit with warnings")
    ] = False


class ReportConfig(StageConfig):
    """The report card."""

    samples: Annotated[Positive, Field(description="responses shown side by side")] = 12
    seed: Annotated[Seed, Field(description="draws the responses that are shown")] = 123
