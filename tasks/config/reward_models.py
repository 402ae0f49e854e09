"""Configuration of reward models: what learns from pairs how much a response is worth."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.config.base import AdamWRate, Epochs, Positive, StageConfig, WeightDecay
from tasks.config.tuning import TemplateName, TuningConfig


class RewardModelConfig(TuningConfig):
    """A reward model (Bradley and Terry 1952) from the fine-tuned model and pairs of responses."""

    template: TemplateName = "alpaca"
    center: Annotated[
        float,
        Field(
            ge=0,
            description="weight of the squared sum of a pair's two rewards in the loss, so that rewards are "
            "about 0 on average (Eisenstein et al. 2023); 0: only their difference is learned",
        ),
    ] = 0.01
    epochs: Epochs = 1.0
    batch_size: Annotated[Positive, Field(description="pairs per micro-batch")] = 8
    learning_rate: AdamWRate = 1e-5
    weight_decay: WeightDecay = 0.0
    max_length: Annotated[Positive, Field(description="tokens of prompt and response together")] = 256

    @model_validator(mode="after")
    def _is_written_whole(self) -> Self:
        if self.lora.quantize != "none" or self.lora.adapters != "merged":
            raise ValueError(
                "a reward model is trained in float32 or bfloat16 and written whole: lora.quantize is none "
                "and lora.adapters merged; leave them out"
            )
        if self.processes > 1:
            raise ValueError(f"processes is {self.processes}, and a reward model trains in one; leave it out")
        return self


class RegisterConfig(StageConfig):
    """A reward model in the registry."""

    name: Annotated[str, Field(description="of the registered model")]
