"""The GPT room: the same function as the reference implementation, and no position that sees a later one."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from tasks.config import SIZES
from tasks.data.token_files import IGNORED
from tasks.models.causal import WEIGHTS, Cache, mask_between, positions_within
from tasks.models.gpt import GPT, GPTConfig

VOCAB, CONTEXT, END = 300, 16, 0
CONFIG = GPTConfig(vocab_size=VOCAB, context=CONTEXT, layers=2, heads=2, width=32, end_token=END)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_gpt(config=CONFIG, seed=1):
    """Weights far from their small initial values, biases and norms too, so that no term hides."""
    torch.manual_seed(seed)
    model = GPT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def random_gpt2(seed=2):
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_positions=CONTEXT, n_layer=2, n_head=2, n_embd=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model.eval()


def random_ids(batch=3, time=CONTEXT, seed=3):
    return torch.randint(0, VOCAB, (batch, time), generator=torch.Generator().manual_seed(seed))


def assert_same_logits(ours, theirs):
    ids = random_ids()
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), theirs(input_ids=ids).logits, atol=1e-5, rtol=0)


# The same function as Hugging Face's GPT-2 (pitfall 14)


def test_what_we_save_computes_the_same_in_transformers(tmp_path):
    ours = random_gpt()
    ours.save(tmp_path)
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs) is GPT2LMHeadModel
    assert {name: len(found) for name, found in info.items()} == dict.fromkeys(info, 0)
    assert_same_logits(ours, theirs.eval())


def test_what_transformers_saves_computes_the_same_here(tmp_path):
    theirs = random_gpt2()
    theirs.save_pretrained(tmp_path)
    assert_same_logits(GPT.load(tmp_path).eval(), theirs)


def test_a_checkpoint_survives_the_way_there_and_back(tmp_path):
    ours = random_gpt()
    ours.save(tmp_path)
    again = GPT.load(tmp_path)
    assert again.config == CONFIG
    assert again.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in ours.state_dict().items())


def rewritten(folder, change):
    """Save a reference GPT-2 with its weights passed through `change`, a function of names to tensors."""
    theirs = random_gpt2()
    theirs.save_pretrained(folder)
    weights = change(load_file(folder / WEIGHTS))
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    return theirs


def with_causal_masks(weights):
    """As the oldest checkpoints, OpenAI's own upload among them, keep them."""
    mask = torch.ones(1, 1, CONTEXT, CONTEXT).tril()
    masks = {f"transformer.h.{layer}.attn.bias": mask.clone() for layer in range(2)}
    biases = {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in range(2)}
    return weights | masks | biases


NAMINGS = {
    "without the prefix": lambda w: {name.removeprefix("transformer."): t for name, t in w.items()},
    "compiled": lambda w: {f"_orig_mod.{name}": t for name, t in w.items()},
    "with a stored head": lambda w: w | {"lm_head.weight": w["transformer.wte.weight"].clone()},
    "compiled with a stored head": lambda w: {
        f"_orig_mod.{name}": t
        for name, t in (w | {"lm_head.weight": w["transformer.wte.weight"].clone()}).items()
    },
    "with causal masks": with_causal_masks,
    "masks without the prefix": lambda w: {
        name.removeprefix("transformer."): t for name, t in with_causal_masks(w).items()
    },
}


@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_of_a_gpt2_checkpoint_is_read(tmp_path, naming):
    theirs = rewritten(tmp_path, NAMINGS[naming])
    assert_same_logits(GPT.load(tmp_path).eval(), theirs)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda w: {name: t for name, t in w.items() if name != "transformer.h.1.mlp.c_fc.weight"},
            r"transformer\.h\.1\.mlp\.c_fc\.weight",
        ),
        (lambda w: w | {"transformer.h.2.ln_1.weight": torch.ones(32)}, r"transformer\.h\.2\.ln_1\.weight"),
        (
            lambda w: {n: t.t() if n == "transformer.h.0.mlp.c_fc.weight" else t for n, t in w.items()},
            r"transformer\.h\.0\.mlp\.c_fc\.weight is \(128, 32\), expected \(32, 128\)",
        ),
    ],
    ids=["missing", "extra", "transposed"],
)
def test_a_weight_that_does_not_fit_is_named(tmp_path, change, complaint):
    rewritten(tmp_path, change)
    with pytest.raises(ValueError, match=complaint):
        GPT.load(tmp_path)


def test_a_head_that_is_not_the_embedding_is_refused(tmp_path):
    """Pitfall 14: left out in silence, it would give other logits than the checkpoint's."""
    rewritten(tmp_path, lambda w: w | {"lm_head.weight": torch.randn(VOCAB, 32)})
    with pytest.raises(ValueError, match=r"lm_head\.weight"):
        GPT.load(tmp_path)


