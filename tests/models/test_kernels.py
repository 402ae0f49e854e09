"""Faster ways to the same loss: each equals the plain way, in value and gradient."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED
from tasks.models import kernels
from tasks.models.architectures import ARCHITECTURES
from tasks.models.causal import attend, mask_between
from tasks.models.kernels import Kernels, attend_within, boundaries_of

VOCABULARY = 37
DOCUMENTS = torch.tensor([[0, 0, 0, 1, 1, 2, 2, 2], [2, 2, 3, 3, 3, 3, 3, 4]])
WAYS = [Kernels(chunked_loss=True), Kernels(vocabulary_multiple=128), Kernels(True, 16)]


def model_of(architecture="gpt2", **settings):
    torch.manual_seed(0)
    config = PretrainConfig(architecture=architecture, size="2x4x32", context=8, **settings)
    return ARCHITECTURES[architecture].from_settings(config, VOCABULARY, 0)


def batch():
    ids = torch.randint(VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(1))
    labels = ids[:, 1:].clone()
    labels[0, 3] = labels[1, 7] = IGNORED
    return ids[:, :-1], labels


def loss_and_gradients(model, way, **given):
    model.kernels = way
    model.zero_grad()
    loss = model(*batch(), **given)
    loss.backward()
    return loss.detach(), {name: one.grad.clone() for name, one in model.named_parameters()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("logits", [VOCABULARY, 5 * VOCABULARY, 10**9])
@pytest.mark.parametrize("way", WAYS)
def test_loss_and_gradients_equal_the_plain_ones(architecture, logits, way, monkeypatch):
    """Chunks of one row, of some, the last with fewer, and of all."""
    monkeypatch.setattr(kernels, "LOGITS", logits)
    model = model_of(architecture)
    loss, gradients = loss_and_gradients(model, kernels.PLAIN)
    found, own = loss_and_gradients(model, way)
    torch.testing.assert_close(found, loss)
    torch.testing.assert_close(own, gradients)


@pytest.mark.parametrize("way", WAYS)
def test_in_bfloat16_the_loss_is_told_in_float32(way):
    model = model_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, gradients = loss_and_gradients(model, kernels.PLAIN)
        found, own = loss_and_gradients(model, way)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss, rtol=1e-3, atol=0)
    torch.testing.assert_close(own, gradients, rtol=0.05, atol=0.02)


def test_a_batch_without_labels_has_no_loss_and_no_gradient():
    model = model_of()
    model.kernels = Kernels(True, 128)
    inputs, labels = batch()
    loss = model(inputs, torch.full_like(labels, IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert not any(one.grad.abs().sum() for one in model.parameters())


def test_gradient_is_scaled_as_the_loss_is_divided():
    model = model_of()
    _, gradients = loss_and_gradients(model, Kernels(True))
    model.zero_grad()
    (model(*batch()) / 7).backward()
    for name, one in model.named_parameters():
        torch.testing.assert_close(one.grad * 7, gradients[name])


def test_padding_is_no_part_of_the_model(tmp_path):
    model = model_of()
    names = {name: tensor.shape for name, tensor in model.state_dict().items()}
    loss_and_gradients(model, Kernels(True, 128))
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == names
    model.save(tmp_path)
    assert type(model).load(tmp_path).head.shape[0] == VOCABULARY
    assert model(batch()[0]).shape[-1] == VOCABULARY


def test_without_gradients_the_whole_logits_are_not_chunked(monkeypatch):
    monkeypatch.setattr(kernels, "_chunked_loss", lambda *_: pytest.fail("it was chunked"))
    model = model_of()
    model.kernels = Kernels(chunked_loss=True)
    with torch.no_grad():
        model(*batch())


def test_boundaries_are_the_first_places_of_documents():
    found = boundaries_of(DOCUMENTS)
    assert found.offsets.tolist() == [0, 3, 5, 8, 10, 15, 16]
    assert (found.offsets.dtype, found.longest) == (torch.int32, 8)


def plain_varlen(query, key, value, of_queries, of_keys, *longest, window_size, enable_gqa):
    """What torch's kernel, which is for CUDA alone, is documented to compute."""
    assert (window_size, longest) == ((-1, 0), (8, 8))
    assert torch.equal(of_queries, of_keys)
    parts = []
    for start, end in zip(of_queries[:-1].tolist(), of_queries[1:].tolist(), strict=True):
        own = (one[start:end].transpose(0, 1)[None] for one in (query, key, value))
        mixed = F.scaled_dot_product_attention(*own, is_causal=True, enable_gqa=enable_gqa)
        parts.append(mixed[0].transpose(0, 1))
    return torch.cat(parts)


@pytest.mark.parametrize("key_heads", [4, 2])
def test_attention_by_offsets_equals_that_by_a_dense_mask(key_heads, monkeypatch):
    monkeypatch.setattr(kernels, "varlen_attn", plain_varlen)
    draw = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 8, 6, generator=draw) for heads in (4, key_heads, key_heads))
    dense = attend(query, key, value, mask_between(DOCUMENTS))
    torch.testing.assert_close(attend_within(query, key, value, boundaries_of(DOCUMENTS)), dense)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_takes_offsets_where_it_computes_in_half(architecture, monkeypatch):
    used = []

    def counted(*given, **options):
        used.append(given[0].dtype)
        return plain_varlen(*given, **options)

    monkeypatch.setattr(kernels, "varlen_attn", counted)
    model = model_of(architecture)
    whole, gradients = loss_and_gradients(model, Kernels(varlen=True), documents=DOCUMENTS)
    assert used == []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, own = loss_and_gradients(model, Kernels(varlen=True), documents=DOCUMENTS)
    assert used == [torch.bfloat16] * 2
    torch.testing.assert_close(found, whole, rtol=0.01, atol=0)
    for name, one in own.items():
        assert nn.functional.cosine_similarity(one.flatten(), gradients[name].flatten(), dim=0) > 0.98, name


@pytest.mark.parametrize("words", [VOCABULARY, 151_936])
def test_loss_by_token_is_that_of_float64(words):
    """Summed the other way, the larger vocabulary is off by 0.0002 nats a token, always to one side."""
    logits = 3 * torch.randn(2, 16, words, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(words, (2, 16), generator=torch.Generator().manual_seed(1))
    labels[0, 5:] = IGNORED
    found = kernels.loss_by_token(logits, labels)
    assert found.shape == labels.shape
    exact = -logits.double().log_softmax(dim=-1).gather(2, labels.clamp(min=0)[..., None])[..., 0]
    exact[labels == IGNORED] = 0
    torch.testing.assert_close(found.double(), exact, atol=3e-5, rtol=0)
