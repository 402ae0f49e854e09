"""Configuration of pretraining."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tasks.config.base import (
    KEYED_IF_SET,
    OUTSIDE_KEY,
    AdamWRate,
    CheckpointEvery,
    Device,
    Fraction,
    MuonRate,
    Optimizer,
    Positive,
    PreflightMode,
    Seed,
    StageConfig,
    WeightDecay,
)
from tasks.config.importing import is_registered
from tasks.config.mixtures import Mixture, MixturePhase, shares_of

# Layers, heads, width: the four of the GPT-2 paper (table 2), nanoGPT's setting for a CPU, and a tiny one.
SIZES: dict[str, tuple[int, int, int]] = {
    "quickstart": (3, 4, 128),
    "cpu": (4, 4, 128),
    "124M": (12, 12, 768),
    "355M": (24, 16, 1024),
    "774M": (36, 20, 1280),
    "1558M": (48, 25, 1600),
}

Architecture = Literal["gpt2", "llama", "bert"]

# Layers, heads, width, and heads of keys and values: about as many weights as the GPT-2 of that name, then
# the two smallest of SmolLM2.
LLAMA_SIZES: dict[str, tuple[int, int, int, int]] = {
    "quickstart": (3, 4, 128, 2),
    "cpu": (4, 4, 128, 2),
    "124M": (12, 12, 768, 4),
    "135M": (30, 9, 576, 3),
    "360M": (32, 15, 960, 5),
}

# Layers, heads, width: those of the BERTs of these names (Turc et al. 2019), then the two for a CPU.
BERT_SIZES: dict[str, tuple[int, int, int]] = {
    "quickstart": (3, 4, 128),
    "cpu": (4, 4, 128),
    "tiny": (2, 2, 128),
    "mini": (4, 4, 256),
    "small": (4, 8, 512),
    "medium": (8, 8, 512),
    "base": (12, 12, 768),
    "large": (24, 16, 1024),
}

SIZES_OF: dict[Architecture, Mapping[str, tuple[int, ...]]] = {
    "gpt2": SIZES,
    "llama": LLAMA_SIZES,
    "bert": BERT_SIZES,
}


class PretrainConfig(StageConfig):
    """A language model's shape and its training on a stream of tokens."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "documents": "document_mask: false where it was joined, true where it was apart"
    }

    objective: Annotated[
        Literal["causal", "masked"],
        Field(
            description="causal: predict the next token; masked: predict tokens that are masked, from both "
            "sides, which makes an encoder, a base for classify"
        ),
    ] = "causal"
    mask_rate: Annotated[
        float, Field(gt=0, lt=1, description="of masked: the share of tokens, or words, to predict")
    ] = 0.15
    masking: Annotated[
        Literal["tokens", "words"], Field(description="of masked: what is drawn to be masked as a whole")
    ] = "tokens"
    architecture: Annotated[
        Architecture,
        Field(
            description="gpt2: as of 2019; llama: RMSNorm, rotary positions, gated MLP; bert: of objective "
            "masked, from Transformers"
        ),
    ] = "gpt2"
    size: Annotated[
        str,
        Field(
            description=f"one of {', '.join(SIZES)} for gpt2, of {', '.join(LLAMA_SIZES)} for llama, of "
            f"{', '.join(BERT_SIZES)} for bert, or LAYERSxHEADSxWIDTH"
        ),
    ] = "quickstart"
    key_heads: Annotated[
        Positive | None,
        Field(description="of llama: heads of keys and values, each shared by heads / key_heads queries"),
    ] = None
    qk_norm: Annotated[
        bool, Field(description="of llama: normalise queries and keys, which makes it a Qwen3")
    ] = False
    model: Annotated[
        str | None,
        Field(
            description="instead of a GPT of that size: any Hugging Face causal model, by name or folder; of "
            "objective masked, any masked model"
        ),
    ] = None
    revision: Annotated[str | None, Field(description="commit or tag of that model")] = None
    weights: Annotated[
        Literal["random", "pretrained"],
        Field(description="of that model: random, from its config alone; pretrained, training is continued"),
    ] = "random"
    context: Annotated[Positive, Field(description="tokens that the model sees at once")] = 256
    document_mask: Annotated[
        bool,
        Field(
            description="true: no document sees another, positions restart, and no document is predicted "
            "from another; false: a block is plain text, and attention crosses the ends of documents. Of "
            "masked, true: a sequence is of one document, padded"
        ),
    ] = False
    dropout: Annotated[Fraction, Field(description="share of activations set to zero in training")] = 0.0
    steps: Annotated[Positive, Field(description="optimizer steps")] = 600
    batch_size: Annotated[Positive, Field(description="sequences per micro-batch")] = 16
    accumulation: Annotated[
        Positive, Field(description="micro-batches per optimizer step, shared out among the processes")
    ] = 1
    optimizer: Optimizer = "adamw"
    learning_rate: AdamWRate = 1e-3
    muon_learning_rate: MuonRate = 5e-3
    min_learning_rate: Annotated[
        float | None,
        Field(
            ge=0,
            description="of AdamW at the last step, a tenth of learning_rate if left out; "
            "Muon's falls by the same share",
        ),
    ] = None
    schedule: Annotated[
        Literal["cosine", "wsd"],
        Field(description="of the learning rate. wsd: warm up, stay, and fall linearly at the end"),
    ] = "cosine"
    warmup: Annotated[int, Field(ge=0, description="steps in which the learning rate rises")] = 50
    decay: Annotated[
        float, Field(gt=0, le=1, description="for wsd: the share of the steps in which the rate falls")
    ] = 0.2
    mixture: Annotated[
        Mixture | None,
        Field(
            description="weights of the corpus' sources: shares of the tokens that are drawn from each; in a "
            "profile they stand at the sources (corpus.sources), and this follows; left out: all text "
            "once an epoch"
        ),
        KEYED_IF_SET,
    ] = None
    decay_mixture: Annotated[
        Mixture | None,
        Field(
            description="for wsd, beside weights of the sources: those of the steps in which the rate falls; "
            "a source that is left out is not read there"
        ),
        KEYED_IF_SET,
    ] = None
    weight_decay: WeightDecay = 0.1
    beta2: Annotated[float, Field(gt=0, lt=1, description="of AdamW")] = 0.95
    clip: Annotated[float, Field(gt=0, description="largest norm of the gradient")] = 1.0
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="bfloat16: autocast, weights stay float32; auto: where the hardware gains"),
    ] = "auto"
    compile: Annotated[
        Literal["auto", "always", "never"],
        Field(description="torch.compile; auto: where the time it takes comes back"),
        OUTSIDE_KEY,
    ] = "auto"
    kernels: Annotated[
        Literal["auto", "plain"],
        Field(
            description="auto: on a GPU the loss in chunks, the vocabulary padded while it multiplies, and "
            "attention by the documents' offsets, where that helps a model from scratch; plain: none of these"
        ),
        OUTSIDE_KEY,
    ] = "auto"
    eval_every: Annotated[
        Positive, Field(description="steps between evaluations; each writes a checkpoint and a sample")
    ] = 100
    patience: Annotated[
        Positive | None, Field(description="stop after so many evaluations without a new best; null: never")
    ] = None
    checkpoint_every: CheckpointEvery = 60.0
    sample_prompt: Annotated[
        str,
        Field(
            description="text that the sample at each evaluation continues, or fills where it is masked; "
            "empty: from nothing, of masked a text of the validation split"
        ),
    ] = ""
    seed: Seed = 123
    preflight: PreflightMode = "refuse"
    device: Device = "auto"
    processes: Annotated[
        Positive, Field(description="that train together on this machine, one for each GPU"), OUTSIDE_KEY
    ] = 1
    sharding: Annotated[
        Literal["none", "fsdp"],
        Field(description="of several processes: none, each holds the model (DDP); fsdp, each holds a part"),
        OUTSIDE_KEY,
    ] = "none"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        self.shape()
        if is_registered(self.model):
            raise ValueError(
                f"model {self.model!r} is of the registry, which pretraining cannot go on from; fine-tune it "
                "as base.model, or export it: mlflow artifacts download -u URI -d FOLDER"
            )
        if self.model is None and (self.weights == "pretrained" or self.revision):
            raise ValueError("weights: pretrained and revision go with model; set model to a name or folder")
        if self.model is not None and self.dropout:
            raise ValueError("a Hugging Face model has its own dropout, in its configuration; leave it out")
        self._require_objective()
        self._require_architecture()
        if self.decay_mixture is not None and self.schedule != "wsd":
            raise ValueError(
                f"decay_mixture is of the steps in which schedule: wsd lets the rate fall, and schedule is "
                f"{self.schedule}; set schedule: wsd, or leave decay_mixture out"
            )
        if self.sequences < self.processes:
            raise ValueError(
                f"{self.processes} processes need a sequence each; batch_size x accumulation is "
                f"{self.sequences}"
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

    def _require_objective(self) -> None:
        """Raise ValueError for settings that another objective has."""
        if self.objective == "causal":
            if self.architecture == "bert":
                raise ValueError(
                    "architecture: bert reads a text from both sides and cannot predict the next token; set "
                    "objective: masked"
                )
            defaults = type(self).model_fields
            if any(getattr(self, name) != defaults[name].default for name in ("mask_rate", "masking")):
                raise ValueError("mask_rate and masking go with objective: masked")
            return
        if self.model is None and self.architecture != "bert":
            raise ValueError(
                f"objective: masked needs a model that reads from both sides, and {self.architecture} does "
                "not; set architecture: bert, or name a masked model as model"
            )
        if self.context < 8:
            raise ValueError(
                f"context {self.context} is too short for objective: masked, which puts a token before and "
                "behind each sequence; set at least 8"
            )

    def _require_architecture(self) -> None:
        """Raise ValueError for settings that another architecture has."""
        if self.architecture != "llama" and (self.key_heads or self.qk_norm):
            raise ValueError("key_heads and qk_norm go with architecture: llama")
        if self.architecture == "gpt2":
            return
        if self.model is not None:
            raise ValueError("model brings its own architecture; leave out architecture, or model")
        if self.architecture == "bert":
            return
        if self.dropout:
            raise ValueError("a Llama has no dropout; leave it out")
        _, heads, width = self.shape()
        if heads % self.heads_of_keys():
            raise ValueError(
                f"key_heads {self.key_heads}: the {heads} heads must be a multiple of it, so that each is "
                "shared by as many queries"
            )
        if width // heads % 2:
            raise ValueError(
                f"size {self.size!r}: a head of {width // heads} has no pairs to turn; the width of a head "
                "must be even"
            )

    def shape(self) -> tuple[int, int, int]:
        """Layers, heads and width; raises ValueError for a size that is neither named nor well formed."""
        sizes = SIZES_OF[self.architecture]
        if self.size in sizes:
            return sizes[self.size][:3]
        numbers = self.size.split("x")
        if len(numbers) != 3 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
            raise ValueError(
                f"size {self.size!r} is neither one of {', '.join(sizes)} nor LAYERSxHEADSxWIDTH"
            )
        layers, heads, width = map(int, numbers)
        if width % heads:
            raise ValueError(f"size {self.size!r}: the width must be a multiple of the heads")
        return layers, heads, width

    @property
    def sequences(self) -> int:
        """Of one optimizer step, over all processes."""
        return self.batch_size * self.accumulation

    @property
    def decay_steps(self) -> int:
        """Of schedule wsd: in how many of the last steps the rate falls."""
        return max(1, round(self.steps * self.decay))

    @property
    def mixture_phases(self) -> tuple[MixturePhase, ...]:
        """How sources are mixed, from the first sequence on; none: all text is one stream."""
        if self.mixture is None:
            return ()
        phases = [MixturePhase(begins=0, shares=shares_of(self.mixture))]
        if self.decay_mixture is not None:
            begins = (self.steps - self.decay_steps) * self.sequences
            phases.append(MixturePhase(begins=begins, shares=shares_of(self.decay_mixture)))
        return tuple(phases)

    def heads_of_keys(self) -> int:
        """Heads of keys and values of a Llama: as set, as of the named size, or one for each query."""
        if self.key_heads:
            return self.key_heads
        return LLAMA_SIZES[self.size][3] if self.size in LLAMA_SIZES else self.shape()[1]
