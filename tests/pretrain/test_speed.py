"""Speeds that are told: of every token, of no warm-up step, against this machine."""

import json
import shutil

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tasks.config import PretrainConfig
from tasks.data.token_files import load_tokens
from tasks.errors import StageError
from tasks.models.architectures import HuggingFaceCausal, build_model
from tasks.models.gpt import GPT, GPTConfig
from tasks.models.kernels import PLAIN, Kernels
from tasks.pretrain import speed
from tasks.pretrain.speed import (
    UNTIMED_STEPS,
    Clock,
    matrix_rate,
    pick_compile,
    pick_kernels,
    pick_precision,
)
from tests.pretrain.training import changed, curve, history_in, same_outputs, trained
from tests.runs import weights_in

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_clock_drops_first_steps_from_steady_speed_not_total(monkeypatch):
    now = iter([100.0, 116.0])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(now))
    clock = Clock(warm_at=12)
    clock._began = next(now)
    clock.count(12, seconds=5.0, tokens=640)
    assert clock.tokens_per_second() is None
    for step in (13, 14):
        clock.count(step, seconds=2.0, tokens=640)
    assert clock.tokens_per_second() == 320
    assert clock.tokens_per_second_all_told() == 3 * 640 / 16


def test_every_micro_batch_counts(tokens, tmp_path, monkeypatch):
    """Pitfall 19: 2 rows x 3 micro-batches x 16 tokens a step, the first five steps not timed."""
    counted, count = [], Clock.count

    def recording(clock, step, seconds, tokens):
        counted.append((step, tokens))
        count(clock, step, seconds, tokens)
        clock.seconds = 2.0 if clock.tokens else 0.0

    monkeypatch.setattr(Clock, "count", recording)
    run = trained(changed(accumulation=3), tokens, tmp_path)
    assert counted == [(step, 96) for step in range(1, 10)]
    assert run.metrics["tokens_per_second"] == (9 - UNTIMED_STEPS) * 96 / 2.0


def test_what_the_speed_file_tells(tokens, tmp_path):
    config = changed()
    run = trained(config, tokens, tmp_path)
    told = json.loads((run.auxiliary / "speed.json").read_text())
    assert (told["device"].split()[0], told["processes"], told["threads"]) == ("cpu", 1, 1)
    assert (told["precision"], told["compiled"]) == ("float32", False)
    model = build_model(config, load_tokens(tokens))
    assert told["flops_per_token"] == model.flops_per_token(16)
    assert told["tokens_per_second"] > told["tokens_per_second_all_told"] > 0
    share = told["tokens_per_second"] * told["flops_per_token"] / told["matrix_flops_per_second"]
    assert told["utilisation"] == pytest.approx(share)
    assert not (run.out / "speed.json").exists(), "a speed is no part of the result"


def test_a_training_of_a_few_steps_has_no_steady_speed(tokens, tmp_path):
    run = trained(changed(steps=UNTIMED_STEPS), tokens, tmp_path)
    told = json.loads((run.auxiliary / "speed.json").read_text())
    assert (told["tokens_per_second"], told["utilisation"]) == (None, None)
    assert told["tokens_per_second_all_told"] > 0


def test_operations_of_a_hugging_face_model_are_counted_as_ours(documents, tmp_path):
    files = load_tokens(documents)
    ours = GPT(GPTConfig(files.vocab_size, 16, 2, 2, 16, end_token=files.end_token))
    ours.save(tmp_path)
    theirs = build_model(changed(model=str(tmp_path), dropout=0), files)
    assert theirs.parameter_count() == ours.parameter_count()
    assert theirs.flops_per_token(16) == ours.flops_per_token(16)


def test_own_head_is_multiplied_by_and_its_embedding_is_not():
    """A Llama of one layer, 8 wide: head, four projections, three of 8 x 12, three norms; 10 positions."""
    shape = LlamaConfig(
        vocab_size=30, hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2
    )
    multiplied = 30 * 8 + 4 * 8 * 8 + 3 * 8 * 12 + 3 * 8
    model = HuggingFaceCausal(LlamaForCausalLM(shape))
    assert model.parameter_count() == multiplied + 30 * 8
    assert model.flops_per_token(10) == 6 * multiplied + 12 * 1 * 8 * 10


def test_the_matrix_rate_is_of_a_product():
    assert 1e6 < matrix_rate(CPU, "float32") < 1e15


@pytest.mark.parametrize(
    ("asked", "capabilities", "context", "width", "picked"),
    [
        ("float32", {"amx_bf16": True}, 256, 768, "float32"),
        ("bfloat16", {}, 256, 16, "bfloat16"),
        ("auto", {}, 256, 768, "float32"),
        ("auto", {"avx2": True, "avx512_bf16": False}, 256, 768, "float32"),
        ("auto", {"avx512_bf16": True}, 256, 768, "bfloat16"),
        ("auto", {"amx_bf16": True}, 129, 256, "bfloat16"),
        ("auto", {"amx_bf16": True}, 129, 255, "float32"),
        ("auto", {"bf16": True}, 256, 256, "bfloat16"),
        ("auto", {"avx512_bf16": True}, 128, 128, "bfloat16"),
        ("auto", {"avx512_bf16": True}, 128, 127, "float32"),
        ("auto", {"avx512_bf16": False}, 64, 128, "float32"),
    ],
)
def test_the_precision_that_is_picked(monkeypatch, asked, capabilities, context, width, picked):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert pick_precision(PretrainConfig(precision=asked, context=context), CPU, width) == picked


