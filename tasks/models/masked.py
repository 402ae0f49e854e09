"""Masked language models: a BERT made from Transformers' own configuration, or any model of that kind.

Their tokens see those before and after them, and the loss is of the masked ones alone.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED, TokenFiles
from tasks.errors import StageError
from tasks.models.encoders import is_encoder


class MaskedModel(nn.Module):
    """A masked language model of Hugging Face, asked as a `CausalModel` is.

    With labels the head, whose matrix is as long as the vocabulary, is applied to labelled positions alone:
    about one in seven. What comes out of the backbone is cut to those before the model's own head gets it.
    """

    def __init__(self, model: PreTrainedModel, label_share: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.label_share = label_share
        """Of the tokens of a training step, for `flops_per_token`."""
        self._selected: Tensor | None = None
        model.base_model.register_forward_hook(self._select)

    def _select(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        if self._selected is not None:
            output.last_hidden_state = output.last_hidden_state[self._selected][None]
        return output

    def forward(
        self,
        input_ids: Tensor,
        labels: Tensor | None = None,
        *,
        documents: Tensor | None = None,
        per_label: bool = False,
    ) -> Tensor:
        """Logits (batch, time, vocabulary) for `input_ids` (batch, time).

        With `labels` (batch, time; the token that stood at a position, or IGNORED) their cross-entropy
        instead: a scalar in nats, summed. `per_label` gives (2, labels) of it: the loss of each in the order
        of the positions, and 1 where the likeliest token is the label. `documents` (batch, time) are
        negative where there is padding, which no token sees.
        """
        self._selected = None if labels is None else labels != IGNORED
        attention = {} if documents is None else {"attention_mask": (documents >= 0).long()}
        try:
            logits = self.model(input_ids=input_ids, **attention).logits
            if labels is None:
                return logits
            predicted, wanted = logits[0].float(), labels[self._selected]
        finally:
            self._selected = None
        if per_label:
            losses = F.cross_entropy(predicted, wanted, reduction="none")
            return torch.stack([losses, (predicted.argmax(dim=-1) == wanted).float()])
        return F.cross_entropy(predicted, wanted, reduction="sum")

    def save(self, folder: Path) -> None:
        self.model.save_pretrained(folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        return cls(load_masked(folder))

    @property
    def width(self) -> int:
        return self.model.config.hidden_size

    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    def flops_per_token(self, time: int) -> int:
        """Of a training step, as `CausalModel.flops_per_token`; the head counts for its share of tokens."""
        backbone = self.model.base_model
        looked_up = {id(m.weight) for m in backbone.modules() if isinstance(m, nn.Embedding)}
        inside = sum(p.numel() for p in backbone.parameters() if id(p) not in looked_up)
        head = sum(
            p.numel()
            for module in self.model.children()
            if module is not backbone
            for p in module.parameters()
            if p.dim() >= 2
        )
        shape = self.model.config
        attention = 12 * shape.num_hidden_layers * shape.hidden_size * time
        return round(6 * (inside + self.label_share * head) + attention)


def load_masked(folder: Path) -> PreTrainedModel:
    """A masked language model in float32 on the CPU."""
    return AutoModelForMaskedLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )


def new_bert(config: PretrainConfig, tokens: TokenFiles) -> PreTrainedModel:
    """A BERT of the size that `config` says, with random weights."""
    layers, heads, width = config.shape()
    shape = BertConfig(
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_size=width,
        intermediate_size=4 * width,
        max_position_embeddings=config.context,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
    )
    return BertForMaskedLM(masked_shape(shape, tokens))


def masked_shape(shape: PreTrainedConfig, tokens: TokenFiles) -> PreTrainedConfig:
    """The same configuration, in place, with the vocabulary and the special tokens of a tokenizer.

    Raises StageError for a tokenizer without a mask token, and for a padding that the model has no position
    for: RoBERTa's kind counts positions from behind the padding's id.
    """
    special = tokens.special
    positions = getattr(shape, "max_position_embeddings", None)
    if "roberta" in shape.model_type and positions is not None and special["pad"] + 1 >= positions:
        raise StageError(
            f"{shape.model_type} counts positions from behind the padding token, and that of the tokenizer "
            f"is {special['pad']} of {positions} positions. Use the model's own tokenizer "
            "(tokenize.kind=hf), or train one (kind=bpe)"
        )
    shape.vocab_size = tokens.vocab_size
    shape.pad_token_id = special["pad"]
    shape.bos_token_id = shape.cls_token_id = special["start"]
    shape.eos_token_id = shape.sep_token_id = special["end"]
    shape.mask_token_id = special["mask"]
    return shape


def require_encoder(name: str, shape: PreTrainedConfig) -> None:
    """Raise StageError for a model that does not fill in masked tokens."""
    if not is_encoder(shape):
        raise StageError(
            f"pretrain.model {name!r} ({shape.model_type}) is no masked language model, and "
            "pretrain.objective is masked. Name one, such as a BERT, or set pretrain.objective=causal"
        )
