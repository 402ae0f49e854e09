"""What a step does: which parameters decay, what Muon makes of a gradient, how the rates move."""

from itertools import pairwise

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.config import PretrainConfig
from tasks.models.architectures import HuggingFaceCausal
from tasks.models.gpt import GPT, GPTConfig
from tasks.models.optimizers import MOMENTUM, hidden_matrices, make_optimizers, orthogonalised
from tasks.pretrain.loop import Trainer
from tasks.pretrain.result import write_result
from tasks.pretrain.schedule import lr_multiplier
from tests.pretrain.training import MUON_APART, SMALL, changed, curve, trained
from tests.runs import stage_run_in

WIDTH = 32


def small_gpt(seed=1):
    torch.manual_seed(seed)
    return GPT(GPTConfig(vocab_size=50, context=8, layers=2, heads=2, width=WIDTH))


def optimizers_of(model, **fields):
    return make_optimizers(model, PretrainConfig(**{"optimizer": "muon", "device": "cpu"} | fields))


def names_in(model, optimizer):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]


def snapshot(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def spread(rows, columns, seed):
    """A matrix whose singular values lie between 0.05 and 1."""
    draw = torch.Generator().manual_seed(seed)
    rank = min(rows, columns)
    left, _ = torch.linalg.qr(torch.randn(rows, rank, generator=draw))
    right, _ = torch.linalg.qr(torch.randn(columns, rank, generator=draw))
    return left @ torch.diag(torch.logspace(-1.3, 0, rank)) @ right.T


def set_gradients(model, seed=0):
    """Well-conditioned for every matrix; each third of c_attn a thousand times the one before."""
    for at, (name, parameter) in enumerate(model.named_parameters()):
        if parameter.dim() < 2:
            parameter.grad = torch.randn_like(parameter)
        elif name.endswith("c_attn.weight"):
            thirds = [spread(WIDTH, WIDTH, 100 * seed + 3 * at + part) for part in range(3)]
            parameter.grad = torch.cat([10.0 ** (3 * part) * t for part, t in enumerate(thirds)], dim=1)
        else:
            parameter.grad = spread(*parameter.shape, 100 * seed + 3 * at)


# Groups


def test_biases_and_norms_are_not_decayed():
    model = small_gpt()
    (adamw,) = make_optimizers(model, SMALL)
    assert [group["weight_decay"] for group in adamw.param_groups] == [SMALL.weight_decay, 0]
    decayed, spared = names_in(model, adamw)
    assert spared == {name for name in snapshot(model) if "ln_" in name or "bias" in name}
    assert decayed | spared == set(snapshot(model))


def test_muon_moves_matrices_of_the_blocks_and_adamw_the_rest():
    model = small_gpt()
    adamw, muon = optimizers_of(model)
    hidden = {
        f"transformer.h.{layer}.{name}.weight"
        for layer in range(2)
        for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    }
    assert set().union(*names_in(model, muon)) == hidden
    embeddings, vectors = names_in(model, adamw)
    assert embeddings == {"transformer.wte.weight", "transformer.wpe.weight"}
    assert embeddings | vectors == set(snapshot(model)) - hidden


def test_matrices_of_hugging_face_models_are_those_of_blocks():
    shape = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    model = HuggingFaceCausal(LlamaForCausalLM(shape))
    hidden = hidden_matrices(model)
    assert len(hidden) == 2 * 7
    assert all(".layers." in name and name.endswith("_proj.weight") for name in hidden)
    adamw, muon = optimizers_of(model)
    embeddings, _ = names_in(model, adamw)
    assert embeddings == {"model.model.embed_tokens.weight", "model.lm_head.weight"}
    assert sum(map(len, names_in(model, muon))) == len(hidden)


# Muon


@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (128, 128), (16, 64), (32, 128), (8, 512)], ids=str)
def test_an_orthogonalised_matrix_has_singular_values_near_one(shape):
    matrices = torch.stack([spread(*shape, seed) * scale for seed, scale in enumerate((1e-4, 1.0, 1e4))])
    values = torch.linalg.svdvals(orthogonalised(matrices.bfloat16()).float())
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_a_zero_gradient_moves_nothing():
    assert not orthogonalised(torch.zeros(2, 4, 8, dtype=torch.bfloat16)).any()


def test_muon_step_is_orthogonal_for_matrices_of_every_shape():
    """Each third of c_attn by itself: as one, the largest third would leave the others nothing."""
    model = small_gpt()
    _, muon = optimizers_of(model, weight_decay=0, muon_learning_rate=0.5)
    before = snapshot(model)
    set_gradients(model)
    muon.step()
    hidden = hidden_matrices(model)
    for name, weight in hidden.items():
        moved = before[name] - weight.detach()
        for part in moved.split(WIDTH, dim=1) if "c_attn" in name else [moved]:
            values = torch.linalg.svdvals(part) / (0.5 * 0.2 * max(part.shape) ** 0.5)
            assert 0.6 < values.min() < values.max() < 1.3, name
    rest = set(before) - set(hidden)
    assert all(torch.equal(before[name], snapshot(model)[name]) for name in rest)


