"""Configuration of fine-tuning: supervised, by preference, for classification."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tasks.config.base import (
    KEYED_IF_SET,
    OUTSIDE_KEY,
    AdamWRate,
    CheckpointEvery,
    Device,
    Epochs,
    Fraction,
    MuonRate,
    Optimizer,
    Positive,
    PreflightMode,
    Seed,
    StageConfig,
    WeightDecay,
)

TemplateName = Annotated[
    Literal["alpaca", "phi3", "chatml", "plain", "tokenizer"],
    Field(description="how a row becomes a prompt; tokenizer: by its own chat template"),
]


class LoraConfig(StageConfig):
    """Low-rank adapters (Hu et al. 2021), with the base in 4 bits if asked for (Dettmers et al. 2023)."""

    rank: Annotated[Positive, Field(description="of the two factors of each update")] = 16
    alpha: Annotated[float, Field(gt=0, description="the update is multiplied by alpha / rank")] = 32.0
    dropout: Annotated[Fraction, Field(description="of what enters the adapters, in training")] = 0.0
    targets: Annotated[
        tuple[str, ...],
        Field(description="names of the layers adapted; none: every linear one of the blocks"),
    ] = ()
    quantize: Annotated[
        Literal["none", "4bit"], Field(description="4bit: QLoRA, on a GPU with the extra qlora installed")
    ] = "none"
    adapters: Annotated[
        Literal["merged", "kept"],
        Field(description="merged: a whole model is written; kept: the adapters alone, merged when loaded"),
    ] = "merged"


class TuningConfig(StageConfig):
    """What every kind of fine-tuning is configured by."""

    tune: Annotated[Literal["full", "lora"], Field(description="which weights are trained")] = "full"
    lora: LoraConfig = LoraConfig()
    epochs: Epochs = 2.0
    batch_size: Annotated[Positive, Field(description="rows per micro-batch")] = 8
    accumulation: Annotated[
        Positive, Field(description="micro-batches per optimizer step, shared out among the processes")
    ] = 1
    optimizer: Optimizer = "adamw"
    learning_rate: AdamWRate = 5e-5
    muon_learning_rate: MuonRate = 5e-4
    beta2: Annotated[Fraction, Field(description="of AdamW")] = 0.999
    warmup: Annotated[Fraction, Field(description="share of the steps in which the learning rate rises")] = (
        0.05
    )
    weight_decay: WeightDecay = 0.1
    max_length: Annotated[Positive, Field(description="tokens of prompt and completion together")] = 256
    precision: Annotated[
        Literal["float32", "bfloat16"], Field(description="bfloat16: autocast, weights stay float32")
    ] = "float32"
    gradient_checkpointing: Annotated[
        bool, Field(description="a third more compute for less memory"), OUTSIDE_KEY
    ] = False
    evaluations: Annotated[
        Positive, Field(description="how many there are during training; each writes a checkpoint")
    ] = 4
    checkpoint_every: CheckpointEvery = 60.0
    seed: Seed = 123
    preflight: PreflightMode = "refuse"
    device: Device = "auto"
    processes: Annotated[
        Positive,
        Field(description="that train together on this machine, one for each GPU"),
        OUTSIDE_KEY,
    ] = 1

    @model_validator(mode="after")
    def _each_process_has_a_row(self) -> Self:
        if self.batch_size * self.accumulation < self.processes:
            raise ValueError(
                f"{self.processes} processes need a row each; batch_size x accumulation is "
                f"{self.batch_size * self.accumulation}"
            )
        return self

    @model_validator(mode="after")
    def _lora_goes_with_tune(self) -> Self:
        if self.tune != "lora" and self.lora != LoraConfig():
            raise ValueError(f"lora is set, but tune is {self.tune}; set tune: lora, or leave lora out")
        if self.tune == "lora" and self.optimizer == "muon":
            raise ValueError(
                "muon orthogonalises whole matrices, and tune: lora trains factors; choose adamw"
            )
        return self

    @property
    def keeps_adapters(self) -> bool:
        return self.tune == "lora" and self.lora.adapters == "kept"


KeepBy = Literal["loss", "exact", "chrf", "bleu", "rouge-1", "rouge-2", "rouge-l"]


class ScoredTuningConfig(TuningConfig):
    """A training whose weights may be kept by what they respond."""

    keep_by: Annotated[
        KeepBy,
        Field(
            description="the weights that are kept: those with the lowest validation loss, or those "
            "whose greedy responses to validation rows score highest by a metric"
        ),
        KEYED_IF_SET,
    ] = "loss"
    keep_rows: Annotated[
        Positive,
        Field(description="with keep_by: how many validation rows are responded to at each evaluation"),
        KEYED_IF_SET,
    ] = 100

    @model_validator(mode="after")
    def _responds_in_one_process(self) -> Self:
        if self.keep_by != "loss" and self.processes > 1:
            raise ValueError(
                f"keep_by is {self.keep_by}, and responses are written by one process; set processes=1, or "
                "keep_by=loss"
            )
        return self


class FinetuneConfig(ScoredTuningConfig):
    """Supervised fine-tuning (SFT) on rows with a completion."""

    template: TemplateName = "alpaca"
    loss: Annotated[
        Literal["completion", "all"],
        Field(description="completion: the prompt is only read; all: it is learned too"),
    ] = "completion"
    turns: Annotated[
        Literal["all", "last"],
        Field(
            description="of conversations, with loss: completion; all: whatever the assistant says is "
            "learned; last: only what it says last, as the test rows ask for"
        ),
    ] = "all"
    packing: Annotated[
        bool, Field(description="fill sequences of max_length with whole rows that do not see each other")
    ] = False


class DpoConfig(ScoredTuningConfig):
    """Direct preference optimization (Rafailov et al. 2023) of the fine-tuned model."""

    template: TemplateName = "alpaca"
    beta: Annotated[
        float,
        Field(gt=0, description="weight of the KL penalty that keeps the model close to the fine-tuned one"),
    ] = 0.1
    epochs: Epochs = 1.0
    learning_rate: AdamWRate = 5e-6


class ClassifyConfig(TuningConfig):
    """A label for a text: the base model with a head of as many outputs as there are labels."""

    tune: Annotated[
        Literal["last-block", "full", "lora"],
        Field(description="last-block: the last block, the final norm and the head; the rest is frozen"),
    ] = "last-block"
    epochs: Epochs = 5.0
    max_length: Annotated[Positive, Field(description="tokens of a text; longer ones are cut")] = 256
    measure_test: Annotated[
        bool,
        Field(
            description="whether the model is measured on the test rows once it is trained; a sweep leaves "
            "these out in its trials, and no profile can"
        ),
        KEYED_IF_SET,
    ] = True

    @model_validator(mode="after")
    def _is_written_whole(self) -> Self:
        if self.lora.quantize != "none" or self.lora.adapters != "merged":
            raise ValueError(
                "a classifier is trained in float32 or bfloat16 and written whole: lora.quantize is none and "
                "lora.adapters merged; leave them out"
            )
        return self
