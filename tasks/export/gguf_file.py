"""A model as one GGUF file, the format of llama.cpp and of all that is built on it.

llama.cpp's own converter knows tokenizers by the hash of what they make of a text, and refuses all others.
Here the tokenizer's own pieces are read: a byte-level BPE whose way of splitting words llama.cpp has too is
written with its name, any other is refused with the reason.

Names of tensors and of metadata: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType as Type
from gguf.constants import LlamaFileType
from gguf.quants import quantize
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.errors import StageError

KINDS: Mapping[str, tuple[Type, LlamaFileType]] = {
    "f32": (Type.F32, LlamaFileType.ALL_F32),
    "f16": (Type.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (Type.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Type.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q5_1": (Type.Q5_1, LlamaFileType.MOSTLY_Q5_1),
    "q5_0": (Type.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "q4_1": (Type.Q4_1, LlamaFileType.MOSTLY_Q4_1),
    "q4_0": (Type.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""What is written here, from the largest to the smallest; the K kinds need llama.cpp's own tool."""

Tensor = tuple[str, np.ndarray]

# The regular expressions by which tokenizers split words, as their files have them, and llama.cpp's name.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPLITS = {LLAMA3: "llama-bpe", QWEN2: "qwen2"}


@dataclass(frozen=True)
class Family:
    """How models of one architecture are written."""

    name: str
    """GGUF's name of the architecture."""
    describe: Callable[[gguf.GGUFWriter, Any], None]
    tensors: Callable[[Mapping[str, np.ndarray], Any], Iterator[Tensor]]