def plainly(weight, gradients, rate, decay):
    """Muon for one matrix as its papers write it: in float64, one thing after another."""
    weight, momentum = weight.double(), torch.zeros_like(weight).double()
    for gradient in gradients:
        momentum = MOMENTUM * momentum + (1 - MOMENTUM) * gradient.double()
        x = (1 - MOMENTUM) * gradient.double() + MOMENTUM * momentum
        x = x / x.norm()
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
        weight = weight * (1 - rate * decay) - rate * 0.2 * max(x.shape) ** 0.5 * x
    return weight


@pytest.mark.parametrize(("multiplies", "apart"), [(True, 0.02), (False, 1e-3)], ids=["bfloat16", "float32"])
def test_steps_of_muon_are_those_of_the_paper(monkeypatch, multiplies, apart):
    """In bfloat16, which has 8 bits, where the hardware multiplies in it."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": multiplies})
    model = small_gpt()
    _, muon = optimizers_of(model, weight_decay=0.1, muon_learning_rate=0.02)
    before, gradients = snapshot(model), []
    for seed in range(3):
        set_gradients(model, seed)
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
        muon.step()
    for name, weight in hidden_matrices(model).items():
        parts = 3 if "c_attn" in name else 1
        histories = zip(*(step[name].chunk(parts, dim=1) for step in gradients), strict=True)
        expected = torch.cat(
            [
                plainly(start, history, 0.02, 0.1)
                for start, history in zip(before[name].chunk(parts, dim=1), histories, strict=True)
            ],
            dim=1,
        )
        moved = (expected - before[name]).norm()
        assert (weight.detach() - expected).norm() < apart * moved, name


def test_muon_trains(documents, tmp_path):
    config = PretrainConfig(
        **MUON_APART.model_dump() | {"dropout": 0, "steps": 30, "eval_every": 30, "accumulation": 1}
    )
    losses = curve(trained(config, documents, tmp_path))
    assert sum(losses[-5:]) / 5 < losses[0] - 0.5


# The schedule


def rates(**fields):
    config = changed(**{"learning_rate": 1.0, "min_learning_rate": None} | fields)
    return [lr_multiplier(config, step) for step in range(config.steps)]


def test_the_learning_rate_warms_up_and_ends_at_its_minimum():
    found = rates(min_learning_rate=0.2, warmup=4, steps=13)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert found[8] == pytest.approx(0.6)  # half way down
    assert found[12] == pytest.approx(0.2)
    assert all(later < earlier for earlier, later in pairwise(found[4:]))


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert rates(min_learning_rate=0.0, warmup=0, steps=3) == pytest.approx([1.0, 0.5, 0.0])
    assert rates(min_learning_rate=0.0, warmup=0, steps=1) == [1.0]


def test_the_lowest_rate_is_a_tenth_unless_configured():
    assert rates(steps=20)[-1] == pytest.approx(0.1)
    assert rates(steps=20, learning_rate=0.5, min_learning_rate=0.01)[-1] == pytest.approx(0.02)


def test_wsd_stays_and_then_falls_linearly():
    found = rates(schedule="wsd", warmup=2, steps=20, decay=0.25, min_learning_rate=0.5)
    assert found == pytest.approx([0.5] + [1.0] * 14 + [0.9, 0.8, 0.7, 0.6, 0.5])


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_warm_up_longer_than_the_training_only_warms_up(schedule):
    assert rates(schedule=schedule, warmup=10, steps=4) == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_schedule_rates_are_those_that_were_stepped_with(tokens, tmp_path):
    """Muon's falls by the same share as AdamW's."""
    config, stepped = changed(optimizer="muon", muon_learning_rate=0.05), []

    def recording(optimizer, *_):
        stepped.append((type(optimizer).__name__, optimizer.param_groups[0]["lr"]))

    trainer = Trainer(config, stage_run_in(tmp_path), tokens)
    trainer.prepare()
    hook = register_optimizer_step_pre_hook(recording)
    try:
        trainer.fit()
    finally:
        hook.remove()
    write_result(trainer)
    shares = [lr_multiplier(config, step) for step in range(config.steps)]
    assert [rate for name, rate in stepped if name == "AdamW"] == [config.learning_rate * x for x in shares]
    assert [rate for name, rate in stepped if name == "Muon"] == [0.05 * x for x in shares]
    assert curve(trainer.run, "learning_rate") == [config.learning_rate * x for x in shares]