@pytest.mark.parametrize(("has", "warned"), [(True, False), (False, True)])
def test_bfloat16_by_choice_is_warned_of_where_it_is_emulated(monkeypatch, caplog, has, warned):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": has})
    pick_precision(PretrainConfig(precision="bfloat16"), CPU, 768)
    assert ("CPU does not multiply in it and emulates it" in caplog.text) is warned


@pytest.mark.parametrize(("native", "picked"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_that_only_emulates_bfloat16_is_not_slowed_by_it(monkeypatch, native, picked):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation
    )
    assert pick_precision(PretrainConfig(), GPU, 768) == picked


@pytest.mark.parametrize(
    ("asked", "device", "steps", "picked"),
    [
        ("auto", CPU, 10_000, False),
        ("auto", GPU, 499, False),
        ("auto", GPU, 500, True),
        ("always", CPU, 1, True),
        ("never", GPU, 10_000, False),
    ],
)
def test_when_the_model_is_compiled(monkeypatch, asked, device, steps, picked):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert pick_compile(PretrainConfig(compile=asked, steps=steps), device) is picked


def test_without_a_compiler_nothing_is_compiled_unless_asked(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not pick_compile(PretrainConfig(steps=10_000), GPU)
    with pytest.raises(StageError, match=r"compile is always, but there is no g\+\+.*install it"):
        pick_compile(PretrainConfig(compile="always"), CPU)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++")
def test_a_compiled_training_has_the_same_losses(documents, tmp_path):
    plain, compiled = (
        trained(
            changed(size="1x2x16", compile=compile_, dropout=0, learning_rate=1e-3, document_mask=True),
            documents,
            tmp_path / compile_,
        )
        for compile_ in ("never", "always")
    )
    assert json.loads((compiled.auxiliary / "speed.json").read_text())["compiled"]
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        assert curve(compiled, name) == pytest.approx(curve(plain, name), rel=1e-4)
    assert weights_in(compiled).keys() == weights_in(plain).keys()


def test_kernels_are_picked_for_a_gpu_where_they_help(tokens):
    files = load_tokens(tokens)
    wide = changed(size="2x2x32", context=16, batch_size=2, document_mask=True, dropout=0.0)
    model = build_model(wide, files)
    assert pick_kernels(wide, CPU, "float32", model) == PLAIN
    assert pick_kernels(wide, GPU, "bfloat16", model) == Kernels(True, 128, True)
    assert pick_kernels(wide, GPU, "float32", model) == Kernels(True, 128, False)
    narrow = changed(size="2x2x32", context=4, batch_size=2, dropout=0.0)  # 8 tokens, 32 wide
    assert pick_kernels(narrow, GPU, "bfloat16", model) == Kernels(False, 128, False)
    assert pick_kernels(changed(kernels="plain"), GPU, "bfloat16", model) == PLAIN
    dropping = changed(size="2x2x32", document_mask=True, dropout=0.1)
    assert not pick_kernels(dropping, GPU, "bfloat16", model).varlen


def test_a_training_by_other_kernels_is_that_of_the_plain_ones(tokens, tmp_path, monkeypatch):
    plain = trained(changed(document_mask=True), tokens, tmp_path / "plain")
    monkeypatch.setattr("tasks.pretrain.loop.pick_kernels", lambda *_: Kernels(True, 128))
    other = trained(changed(document_mask=True), tokens, tmp_path / "other")
    assert curve(other) == pytest.approx(curve(plain), rel=1e-3)
    for name, tensor in weights_in(plain).items():
        assert weights_in(other)[name].shape == tensor.shape


def test_steps_that_are_read_together_leave_the_same_history(tokens, tmp_path, monkeypatch):
    """Evaluations at 2, 4, 6, 8 and 9 read what is unread before they are written themselves."""
    one = trained(changed(), tokens, tmp_path / "one")
    monkeypatch.setitem(speed.READ_EVERY, "cpu", 5)
    together = trained(changed(), tokens, tmp_path / "together")
    assert same_outputs(one, together)
    assert [entry["step"] for entry in history_in(together)] == list(range(1, 10))


def test_loss_that_is_read_late_is_told_with_its_step(tokens, tmp_path, monkeypatch):
    monkeypatch.setitem(speed.READ_EVERY, "cpu", 50)
    monkeypatch.setattr(
        "tasks.pretrain.loop.Trainer._loss_sum",
        lambda self, model, batch: (
            model(batch.inputs, batch.labels) * (float("nan") if self.progress.step == 2 else 1.0)
        ),
    )
    with pytest.raises(StageError, match="training loss became nan at step 3"):
        trained(changed(eval_every=9), tokens, tmp_path)
