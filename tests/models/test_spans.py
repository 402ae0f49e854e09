"""A head for spans keeps the base's weights, which Transformers' own loses for Llama's kinds."""

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, LlamaConfig, LlamaForCausalLM, LlamaModel

from tasks.models.spans import SpanModel

SHAPE = LlamaConfig(
    vocab_size=50,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
)
IDS = torch.tensor([[1, 2, 3]])


@pytest.mark.parametrize("kind", [LlamaForCausalLM, LlamaModel])
def test_llama_keeps_its_backbone_for_whoever_loads_it(tmp_path, kind):
    torch.manual_seed(1)
    base = kind(SHAPE).eval()
    base.save_pretrained(tmp_path / "base")
    backbone = getattr(base, "model", base)
    model, told = SpanModel.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert sorted(told["missing_keys"]) == ["qa_outputs.bias", "qa_outputs.weight"]
    assert torch.equal(model.transformer(IDS).last_hidden_state, backbone(IDS).last_hidden_state)
    model.save_pretrained(tmp_path / "tuned")
    for loaded in (AutoModelForQuestionAnswering, SpanModel):
        again = loaded.from_pretrained(tmp_path / "tuned")
        assert torch.equal(again(IDS).start_logits, model(IDS).start_logits)


def test_transformers_own_class_still_loses_it(tmp_path):
    """When this fails, Transformers loads the base's names, and `SpanModel` is no longer needed."""
    LlamaForCausalLM(SHAPE).save_pretrained(tmp_path)
    _, told = AutoModelForQuestionAnswering.from_pretrained(tmp_path, output_loading_info=True)
    assert "transformer.norm.weight" in told["missing_keys"]