# Causality (pitfall 12)


def leaks(model):
    """Every (perturbed, moved) pair of positions at which a later token moved an earlier logit."""
    ids = random_ids(batch=1)
    with torch.no_grad():
        before = model(ids)
        found = []
        for position in range(CONTEXT):
            changed = ids.clone()
            changed[0, position] = (changed[0, position] + 1) % VOCAB
            moved = (model(changed) != before).any(dim=-1)[0]
            assert moved[position], "the perturbation itself must be seen"
            found += [(position, earlier) for earlier in range(position) if moved[earlier]]
    return found


def test_no_logit_depends_on_a_later_token():
    assert leaks(random_gpt()) == []


def test_a_leak_would_be_caught(monkeypatch):
    attention = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *args, is_causal, **kw: attention(*args, **kw)
    )
    assert len(leaks(random_gpt())) == CONTEXT * (CONTEXT - 1) / 2


# Packed documents (pitfall 13)

ROWS_OF_DOCUMENTS = st.lists(
    st.lists(st.integers(1, CONTEXT), min_size=1).filter(lambda lengths: sum(lengths) >= CONTEXT),
    min_size=1,
    max_size=3,
).map(lambda rows: [_filling(lengths, CONTEXT) for lengths in rows])


def _filling(lengths, time):
    """As many of the lengths as fill a row, the last cut off."""
    kept = []
    while sum(kept) < time:
        kept.append(min(lengths[len(kept)], time - sum(kept)))
    return kept


def numbered(rows, first=7):
    """Document numbers of shape (rows, time), as a stream gives them: ascending and from anywhere."""
    return torch.stack(
        [torch.repeat_interleave(torch.arange(first, first + len(row)), torch.tensor(row)) for row in rows]
    )


@settings(deadline=None)
@given(rows=ROWS_OF_DOCUMENTS)
def test_packed_documents_equal_the_same_documents_apart(rows):
    model, ids = random_gpt(), random_ids(batch=len(rows))
    with torch.no_grad():
        packed = model(ids, documents=numbered(rows))
        for row, (lengths, tokens) in enumerate(zip(rows, ids, strict=True)):
            apart = torch.cat([model(piece[None])[0] for piece in tokens.split(lengths)])
            torch.testing.assert_close(packed[row], apart, atol=1e-5, rtol=0)


def test_documents_that_are_joined_see_each_other():
    """Else the test above would hold of a model that sees nothing."""
    model, ids, documents = random_gpt(), random_ids(batch=1), numbered([[9, 7]])
    with torch.no_grad():
        joined, packed = model(ids), model(ids, documents=documents)
    torch.testing.assert_close(joined[:, :9], packed[:, :9], atol=1e-5, rtol=0)
    assert not (joined[:, 9:] - packed[:, 9:]).abs().amax(dim=-1).lt(0.1).any()


def test_the_mask_of_packed_documents():
    documents = torch.tensor([[4, 4, 5, 5, 5, 6], [0, 1, 2, 2, 3, 3]])
    assert positions_within(documents).tolist() == [[0, 1, 0, 1, 2, 0], [0, 0, 0, 1, 0, 1]]
    drawn = """
        x . . . . .    x . . . . .
        x x . . . .    . x . . . .
        . . x . . .    . . x . . .
        . . x x . .    . . x x . .
        . . x x x .    . . . . x .
        . . . . . x    . . . . x x
    """
    expected = torch.tensor([[mark == "x" for mark in line.split()] for line in drawn.strip().splitlines()])
    assert torch.equal(mask_between(documents)[:, 0], torch.stack(expected.split(6, dim=1)))


def test_a_cache_holds_one_document():
    with pytest.raises(ValueError, match="documents or a cache, not both"):
        random_gpt()(random_ids(batch=1), documents=numbered([[9, 7]]), cache=Cache())


def test_the_loss_is_a_sum_that_leaves_ignored_labels_out():
    model, ids, labels = random_gpt(), random_ids(seed=4), random_ids(seed=5)
    labels[0, 3:9] = labels[2] = IGNORED
    with torch.no_grad():
        logits = model(ids).log_softmax(dim=-1)
        losses = [
            -logits[row, time, labels[row, time]].item()
            for row in range(3)
            for time in range(CONTEXT)
            if labels[row, time] != IGNORED
        ]
        assert len(losses) == 2 * CONTEXT - 6
        assert model(ids, labels).item() == pytest.approx(sum(losses), rel=1e-5)


# Decoding with a cache


