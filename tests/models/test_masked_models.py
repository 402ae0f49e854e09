"""Masked models of Hugging Face: any kind behind one signature, its head on labelled positions alone."""

import pytest
import torch
from torch.nn import functional as F
from transformers import (
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    ModernBertConfig,
    RobertaConfig,
)

from tasks.data.token_files import IGNORED, load_tokens
from tasks.errors import StageError
from tasks.models.architectures import build_model
from tasks.models.masked import MaskedModel
from tests.pretrain.training import changed, curve, tokens_of, trained

SHAPE = {
    "vocab_size": 99,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 40,
}
KINDS = {
    "bert": BertConfig(**SHAPE),
    "roberta": RobertaConfig(**SHAPE),
    "electra": ElectraConfig(**SHAPE, embedding_size=8),
    "modernbert": ModernBertConfig(**SHAPE, pad_token_id=0, global_attn_every_n_layers=1),
    "distilbert": DistilBertConfig(
        vocab_size=99, dim=16, hidden_dim=24, n_layers=2, n_heads=2, max_position_embeddings=40
    ),
}
OF_FOLDER = {"objective": "masked", "dropout": 0, "steps": 3, "batch_size": 4, "eval_every": 3}
TEXTS = [f"the cat number {number} sat on mat {number % 7}" for number in range(40)]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return tokens_of(TEXTS, tmp_path_factory.mktemp("sentences"), mask_token=True)


def of_folder(folder, **fields):
    return changed(**OF_FOLDER | {"model": str(folder)} | fields)


@pytest.mark.parametrize("kind", KINDS)
def test_any_masked_model_is_built_from_its_config(sentences, tmp_path, kind):
    """With another tokenizer's size and special tokens, and the loss that its own logits have."""
    KINDS[kind].save_pretrained(tmp_path)
    files = load_tokens(sentences)
    model = build_model(of_folder(tmp_path), files).eval()
    assert model.model.config.vocab_size == files.vocab_size
    assert model.model.config.pad_token_id == files.special["pad"]
    ids = torch.randint(2, 200, (3, 12), generator=torch.Generator().manual_seed(1))
    labels = torch.where(torch.arange(12) % 5 == 0, ids, IGNORED)
    documents = torch.zeros_like(ids)
    documents[1, 9:], labels[1, 9:], ids[1, 9:] = -1, IGNORED, files.special["pad"]
    logits = model(ids, documents=documents)
    assert logits.shape == (3, 12, files.vocab_size)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    torch.testing.assert_close(model(ids, labels, documents=documents), expected)
    each = model(ids, labels, documents=documents, per_label=True)
    torch.testing.assert_close(each[0].sum(), expected)
    assert each.shape == (2, int((labels != IGNORED).sum()))
    assert torch.equal(model(ids, documents=documents), logits)  # a call with labels leaves nothing behind


def test_the_head_is_applied_to_labelled_positions_alone(sentences):
    config = changed(objective="masked", architecture="bert", dropout=0)
    model = build_model(config, load_tokens(sentences))
    seen = []
    model.model.cls.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[:2]))
    ids = torch.full((4, 10), 5)
    model(ids, torch.where(torch.arange(10) == 3, ids, IGNORED))
    assert seen == [(1, 4)]


def test_a_batch_without_labels_costs_nothing(sentences):
    """As the last piece of a process that has a row less."""
    model = build_model(changed(objective="masked", architecture="bert"), load_tokens(sentences))
    loss = model(torch.full((1, 8), 5), torch.full((1, 8), IGNORED))
    loss.backward()
    assert loss.item() == 0


def test_training_continues_from_weights_with_their_tokenizer(sentences, tmp_path):
    start = trained(
        changed(objective="masked", architecture="bert", dropout=0), sentences, tmp_path / "start"
    )
    tokens = tokens_of(TEXTS, tmp_path, kind="hf", name=str(start.out / "model"), mask_token=True)
    config = of_folder(start.out / "model", weights="pretrained")
    again = trained(config, tokens, tmp_path / "again")
    assert curve(again)[0] < curve(start)[0]
    own = AutoModelForMaskedLM.from_pretrained(again.out / "model")
    assert (
        own.config.vocab_size == AutoModelForMaskedLM.from_pretrained(start.out / "model").config.vocab_size
    )


def test_a_causal_model_is_refused(sentences, tmp_path):
    GPT2Config(n_layer=1, n_head=1, n_embd=8).save_pretrained(tmp_path)
    with pytest.raises(StageError, match=r"\(gpt2\) is no masked language model.*objective=causal"):
        build_model(of_folder(tmp_path), load_tokens(sentences))


def test_an_encoder_for_the_next_token_names_the_objective(documents, tmp_path):
    KINDS["bert"].save_pretrained(tmp_path)
    with pytest.raises(StageError, match=r"is an encoder \(bert\).*Set pretrain\.objective=masked"):
        build_model(changed(model=str(tmp_path), dropout=0), load_tokens(documents))


def test_tokens_without_a_mask_are_refused(documents):
    with pytest.raises(StageError, match=r"tokenizer has no mask token.*tokenize\.mask_token=true"):
        build_model(changed(objective="masked", architecture="bert"), load_tokens(documents))


def test_a_context_longer_than_the_positions_is_refused(sentences, tmp_path):
    """RoBERTa counts from behind the padding: of 40 positions a text may take 38."""
    KINDS["roberta"].save_pretrained(tmp_path)
    with pytest.raises(StageError, match=r"has a context of 38 tokens; pretrain\.context is 40"):
        build_model(of_folder(tmp_path, context=40), load_tokens(sentences))


def test_padding_behind_all_positions_is_refused(sentences, tmp_path):
    KINDS["roberta"].save_pretrained(tmp_path)
    files = load_tokens(sentences)
    files.facts["special"]["pad"] = 39
    with pytest.raises(
        StageError, match=r"that of the tokenizer is 39 of 40 positions\. Use the model's own"
    ):
        build_model(of_folder(tmp_path), files)


def test_head_counts_for_the_share_of_tokens_it_is_applied_to():
    model = BertForMaskedLM(KINDS["bert"])
    whole, share = (MaskedModel(model, part).flops_per_token(8) for part in (1.0, 0.15))
    head = 99 * 16 + 16 * 16
    assert whole - share == round(6 * 0.85 * head)
