"""Llama from scratch computes what Transformers' does, and keeps what it must not see out of sight."""

import math

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, Qwen3ForCausalLM

from tasks.config import LLAMA_SIZES, PretrainConfig
from tasks.models.causal import Cache
from tasks.models.llama import Llama, LlamaShape, RMSNorm, RopeScaling, Rotary, turned
from tests.pretrain.training import Stopped, history_in, same_outputs, stopping_after, tokens_of, trained

STRETCHED = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original=16)
VARIANTS = {
    "plain": {},
    "grouped": {"key_heads": 2},
    "one key": {"key_heads": 1},
    "own head": {"is_tied": False},
    "stretched": {"scaling": STRETCHED, "theta": 500000.0},
    "qk norm": {"qk_norm": True},
    "wide heads": {"head_width": 32},
}


def shape(**options):
    own = {
        "vocab_size": 97,
        "context": 64,
        "layers": 2,
        "heads": 4,
        "key_heads": 4,
        "width": 64,
        "inner": 128,
    }
    return LlamaShape(**(own | {"end_token": 0} | options))


def llama(**options):
    """A model whose weights are far from those it starts with, so that a fault shows."""
    torch.manual_seed(0)
    model = Llama(shape(**options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.fixture
def ids():
    return torch.randint(1, 97, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_saved_model_gives_the_same_logits_in_transformers(tmp_path, options, ids):
    model = llama(**options)
    model.save(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert isinstance(theirs, Qwen3ForCausalLM if "qk_norm" in options else LlamaForCausalLM)
    assert torch.allclose(model(ids), theirs(ids).logits, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_saved_model_is_loaded_as_it_was(tmp_path, options, ids):
    model = llama(**options)
    model.save(tmp_path)
    loaded = Llama.load(tmp_path).eval()
    assert loaded.config == model.config or loaded.config.per_head == model.config.per_head
    assert torch.equal(loaded(ids), model(ids))


def test_transformers_own_checkpoint_gives_its_logits_here(tmp_path, ids):
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=3,
        max_position_embeddings=64,
        tie_word_embeddings=False,
    )
    theirs = LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    assert torch.allclose(Llama.load(tmp_path).eval()(ids), theirs(ids).logits, atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_no_position_sees_a_later_one(options, ids):
    model, changed = llama(**options), ids.clone()
    changed[:, 25:] = (changed[:, 25:] + 1) % 97
    before, after = model(ids), model(changed)
    assert torch.equal(before[:, :25], after[:, :25])
    assert not torch.equal(before[:, 25:], after[:, 25:])


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_cache_gives_the_logits_of_the_whole_sequence(options, ids):
    model, cache = llama(**options), Cache()
    parts = [model(part, cache=cache) for part in ids.split([11, 1, 1, 27], dim=1)]
    assert torch.allclose(torch.cat(parts, dim=1), model(ids), atol=1e-4)
    assert len(cache) == 40


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_packed_documents_are_computed_as_if_each_were_alone(options, ids):
    model = llama(**options)
    documents = torch.tensor([[0] * 15 + [1] * 25, [0] * 30 + [1] * 10])
    packed = model(ids, documents=documents)
    for row, cut in enumerate((15, 30)):
        alone = [model(part[None]) for part in (ids[row, :cut], ids[row, cut:])]
        assert torch.allclose(packed[row], torch.cat(alone, dim=1)[0], atol=1e-4)


def test_attention_depends_on_distances_alone():
    rotary = Rotary(shape())
    query, key = torch.randn(2, 1, 1, 1, 16)

    def product(at, other):
        turn = [rotary(torch.tensor([place])) for place in (at, other)]
        return (turned(query, *turn[0]) * turned(key, *turn[1])).sum()

    assert torch.allclose(product(3, 10), product(40, 47), atol=1e-4)
    assert not torch.allclose(product(3, 10), product(3, 11), atol=1e-4)


def test_norm_divides_by_the_root_mean_square_in_float32():
    norm = RMSNorm(4, 0.0)
    x = torch.tensor([[3.0, -3.0, 3.0, -3.0]])
    assert torch.allclose(norm(x), x / 3)
    large = (x * 300).bfloat16()
    norm.bfloat16()
    assert norm(large).dtype == torch.bfloat16
    assert torch.allclose(norm(large).float(), x / 3, atol=0.01)


def test_first_loss_is_that_of_guessing(ids):
    torch.manual_seed(0)
    model = Llama(shape())
    loss = model(ids[:, :-1], labels=ids[:, 1:]) / ids[:, 1:].numel()
    assert loss.item() == pytest.approx(math.log(97), abs=0.15)


def test_what_is_only_looked_up_costs_no_products():
    tied, own = Llama(shape()), Llama(shape(is_tied=False))
    assert tied.multiplied_weights() == tied.parameter_count()
    assert own.parameter_count() - own.multiplied_weights() == 97 * 64
    assert tied.flops_per_token(32) == own.flops_per_token(32)


def test_context_is_kept(ids):
    model = llama(context=32)
    with pytest.raises(ValueError, match="40 tokens do not fit the context of 32"):
        model(ids)
    assert model.continue_greedily(ids[:1, :30], 10).shape[1] <= 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_bias": True}, "no biases"),
        ({"hidden_act": "gelu"}, "SiLU"),
        *(
            (
                {"rope_parameters": {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}},
                f"of the type {kind}",
            )
            for kind in ("linear", "dynamic", "yarn", "longrope")
        ),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "turns part of a head"),
        ({"use_sliding_window": True}, "sees a window of positions"),
    ],
)
def test_other_kinds_of_llama_are_refused(change, message):
    config = LlamaConfig(vocab_size=97, hidden_size=32, num_attention_heads=4, num_key_value_heads=4)
    for name, value in change.items():
        setattr(config, name, value)
    with pytest.raises(ValueError, match=message):
        LlamaShape.from_hugging_face(config)


def test_checkpoint_of_another_family_is_told_where_to_load_it(tmp_path):
    MistralConfig(hidden_size=32, num_attention_heads=4).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"kind mistral is no Llama and no Qwen3; Transformers loads it"):
        Llama.load(tmp_path)


@pytest.mark.parametrize("size", ["quickstart", "cpu", "124M"])
def test_named_sizes_have_about_the_weights_of_that_gpt(size):
    from tasks.models.gpt import GPT

    with torch.device("meta"):
        ours, theirs = (
            kind.from_settings(PretrainConfig(architecture=name, size=size), 2048, 0).parameter_count()
            for name, kind in (("llama", Llama), ("gpt2", GPT))
        )
    assert ours == pytest.approx(theirs, rel=0.15)


def test_named_sizes_of_smollm2_are_its_own():
    with torch.device("meta"):
        model = Llama.from_settings(PretrainConfig(architecture="llama", size="135M"), 49152, 0)
    assert model.parameter_count() == 134_515_008
    assert set(LLAMA_SIZES) >= {"135M", "360M"}


def test_real_weights_give_the_logits_of_transformers(smollm2_folder):
    ids = torch.tensor([[504, 3575, 282, 4649, 314, 7042, 30, 216, 34, 99, 1203, 77]])
    with torch.no_grad():
        ours = Llama.load(smollm2_folder).eval()(ids)
        theirs = AutoModelForCausalLM.from_pretrained(smollm2_folder, dtype=torch.float32).eval()(ids).logits
    assert torch.allclose(ours, theirs, atol=1e-3)
    assert torch.equal(ours.argmax(-1), theirs.argmax(-1))


# As a pipeline trains it

LLAMA = PretrainConfig(
    architecture="llama",
    size="2x4x32",
    key_heads=2,
    qk_norm=True,
    context=16,
    steps=30,
    batch_size=4,
    learning_rate=1e-2,
    muon_learning_rate=2e-2,
    optimizer="muon",
    document_mask=True,
    warmup=3,
    eval_every=15,
    device="cpu",
)
TEXTS = ["The cat sat on the mat.", "A dog lay by the door.", "The bird sang in the tree."] * 8


@pytest.fixture(scope="module")
def llama_tokens(tmp_path_factory):
    return tokens_of(TEXTS, tmp_path_factory.mktemp("llama"), validation=0.2)


@pytest.fixture(scope="module")
def pretrained_llama(llama_tokens, tmp_path_factory):
    """Refused by the preflight, were one of its checks to fail."""
    return trained(LLAMA, llama_tokens, tmp_path_factory.mktemp("run"))


def test_pretraining_checks_and_trains_a_llama(pretrained_llama):
    losses = [entry["train_loss"] for entry in history_in(pretrained_llama)]
    assert losses[-1] < 0.6 * losses[0]
    folder = pretrained_llama.out / "model"
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(2, 14)[None]
    assert torch.allclose(Llama.load(folder).eval()(ids), theirs(ids).logits, atol=1e-4)


def test_killed_llama_ends_with_the_same_bits(pretrained_llama, llama_tokens, tmp_path):
    with pytest.raises(Stopped):
        trained(LLAMA, llama_tokens, tmp_path, progress=stopping_after(20))
    assert same_outputs(trained(LLAMA, llama_tokens, tmp_path), pretrained_llama)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "gpt2", "key_heads": 2, "qk_norm": False}, "go with architecture: llama"),
        ({"dropout": 0.1}, "a Llama has no dropout"),
        ({"key_heads": 3}, "must be a multiple of it"),
        ({"size": "2x4x36", "key_heads": 4}, "the width of a head must be even"),
        ({"size": "774M"}, "neither one of quickstart, cpu, 124M, 135M, 360M"),
        ({"model": "owner/name"}, "model brings its own architecture"),
    ],
)
def test_settings_that_do_not_fit_a_llama_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**LLAMA.model_dump() | settings)