@pytest.mark.parametrize(
    "chunks", [[16], [1] * 16, [15, 1], [1, 15], [5, 6, 5], [8, 1, 1, 6], [2, 3, 5, 4, 2]], ids=str
)
def test_cached_decoding_equals_full_decoding(chunks):
    model, ids = random_gpt(), random_ids()
    cache, parts = Cache(), []
    with torch.no_grad():
        for chunk in ids.split(chunks, dim=1):
            parts.append(model(chunk, cache=cache))
        assert [keys.shape for keys, _ in cache.layers.values()] == [(3, 2, CONTEXT, 16)] * 2
        assert len(cache) == CONTEXT
        torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), atol=1e-5, rtol=0)


def filled(model, ids):
    cache = Cache()
    model(ids, cache=cache)
    return cache


def test_a_cached_chunk_does_not_see_its_own_future():
    """Pitfall 12 in the branch that training never takes: several new positions after a cache."""
    model, ids = random_gpt(), random_ids(batch=1)
    changed = ids.clone()
    changed[0, -1] = (changed[0, -1] + 1) % VOCAB
    with torch.no_grad():
        before, after = (model(new[:, 6:], cache=filled(model, ids[:, :6])) for new in (ids, changed))
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.equal(before[:, -1], after[:, -1])


def test_greedy_continuation_is_that_of_transformers(tmp_path):
    ours = random_gpt()
    ours.save(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    ids = random_ids(batch=1, time=4)
    expected = theirs.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
    assert torch.equal(ours.continue_greedily(ids, 12), expected)


def test_continuation_stops_at_the_end_token_and_at_the_context():
    model, ids = random_gpt(), random_ids(batch=1, time=4)
    free = model.continue_greedily(ids, 1000)
    assert free.shape == (1, CONTEXT)
    second = int(free[0, 5])
    ending = random_gpt(GPTConfig(**vars(CONFIG) | {"end_token": second}))
    stop = free[0, 4:].tolist().index(second)
    assert ending.continue_greedily(ids, 1000).tolist() == free[:, : 5 + stop].tolist()


def test_continuation_leaves_the_mode_as_it_was():
    model = random_gpt().train()
    model.continue_greedily(random_ids(batch=1, time=4), 2)
    assert model.training


def test_a_sequence_longer_than_the_context_is_refused():
    model = random_gpt()
    with pytest.raises(ValueError, match="17 tokens do not fit the context of 16"):
        model(random_ids(time=CONTEXT + 1))
    with pytest.raises(ValueError, match="17 tokens do not fit the context of 16"):
        model(random_ids(time=1), cache=filled(model, random_ids()))


# Initialisation, size, dropout


def test_the_initial_loss_is_that_of_a_uniform_guess():
    torch.manual_seed(0)
    model, ids = GPT(CONFIG).eval(), random_ids(batch=32)
    with torch.no_grad():
        loss = F.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(VOCAB), abs=0.05)


def test_residual_projections_start_smaller_with_depth():
    torch.manual_seed(0)
    deep = GPT(GPTConfig(vocab_size=VOCAB, context=CONTEXT, layers=8, heads=2, width=64))
    for name, parameter in deep.named_parameters():
        if name.endswith("c_proj.weight"):
            assert parameter.std().item() == pytest.approx(0.02 / 4, rel=0.05)
        elif parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize(
    ("size", "parameters"), [("124M", 124_439_808), ("355M", 354_823_168), ("774M", 774_030_080)]
)
def test_a_named_size_has_gpt2s_parameter_count(size, parameters):
    layers, heads, width = SIZES[size]
    with torch.device("meta"):
        model = GPT(GPTConfig(vocab_size=50257, context=1024, layers=layers, heads=heads, width=width))
    assert model.parameter_count() == parameters


def test_dropout_acts_in_training_only():
    model = random_gpt(GPTConfig(**vars(CONFIG) | {"dropout": 0.5}))
    plain = random_gpt()
    ids = random_ids()
    with torch.no_grad():
        assert torch.equal(model(ids), plain(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))


def test_operations_a_token_are_those_counted_by_hand():
    """GPT-2 124M over 1024 tokens, as PaLM counts them (appendix B)."""
    layers, heads, width = SIZES["124M"]
    with torch.device("meta"):
        model = GPT(GPTConfig(vocab_size=50257, context=1024, layers=layers, heads=heads, width=width))
    # 124,439,808 weights less 1024 x 768 positions; 12 layers x 768 wide x 1024 keys
    assert model.flops_per_token(1024) == 6 * 123_653_376 + 12 * 12 * 768 * 1024 == 855_166_464
