"""Matrices that a model keeps as one: which rows of a weight are its query, its key, its value.

Transformers keeps them as each family's authors did: side by side (GPT-2, Phi-3), head by head (BLOOM,
GPT-NeoX), by groups of heads that share a key (Falcon), with one key for all (GPTBigCode); of a layer whose
weight is (out, in), or (in, out) as GPT-2's. What is not told here counts as one matrix: also what
state-space models and compressed attention project at once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tasks.models.gpt import GPT, Projection


class Layout(NamedTuple):
    """The outputs of a layer are `groups` times the `sizes` of its parts; `axis` is theirs in its weight."""

    axis: int
    groups: int
    sizes: tuple[int, ...]

    def parts(self, weight: Tensor) -> list[Tensor]:
        """Views of each part: (groups, outputs of the part in a group, inputs)."""
        outputs = weight.t() if self.axis else weight
        return list(outputs.unflatten(0, (self.groups, sum(self.sizes))).split(self.sizes, dim=1))


Shape = Callable[[Any, int], tuple[int, tuple[int, ...]]]
"""Of a model's configuration and a layer's outputs: how many groups, and what each holds of every part."""


def _equal(parts: int, groups: Callable[[Any], int] = lambda _config: 1) -> Shape:
    return lambda config, outputs: (groups(config), (outputs // groups(config) // parts,) * parts)


def _heads(config: Any) -> int:
    return config.num_attention_heads


def _head_width(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // _heads(config)


def _gpt_bigcode(config: Any, outputs: int) -> tuple[int, tuple[int, ...]]:
    if not config.multi_query:
        return _equal(3, _heads)(config, outputs)
    return 1, (config.hidden_size, _head_width(config), _head_width(config))


def _falcon(config: Any, outputs: int) -> tuple[int, tuple[int, ...]]:
    width = _head_width(config)
    if config.new_decoder_architecture:
        return config.num_kv_heads, (_heads(config) // config.num_kv_heads * width, width, width)
    if config.multi_query:
        return 1, (config.hidden_size, width, width)
    return _equal(3, _heads)(config, outputs)


def _grouped_queries(key_heads: Callable[[Any], int]) -> Shape:
    def shape(config: Any, _outputs: int) -> tuple[int, tuple[int, ...]]:
        width = _head_width(config)
        return 1, (_heads(config) * width, key_heads(config) * width, key_heads(config) * width)

    return shape


FUSED: dict[tuple[str, str], Shape] = {
    ("gpt2", "c_attn"): _equal(3),
    ("openai-gpt", "c_attn"): _equal(3),
    ("gpt_bigcode", "c_attn"): _gpt_bigcode,
    ("gpt_neox", "query_key_value"): _equal(3, _heads),
    ("bloom", "query_key_value"): _equal(3, _heads),
    ("persimmon", "query_key_value"): _equal(3, _heads),
    ("falcon", "query_key_value"): _falcon,
    ("codegen", "qkv_proj"): _equal(3, lambda _config: 4),  # as it was cut over four TPU cores
    ("mpt", "Wqkv"): _equal(3),
    ("dbrx", "Wqkv"): _grouped_queries(lambda config: config.attn_config.kv_n_heads),
    ("phi3", "qkv_proj"): _grouped_queries(lambda config: config.num_key_value_heads),
    ("phi3", "gate_up_proj"): _equal(2),
    ("glm", "gate_up_proj"): _equal(2),
    ("glm4", "gate_up_proj"): _equal(2),
    ("modernbert-decoder", "Wi"): _equal(2),
    ("jetmoe", "kv_proj"): _equal(2),
}


def layout_of(model: nn.Module, name: str) -> Layout | None:
    """How the weight of that name holds several matrices; None where it is one."""
    owner = next((m for m in model.modules() if isinstance(m, GPT | PreTrainedModel)), None)
    path, _, kind = name.rpartition(".")
    if owner is None or kind != "weight":
        return None
    kind = "gpt2" if isinstance(owner, GPT) else owner.config.model_type
    shape = FUSED.get((kind, path.rpartition(".")[2]))
    if shape is None:
        return None
    layer = model.get_submodule(path)
    axis = 1 if isinstance(layer, Conv1D | Projection) else 0
    groups, sizes = shape(owner.config, layer.weight.shape[axis])
    return Layout(axis, groups, sizes)
