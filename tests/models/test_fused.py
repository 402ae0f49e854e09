"""Muon orthogonalises the matrices that a model computes with, however its family keeps them together."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tasks.config import PretrainConfig
from tasks.models.fused import FUSED, Layout, layout_of
from tasks.models.gpt import GPT, GPTConfig
from tasks.models.optimizers import Muon, make_optimizers

WIDTH, HEADS, KEYS = 32, 4, 2
SHAPE = {
    "vocab_size": 20,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
}
GROUPED = SHAPE | {"num_key_value_heads": KEYS, "head_dim": 8}
# For each family its layers' parts, in order, and what its model is made of.
FAMILIES = {
    "gpt2": ("c_attn", "qkv", SHAPE),
    "openai-gpt": ("c_attn", "qkv", SHAPE),
    "gpt_bigcode": ("c_attn", "qkv", SHAPE),
    "gpt_bigcode, a key a head": ("c_attn", "qkv", SHAPE | {"multi_query": False}),
    "gpt_neox": ("query_key_value", "qkv", SHAPE),
    "bloom": ("query_key_value", "qkv", SHAPE | {"n_head": HEADS, "n_layer": 1}),
    "persimmon": ("query_key_value", "qkv", SHAPE | {"qk_layernorm": False}),
    "falcon": ("query_key_value", "qkv", SHAPE),
    "falcon, a key a head": ("query_key_value", "qkv", SHAPE | {"multi_query": False}),
    "falcon, a key a group": (
        "query_key_value",
        "qkv",
        SHAPE | {"new_decoder_architecture": True, "num_kv_heads": KEYS},
    ),
    "codegen": ("qkv_proj", "qvk", SHAPE | {"rotary_dim": 4, "n_ctx": 16, "n_positions": 16}),
    "mpt": ("Wqkv", "qkv", {"vocab_size": 20, "d_model": WIDTH, "n_heads": HEADS, "n_layers": 1}),
    "dbrx": (
        "Wqkv",
        "qkv",
        {"vocab_size": 20, "d_model": WIDTH, "n_heads": HEADS, "n_layers": 1}
        | {
            "attn_config": {"kv_n_heads": KEYS, "rope_theta": 1e4, "clip_qkv": 8.0},
            "ffn_config": {"ffn_hidden_size": 48},
        },
    ),
    "phi3": ("qkv_proj", "qkv", GROUPED),
    "phi3, its gate": ("gate_up_proj", "gu", GROUPED),
    "glm": ("gate_up_proj", "gu", GROUPED),
    "glm4": ("gate_up_proj", "gu", GROUPED),
    "modernbert-decoder": ("Wi", "gu", SHAPE | {"cls_token_id": 1, "sep_token_id": 1}),
    "jetmoe": ("kv_proj", "kv", SHAPE | {"kv_channels": 8, "num_key_value_heads": KEYS}),
}


def model_of(family):
    torch.manual_seed(3)
    kind = family.partition(",")[0]
    config = AutoConfig.for_model(kind, **FAMILIES[family][2])
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def fused_in(model, leaf):
    """The name of the weight, its layer and its layout."""
    name, layer = next(
        (name, module) for name, module in model.named_modules() if name.rpartition(".")[2] == leaf
    )
    return layer, layout_of(model, f"{name}.weight")


def gradients(model, layer, layout, time):
    """The largest gradient of each part when `time` tokens are read."""
    model.zero_grad()
    logits = model(torch.arange(2, 2 + time)[None], use_cache=False).logits
    logits.square().sum().backward()
    return [part.abs().max().item() for part in layout.parts(layer.weight.grad)]


def silence(layer, layout, place):
    """Make a part's outputs zero."""
    with torch.no_grad():
        layout.parts(layer.weight)[place].zero_()
        if layer.bias is not None:
            layout.parts(layer.bias[:, None] if not layout.axis else layer.bias[None])[place].zero_()


def test_every_family_is_tried():
    assert {(name.partition(",")[0], leaf) for name, (leaf, *_) in FAMILIES.items()} == set(FUSED)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_are_those_that_the_model_computes_with(family):
    """Attention to one token is that token's value; a query moves nothing where every key is zero.

    Likewise the gate of a gated layer, behind whose zero the other half is not heard.
    """
    model, (leaf, letters, _) = model_of(family), FAMILIES[family]
    layer, layout = fused_in(model, leaf)
    assert len(layout.sizes) == len(letters)
    if letters == "gu":
        halves = {}
        for place in range(2):
            model = model_of(family)
            layer, layout = fused_in(model, leaf)
            silence(layer, layout, place)
            halves[place] = gradients(model, layer, layout, 3)
        assert halves[0][0] > 0 == halves[0][1]
        return
    alone = dict(zip(letters, gradients(model, layer, layout, 1), strict=True))
    assert alone.pop("v") > 0
    assert set(alone.values()) == {0.0}
    if "q" in letters:
        silence(layer, layout, letters.index("k"))
        found = dict(zip(letters, gradients(model, layer, layout, 3), strict=True))
        assert found["q"] == 0 < found["k"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_that_of_the_matrices_kept_apart(family):
    model = model_of(family)
    layer, layout = fused_in(model, FAMILIES[family][0])
    draw = torch.Generator().manual_seed(1)
    gradient = torch.randn(layer.weight.shape, generator=draw)
    before = layer.weight.detach().clone()
    apart = [torch.nn.Parameter(part.flatten(0, 1).clone()) for part in layout.parts(before)]
    for parameter, part in zip(apart, layout.parts(gradient), strict=True):
        parameter.grad = part.flatten(0, 1).clone()
    _, muon = make_optimizers(model, PretrainConfig(optimizer="muon", device="cpu"))
    layer.weight.grad = gradient
    muon.step()
    one = muon.param_groups[0]
    alone = Muon([{"params": apart}], lr=one["lr"], weight_decay=one["weight_decay"])
    alone.step()
    for found, parameter in zip(layout.parts(layer.weight), apart, strict=True):
        torch.testing.assert_close(found.flatten(0, 1), parameter, atol=1e-6, rtol=1e-3)
    assert not torch.equal(layer.weight, before)


def test_our_own_model_is_laid_out_as_gpt2s():
    model = GPT(GPTConfig(vocab_size=9, context=8, layers=1, heads=2, width=4))
    assert layout_of(model, "transformer.h.0.attn.c_attn.weight") == Layout(1, 1, (4, 4, 4))
    assert layout_of(model, "transformer.h.0.attn.c_proj.weight") is None
    fused = torch.arange(48.0).view(4, 12)
    assert [part[0, 0, 0].item() for part in Layout(1, 1, (4, 4, 4)).parts(fused)] == [0, 4, 8]
    assert Layout(0, 2, (1, 1, 1)).parts(torch.arange(6)[:, None])[1].flatten().tolist() == [1, 4]
