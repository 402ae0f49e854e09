"""The model that is pretrained: ours, or any causal model of Hugging Face behind the same signature."""

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.auto_factory import _BaseAutoModelClass

from tasks.config import PretrainConfig
from tasks.data.token_files import TokenFiles
from tasks.errors import StageError
from tasks.machine.proxies import require_way_to_hub
from tasks.models.causal import CausalModel, mask_between, positions_within
from tasks.models.encoders import is_encoder, longest_read
from tasks.models.gpt import GPT
from tasks.models.kernels import summed_loss
from tasks.models.kinds import kind_of, not_causal
from tasks.models.llama import Llama
from tasks.models.masked import MaskedModel, masked_shape, new_bert, require_encoder
from tasks.record.manifest import require_unaltered

ARCHITECTURES: Mapping[str, type[GPT | Llama]] = {"gpt2": GPT, "llama": Llama}
"""Those that are written here, by what `pretrain.architecture` calls them."""


def build_model(
    config: PretrainConfig, tokens: TokenFiles, fingerprints: Mapping[str, str] | None = None
) -> "CausalModel | HuggingFaceCausal | MaskedModel":
    """A model on the CPU in float32, its random weights drawn by `config.seed`, for the objective.

    `fingerprints` has the digest of its folder, if it is one, as `model`. Raises StageError when the model
    cannot be loaded, does not know all tokens, has a shorter context, or was altered meanwhile.
    """
    torch.manual_seed(config.seed)
    masks = config.objective == "masked"
    if config.model is None and masks:
        return MaskedModel(new_bert(config, tokens), config.mask_rate)
    if config.model is None:
        return ARCHITECTURES[config.architecture].from_settings(config, tokens.vocab_size, tokens.end_token)
    if not Path(config.model).is_dir():
        require_way_to_hub()
    try:
        auto = AutoModelForMaskedLM if masks else AutoModelForCausalLM
        shape = AutoConfig.from_pretrained(config.model, revision=config.revision, trust_remote_code=False)
        _require_one_stack(config.model, shape)
        if masks:
            require_encoder(config.model, shape)
        if config.weights == "random":
            model = _random(auto, masked_shape(shape, tokens) if masks else _causal_shape(shape, tokens))
        else:
            model = _pretrained(config, auto)
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StageError(f"pretrain.model {config.model!r} could not be loaded: {reason}") from error
    require_unaltered("pretrain.model", Path(config.model), (fingerprints or {}).get("model"))
    _require_fit(config, model, tokens)
    return MaskedModel(model, config.mask_rate) if masks else HuggingFaceCausal(model)


def _require_one_stack(name: str, shape: PreTrainedConfig) -> None:
    """Raise StageError for an encoder-decoder, of which Transformers would load the decoder alone."""
    if kind_of(shape) == "encoder-decoder":
        named = f"pretrain.model {name!r} is an encoder-decoder ({shape.model_type})"
        raise StageError(not_causal(named, "pretraining"))


def _random(auto: type[_BaseAutoModelClass], shape: PreTrainedConfig) -> PreTrainedModel:
    return auto.from_config(shape, dtype=torch.float32, trust_remote_code=False)


def _causal_shape(shape: PreTrainedConfig, tokens: TokenFiles) -> PreTrainedConfig:
    shape.vocab_size = tokens.vocab_size
    shape.bos_token_id = shape.eos_token_id = tokens.end_token
    shape.pad_token_id = None  # of another tokenizer; the embedding of that id would not be trained
    return shape


def _pretrained(config: PretrainConfig, auto: type[_BaseAutoModelClass]) -> PreTrainedModel:
    model, found = auto.from_pretrained(
        config.model,
        revision=config.revision,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):  # transformers would draw them at random
        raise ValueError(f"its weights lack {missing[0]}")
    return model


def _require_fit(config: PretrainConfig, model: PreTrainedModel, tokens: TokenFiles) -> None:
    if config.objective == "causal" and is_encoder(model.config):
        kind = model.config.model_type
        raise StageError(
            f"pretrain.model {config.model!r} is an encoder ({kind}), whose tokens see those after them: it "
            "cannot learn to predict the next one. Set pretrain.objective=masked, name a causal model, or "
            "name the encoder as base.model of a profile with labelled rows"
        )
    if config.document_mask and config.objective == "causal":
        require_positions(model, "Set pretrain.document_mask=false")
    known = model.get_input_embeddings().num_embeddings
    if tokens.vocab_size > known:
        raise StageError(
            f"pretrain.model {config.model!r} knows {known} tokens, the tokenizer has {tokens.vocab_size}: "
            f"it is another model's. Set tokenize.kind=hf and tokenize.name={config.model}"
        )
    if (context := longest(model)) < config.context:
        raise StageError(
            f"pretrain.model {config.model!r} has a context of {context} tokens; pretrain.context is "
            f"{config.context}. Lower it"
        )


def require_positions(model: PreTrainedModel, remedy: str) -> None:
    """Raise StageError for a model that cannot be told where a document within a sequence begins."""
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise StageError(
            f"{type(model).__name__} cannot be told where a document begins (its forward takes no "
            f"position_ids), so documents cannot be kept apart. {remedy}"
        )


def longest(model: PreTrainedModel) -> float:
    """The longest sequence in tokens; infinite for positions that are not learnt, as Bloom's."""
    return _longest(model.config)


def _longest(shape: PreTrainedConfig) -> float:
    if is_encoder(shape):
        return longest_read(shape)
    return getattr(shape, "max_position_embeddings", None) or math.inf


def context_of(model: str | Path, revision: str | None = None) -> float:
    """As `longest`, of a model by name or folder, whose weights are not loaded.

    Raises StageError when its configuration cannot be read.
    """
    try:
        shape = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StageError(f"the model {str(model)!r} could not be loaded: {reason}") from error
    return _longest(shape)


class HuggingFaceCausal(nn.Module):
    """A causal model of Hugging Face with the signature of `CausalModel`."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, labels: Tensor | None = None, *, documents: Tensor | None = None
    ) -> Tensor:
        """As `CausalModel.forward`. The preflight checks whether documents are kept apart as asked."""
        apart = {}
        if documents is not None:
            lowest = torch.finfo(torch.float32).min
            apart["attention_mask"] = torch.where(mask_between(documents), 0.0, lowest)
            apart["position_ids"] = positions_within(documents)
        logits = self.model(input_ids=input_ids, use_cache=False, **apart).logits
        return logits if labels is None else summed_loss(logits, labels)

    @torch.no_grad()
    def continue_greedily(self, input_ids: Tensor, new_tokens: int) -> Tensor:
        """As `CausalModel.continue_greedily`."""
        room = min(new_tokens, longest(self.model) - input_ids.shape[1])
        if room <= 0:
            return input_ids
        was_training = self.training
        self.eval()
        continued = self.model.generate(
            input_ids=input_ids,
            attention_mask=torch.ones_like(input_ids),
            max_new_tokens=room,
            do_sample=False,
        )
        self.train(was_training)
        return continued

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(
            AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
        )

    @property
    def width(self) -> int:
        return self.model.config.get_text_config().hidden_size

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, time: int) -> int:
        """As `CausalModel.flops_per_token`; an embedding that is not the head too is only looked up."""
        head = self.model.get_output_embeddings().weight
        embeddings = [module.weight for module in self.modules() if isinstance(module, nn.Embedding)]
        weights = self.parameter_count() - sum(looked.numel() for looked in embeddings if looked is not head)
        shape: PreTrainedConfig = self.model.config.get_text_config()
        return 6 * weights + 12 * shape.num_hidden_layers * shape.hidden_size * time