def write_gguf(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: Path,
    *,
    kind: str = "f32",
    name: str = "model",
    chat_template: str | None = None,
) -> dict[str, int]:
    """Write the model with its tokenizer to `path`; returns how many weights are of each kind of number.

    Matrices whose rows are no multiple of a kind's block are written in float16 instead. Raises StageError
    for an architecture or a tokenizer that GGUF or this writer has no way to express.
    """
    family = family_of(model)
    own, vocabulary = model.config, vocabulary_of(tokenizer, model.config.vocab_size)
    writer = gguf.GGUFWriter(path, family.name)
    writer.add_name(name)
    writer.add_file_type(KINDS[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    family.describe(writer, own)
    vocabulary.describe(writer)
    if chat_template:
        writer.add_chat_template(chat_template)
    weights = {key: value.detach().float().cpu().numpy() for key, value in model.state_dict().items()}
    counts: dict[str, int] = {}
    for key, tensor in family.tensors(weights, own):
        written, used = _written(tensor, KINDS[kind][0])
        counts[used.name.lower()] = counts.get(used.name.lower(), 0) + tensor.size
        writer.add_tensor(key, written, raw_dtype=used)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return counts


def _written(tensor: np.ndarray, kind: Type) -> tuple[np.ndarray, Type]:
    """A tensor in a kind of numbers; vectors, which are few and sensitive, stay in float32."""
    if tensor.ndim < 2 or kind == Type.F32:
        return np.ascontiguousarray(tensor, np.float32), Type.F32
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    used = kind if tensor.shape[-1] % block == 0 else Type.F16
    values = np.ascontiguousarray(tensor, np.float32)
    return (values.astype(np.float16), used) if used == Type.F16 else (quantize(values, used), used)


# Architectures


def family_of(model: PreTrainedModel) -> Family:
    """Raises StageError for an architecture that is not written here."""
    kind = model.config.model_type
    if kind not in FAMILIES:
        raise StageError(
            f"a model of the architecture {kind} cannot be written as GGUF here; this writes "
            f"{' and '.join(FAMILIES)}. Export it as a folder, and convert that by llama.cpp's "
            "convert_hf_to_gguf.py"
        )
    if model.config.model_type == "llama" and (model.config.attention_bias or model.config.mlp_bias):
        raise StageError("a Llama with biases cannot be written as GGUF; export it as a folder")
    return FAMILIES[kind]


def _describe_gpt2(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_vocab_size(config.vocab_size)  # llama.cpp counts the tokens; Transformers reads this
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(config.n_inner or 4 * config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)


GPT2_PARTS = {
    "attn_norm": ("ln_1", False),
    "attn_qkv": ("attn.c_attn", True),
    "attn_output": ("attn.c_proj", True),
    "ffn_norm": ("ln_2", False),
    "ffn_up": ("mlp.c_fc", True),
    "ffn_down": ("mlp.c_proj", True),
}
"""GGUF's names of a block's parts, ours, and whether the weights are stored (inputs, outputs)."""


def _gpt2(weights: Mapping[str, np.ndarray], config: Any) -> Iterator[Tensor]:
    yield "token_embd.weight", weights["transformer.wte.weight"]
    yield "position_embd.weight", weights["transformer.wpe.weight"]
    for block in range(config.n_layer):
        for part, (own, is_transposed) in GPT2_PARTS.items():
            weight = weights[f"transformer.h.{block}.{own}.weight"]
            yield f"blk.{block}.{part}.weight", weight.T if is_transposed else weight
            yield f"blk.{block}.{part}.bias", weights[f"transformer.h.{block}.{own}.bias"]
    yield "output_norm.weight", weights["transformer.ln_f.weight"]
    yield "output_norm.bias", weights["transformer.ln_f.bias"]
    yield "output.weight", weights["lm_head.weight"]


def _describe_llama(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(_head_width(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type", "default") == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


LLAMA_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def _llama(weights: Mapping[str, np.ndarray], config: Any) -> Iterator[Tensor]:
    yield "token_embd.weight", weights["model.embed_tokens.weight"]
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    for block in range(config.num_hidden_layers):
        for part, own in LLAMA_PARTS.items():
            weight = weights[f"model.layers.{block}.{own}.weight"]
            yield f"blk.{block}.{part}.weight", interleaved(weight, heads[part]) if part in heads else weight
    yield "output_norm.weight", weights["model.norm.weight"]
    if not config.tie_word_embeddings:
        yield "output.weight", weights["lm_head.weight"]
    if config.rope_parameters.get("rope_type", "default") == "llama3":
        yield "rope_freqs.weight", _llama3_factors(config)


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a projection in the order of llama.cpp, which turns neighbours instead of halves of a head.

    Transformers rotates value `i` of a head together with `i + width / 2`, llama.cpp `2 i` with `2 i + 1`.
    """
    rows, *rest = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, *rest).swapaxes(1, 2).reshape(weight.shape)


def _llama3_factors(config: Any) -> np.ndarray:
    """By how much Llama 3 divides each frequency for longer contexts (its `rope_type` llama3)."""
    rope, width = config.rope_parameters, _head_width(config)
    frequencies = 1.0 / rope["rope_theta"] ** (np.arange(0, width, 2, dtype=np.float32) / width)
    lengths = 2 * np.pi / frequencies
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    context, factor = rope["original_max_position_embeddings"], rope["factor"]
    smooth = np.clip((context / lengths - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)


def _head_width(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


FAMILIES = {
    "gpt2": Family("gpt2", _describe_gpt2, _gpt2),
    "llama": Family("llama", _describe_llama, _llama),
}


# Tokenizers


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE in GGUF's words."""

    splitting: str
    """llama.cpp's name of the way in which words are split before they are merged."""
    tokens: list[str]
    types: list[int]
    merges: list[str]
    begin: int | None
    end: int
    pad: int | None
    adds_begin: bool

    def describe(self, writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model("gpt2")  # llama.cpp's name of every byte-level BPE
        writer.add_tokenizer_pre(self.splitting)
        writer.add_token_list(self.tokens)
        writer.add_token_types(self.types)
        writer.add_token_merges(self.merges)
        writer.add_eos_token_id(self.end)
        if self.begin is not None:
            writer.add_bos_token_id(self.begin)
        if self.pad is not None:
            writer.add_pad_token_id(self.pad)
        writer.add_add_bos_token(self.adds_begin)


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, size: int) -> Vocabulary:
    """The tokenizer in GGUF's words, with as many tokens as the model has embeddings.

    Raises StageError for a tokenizer that GGUF cannot express.
    """
    if not tokenizer.is_fast:
        raise _inexpressible("it has no tokenizer.json")
    whole = json.loads(tokenizer.backend_tokenizer.to_str())
    model = whole["model"]
    if model["type"] == "WordLevel":
        raise _inexpressible("a token is a whole word or character, and llama.cpp has no such vocabulary")
    if model["type"] != "BPE":
        raise _inexpressible(f"its model is {model['type']}, not byte-level BPE")
    if model.get("byte_fallback") or whole["normalizer"]:
        raise _inexpressible("it changes the text, or falls back to bytes, before or after merging")
    if not model["merges"]:
        raise _inexpressible("it works on single characters and has no merges, which llama.cpp requires")
    splitting = _splitting(whole["pre_tokenizer"])
    tokens = {index: token for token, index in model["vocab"].items()}
    added = {token["id"]: token for token in whole["added_tokens"]}
    tokens |= {index: token["content"] for index, token in added.items()}
    if max(tokens) >= size:
        raise _inexpressible(f"it has the token {max(tokens)}, and the model only {size}")
    names = [tokens.get(index, f"[PAD{index}]") for index in range(size)]
    ids = tokenizer("a")["input_ids"]
    return Vocabulary(
        splitting=splitting,
        tokens=names,
        types=[_type(index, tokens, added) for index in range(size)],
        merges=[merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]],
        begin=tokenizer.bos_token_id,
        end=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
        adds_begin=tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id],
    )


def _type(index: int, tokens: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if index not in tokens:
        return gguf.TokenType.UNUSED
    if index not in added:
        return gguf.TokenType.NORMAL
    return gguf.TokenType.CONTROL if added[index]["special"] else gguf.TokenType.USER_DEFINED


def _splitting(pre: Mapping[str, Any] | None) -> str:
    """llama.cpp's name of how a tokenizer splits words."""
    parts = pre["pretokenizers"] if pre and pre["type"] == "Sequence" else [pre] if pre else []
    kinds = [part["type"] for part in parts]
    if not kinds or kinds[-1] != "ByteLevel" or parts[-1]["add_prefix_space"]:
        raise _inexpressible("it does not work on bytes as GPT-2's does")
    if kinds == ["ByteLevel"] and parts[0]["use_regex"]:
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and parts[0]["individual_digits"] and parts[1]["use_regex"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not parts[1]["use_regex"]:
        expression = parts[0]["pattern"].get("Regex")
        if expression in SPLITS and parts[0]["behavior"] == "Isolated" and not parts[0]["invert"]:
            return SPLITS[expression]
    raise _inexpressible("it splits words in a way for which llama.cpp has no name here")


def _inexpressible(why: str) -> StageError:
    return StageError(f"the tokenizer cannot be written as GGUF: {why}. Export the model as a folder")
