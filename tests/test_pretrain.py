"""The pretraining room: no token twice, losses that are means over tokens, a kill that changes no bit."""

import json
import math
import multiprocessing
import os
import signal
from itertools import pairwise
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks import pretrain as room
from tasks.config import PretrainConfig, TokenizeConfig
from tasks.device import pick_device
from tasks.errors import StageError
from tasks.gpt import GPT
from tasks.manifest import sha256_of
from tasks.pretrain import Blocks, Trainer, evaluate, learning_rate, make_optimizer, pretrain
from tasks.record import StageRun
from tasks.tokenize import tokenize

# Dropout is on, so that a lost random state shows (pitfall 18).
SMALL = PretrainConfig(
    size="2x2x16",
    context=16,
    dropout=0.1,
    steps=9,
    batch_size=2,
    accumulation=2,
    learning_rate=1e-2,
    min_learning_rate=1e-3,
    warmup=3,
    eval_every=2,
    sample_prompt="The",
    device="cpu",
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Two threads that wait for each other take many times as long on a machine that does other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def changed(**fields):
    return PretrainConfig(**SMALL.model_dump() | fields)


def stage_run_in(folder, **watching):
    return StageRun(
        out=folder / "output", aside=folder / "aside", checkpoint=folder / "checkpoint", **watching
    )


def tokens_of(text, folder, **config):
    (folder / "corpus").mkdir()
    (folder / "corpus" / "text.txt").write_text(text, encoding="utf-8")
    run = stage_run_in(folder)
    tokenize(TokenizeConfig(**{"vocab_size": 300} | config), run, corpus=folder / "corpus")
    return run.out


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return tokens_of(topics["assignment"][:6000], tmp_path_factory.mktemp("tokens"))


def trained(config, tokens, folder, **watching):
    run = stage_run_in(folder, **watching)
    pretrain(config, run, tokens=tokens)
    return run


@pytest.fixture(scope="module")
def uninterrupted(tokens, tmp_path_factory):
    return trained(SMALL, tokens, tmp_path_factory.mktemp("uninterrupted"))


def weights_in(run):
    return load_file(run.out / "model" / "model.safetensors")


def history_in(run, name="train_loss"):
    lines = (run.out / "history.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if name in entry]


# The order of the data


@given(length=st.integers(9, 200), context=st.integers(1, 8), seed=st.integers(0, 2**32), epochs=st.just(3))
def test_an_epoch_predicts_no_token_twice_and_leaves_out_less_than_two_blocks(length, context, seed, epochs):
    blocks = Blocks(np.arange(length), context, seed)
    for epoch in range(epochs):
        seen = []
        while not seen or blocks.taken < len(blocks._order):
            inputs, labels = blocks.batch(1)
            assert labels.tolist() == (inputs + 1).tolist()
            seen += labels.flatten().tolist()
        assert blocks.epoch == epoch
        assert len(seen) == len(set(seen)) > length - 1 - 2 * context


def test_an_epoch_has_an_order_drawn_from_the_seed():
    def first_tokens(seed, count=24):
        return Blocks(np.arange(100), 4, seed).batch(count)[0][:, 0].tolist()

    assert first_tokens(1) == first_tokens(1)
    assert first_tokens(1) != first_tokens(2)
    one = first_tokens(1, 48)
    assert one != sorted(one)
    assert one[:24] != one[24:], "the second epoch has another order"


@given(before=st.integers(0, 60), size=st.integers(1, 5))
def test_blocks_continue_where_they_were(before, size):
    whole = Blocks(np.arange(50), 4, 7)
    for _ in range(before):
        whole.batch(1)
    rest = Blocks(np.arange(50), 4, 7, whole.epoch, whole.taken)
    for _ in range(10):
        assert torch.equal(rest.batch(size)[0], whole.batch(size)[0])


def test_a_corpus_shorter_than_the_context_is_refused_with_what_to_do():
    assert Blocks(np.arange(17), 16, 1).batch(1)[0].tolist() == [list(range(16))]
    with pytest.raises(StageError, match=r"has 16 tokens; a context of 16 needs 17.*lower pretrain\.context"):
        Blocks(np.arange(16), 16, 1)


def test_labels_are_shifted_once(tmp_path):
    """Shifted never, a model trained on a cycle would repeat its letter; shifted twice, it would skip one."""
    tokens = tokens_of("abcdefgh" * 200, tmp_path, kind="char")
    config = changed(dropout=0, steps=40, batch_size=8, eval_every=40, sample_prompt="ab")
    run = trained(config, tokens, tmp_path / "run")
    sample = (run.aside / "samples.txt").read_text().splitlines()[1]
    assert sample == ("abcdefgh" * 10)[: len(sample)]
    assert len(sample) == config.context


# The loss


def recorded_blocks(monkeypatch):
    drawn, draw = [], Blocks._next

    def recording(blocks):
        drawn.append(draw(blocks).tolist())
        return np.array(drawn[-1])

    monkeypatch.setattr(Blocks, "_next", recording)
    return drawn


def test_accumulation_changes_neither_losses_nor_weights(tokens, tmp_path, monkeypatch):
    """Pitfall 17: 8x1, 2x4 and 4x2 see the same blocks and make the same steps, to float32 rounding."""
    runs, order = {}, {}
    for batch, accumulation in ((8, 1), (2, 4), (4, 2)):
        with monkeypatch.context() as patch:
            drawn = recorded_blocks(patch)
            config = changed(dropout=0, batch_size=batch, accumulation=accumulation, learning_rate=1e-3)
            runs[batch] = trained(config, tokens, tmp_path / str(batch))
            order[batch] = drawn
    assert order[8] == order[2] == order[4]
    assert len(order[8]) == 8 * SMALL.steps
    for other in (2, 4):
        for name in ("train_loss", "gradient_norm", "validation_loss"):
            ours, theirs = ([e[name] for e in history_in(runs[size], name)] for size in (8, other))
            assert theirs == pytest.approx(ours, rel=1e-5)
        for name, weight in weights_in(runs[8]).items():
            torch.testing.assert_close(weights_in(runs[other])[name], weight, atol=1e-5, rtol=0)


class FavoursZero:
    """Whatever it reads, token 0 has probability 3/4 and token 1 has 1/4."""

    def eval(self):
        return self

    def __call__(self, input_ids):
        return torch.tensor([math.log(3), 0.0]).expand(*input_ids.shape, 2), None


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_evaluation_is_a_mean_over_tokens(batch_size):
    """Pitfall 20: two blocks of four labels and one of one, which a mean of means would weigh as much."""
    tokens = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], dtype=np.uint16)
    config = changed(context=4, batch_size=batch_size)
    loss, predicted = evaluate(FavoursZero(), tokens, config, torch.device("cpu"))
    common, rare = math.log(4 / 3), math.log(4)
    assert predicted == 9
    assert loss == pytest.approx((8 * common + rare) / 9, rel=1e-6)
    assert loss != pytest.approx((common + common + rare) / 3, rel=0.1)


def test_evaluation_equals_the_reference_implementation(uninterrupted, tokens):
    """The best loss of the history, recomputed from the written folder by transformers, block by block."""
    model = AutoModelForCausalLM.from_pretrained(uninterrupted.out / "model").eval()
    validation = torch.from_numpy(np.fromfile(tokens / "validation.bin", dtype=np.uint16).astype(np.int64))
    losses = []
    for start in range(0, len(validation) - 1, SMALL.context):
        block = validation[start : start + SMALL.context + 1]
        with torch.no_grad():
            logits = model(block[None, :-1]).logits[0]
        losses += F.cross_entropy(logits, block[1:], reduction="none").tolist()
    assert len(losses) == len(validation) - 1
    assert len(losses) % SMALL.context, "the case is to have a ragged last block"
    best = json.loads((uninterrupted.out / "summary.json").read_text())
    assert best["best_validation_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert best["best_perplexity"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


def test_bits_per_byte_count_the_bytes_of_the_text(tmp_path):
    """Pitfall 20: neither tokens nor characters nor decoded text, which unknown characters would shorten."""
    text = "学而时习之,不亦说乎?" * 60
    tokens = tokens_of(text, tmp_path, kind="char", validation=0.25)
    facts = json.loads((tokens / "tokens.json").read_text())
    held_out = text[-len(text) // 4 :]
    assert facts["validation"] == {"tokens": len(held_out) + 1, "bytes": len(held_out.encode())}
    run = trained(changed(steps=2), tokens, tmp_path / "run")
    (entry,) = history_in(run, "bits_per_byte")
    nats = entry["validation_loss"] * len(held_out)
    assert entry["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(held_out.encode()), rel=1e-12)


@pytest.mark.parametrize("eval_every", [1, 100])
def test_a_loss_that_is_not_a_number_is_an_error(tokens, tmp_path, eval_every):
    config = changed(learning_rate=1e30, warmup=0, eval_every=eval_every)
    with pytest.raises(StageError, match=r"loss became (nan|inf) at step.*Lower pretrain\.learning_rate"):
        trained(config, tokens, tmp_path)
    assert not (tmp_path / "output" / "model").exists()


def test_a_last_step_that_ruins_the_model_is_an_error(tokens, tmp_path):
    """The training loss of a step is taken before it: only the evaluation sees what the last one did."""
    with pytest.raises(StageError, match=r"validation loss became (nan|inf) at step 1"):
        trained(changed(learning_rate=1e30, warmup=0, steps=1), tokens, tmp_path)
    assert not (tmp_path / "output" / "model").exists()


# Steps


def test_the_learning_rate_warms_up_and_ends_at_its_minimum():
    config = changed(learning_rate=1.0, min_learning_rate=0.2, warmup=4, steps=13)
    rates = [learning_rate(config, step) for step in range(13)]
    assert rates[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rates[8] == pytest.approx(0.6)  # half way down
    assert rates[12] == 0.2
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))


def test_without_warm_up_the_first_step_has_the_full_rate():
    config = changed(learning_rate=1.0, min_learning_rate=0.0, warmup=0, steps=3)
    assert [learning_rate(config, step) for step in range(3)] == pytest.approx([1.0, 0.5, 0.0])
    assert learning_rate(changed(learning_rate=1.0, min_learning_rate=0.0, warmup=0, steps=1), 0) == 1.0


def test_the_rates_of_the_schedule_are_those_that_were_stepped_with(uninterrupted):
    rates = [entry["learning_rate"] for entry in history_in(uninterrupted)]
    assert rates == [learning_rate(SMALL, step) for step in range(SMALL.steps)]


def test_biases_and_norms_are_not_decayed(tokens, tmp_path):
    model = Trainer(SMALL, stage_run_in(tmp_path), tokens).model
    decayed, spared = make_optimizer(model, SMALL).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (SMALL.weight_decay, 0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {name for name in names.values() if "ln_" in name or "bias" in name} == {
        names[id(parameter)] for parameter in spared["params"]
    }
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


# What is written


def test_the_best_model_is_written_and_not_the_last(tokens, tmp_path, monkeypatch):
    scripted = iter([(3.0, 10), (1.0, 10), (2.0, 10), (1.0, 10), (1.5, 10)])
    states = []

    def scripted_evaluation(model, *_):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(scripted)

    monkeypatch.setattr(room, "evaluate", scripted_evaluation)
    run = trained(SMALL, tokens, tmp_path)
    written = weights_in(run)
    assert [all(torch.equal(state[name], written[name]) for name in written) for state in states] == [
        False,
        True,
        False,
        False,
        False,
    ]
    summary = json.loads((run.out / "summary.json").read_text())
    assert (summary["best_step"], summary["best_validation_loss"], summary["steps"]) == (4, 1.0, 9)


def test_without_a_validation_split_the_last_model_is_written(tmp_path):
    tokens = tokens_of(topics["assignment"][:3000], tmp_path, validation=0)
    trainer = Trainer(SMALL, stage_run_in(tmp_path / "run"), tokens)
    trainer.fit()
    last = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.write()
    written = weights_in(trainer.run)
    assert all(torch.equal(last[name], written[name]) for name in last)
    summary = json.loads((trainer.run.out / "summary.json").read_text())
    assert set(summary) == {"parameters", "steps", "tokens", "train_loss"}


def test_the_folder_loads_with_transformers_and_nothing_else(uninterrupted, tokens):
    folder = uninterrupted.out / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    facts = json.loads((tokens / "tokens.json").read_text())
    assert len(tokenizer) == model.config.vocab_size == facts["vocab_size"]
    end = facts["end_token"]
    assert [tokenizer.eos_token_id, model.config.eos_token_id, model.generation_config.eos_token_id] == [
        end
    ] * 3
    text = "x = [1, 2]  # Ünïcode 学\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    ours, ids = GPT.load(folder).eval(), torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids)[0], model.eval()(ids).logits, atol=1e-5, rtol=0)


def test_the_history_has_every_step_and_every_evaluation(uninterrupted):
    assert [entry["step"] for entry in history_in(uninterrupted)] == list(range(1, 10))
    assert [entry["tokens"] for entry in history_in(uninterrupted)] == [64 * step for step in range(1, 10)]
    assert [entry["step"] for entry in history_in(uninterrupted, "validation_loss")] == [2, 4, 6, 8, 9]
    assert history_in(uninterrupted)[0]["train_loss"] == pytest.approx(math.log(300), abs=0.1)


def test_nothing_is_printed_on_standard_output(tokens, tmp_path, capfd):
    trained(changed(steps=2), tokens, tmp_path)
    assert capfd.readouterr().out == ""


def test_bfloat16_computes_but_does_not_store(tokens, tmp_path):
    written = weights_in(trained(changed(precision="bfloat16", steps=2), tokens, tmp_path))
    assert {tensor.dtype for tensor in written.values()} == {torch.float32}


def test_a_gpu_that_is_not_there_is_an_error_and_never_a_cpu(tokens, tmp_path, monkeypatch):
    """Pitfall 23: no quiet fallback."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StageError, match="device cuda was asked for, but torch sees no CUDA device"):
        trained(changed(device="cuda"), tokens, tmp_path)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_there_is_taken_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [pick_device(wanted).type for wanted in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


# Exact resume (pitfall 18)


def assert_same_outputs(one, other):
    """Compared by digest: of two large files that differ, pytest would spend minutes to show where."""
    for name in ("model/model.safetensors", "history.jsonl", "summary.json"):
        assert sha256_of(one.out / name) == sha256_of(other.out / name), name


class Stopped(Exception):  # noqa: N818
    """What stops a training in these tests."""


def stopping_after(last):
    def stop(done, *_):
        if done == last:
            raise Stopped

    return stop


@pytest.mark.parametrize("stop", [1, 2, 3, 6, 8, 9])
def test_a_stopped_training_ends_with_the_same_bits(uninterrupted, tokens, tmp_path, stop):
    with pytest.raises(Stopped):
        trained(SMALL, tokens, tmp_path, progress=stopping_after(stop))
    steps = []
    run = trained(SMALL, tokens, tmp_path, progress=lambda done, *_: steps.append(done))
    assert_same_outputs(run, uninterrupted)
    kept = (stop - 1) // SMALL.eval_every * SMALL.eval_every
    assert steps == list(range(kept if kept else 1, 10)), "it continued from its last checkpoint"
    assert run.metrics.keys() >= uninterrupted.metrics.keys() - {"tokens_per_second"}


def test_a_training_stopped_again_and_again_ends_with_the_same_bits(uninterrupted, tokens, tmp_path):
    for stop in (3, 5, 7, 9):
        with pytest.raises(Stopped):
            trained(SMALL, tokens, tmp_path, progress=stopping_after(stop))
    assert_same_outputs(trained(SMALL, tokens, tmp_path), uninterrupted)


def test_a_lost_random_state_would_be_caught(uninterrupted, tokens, tmp_path, monkeypatch):
    with pytest.raises(Stopped):
        trained(SMALL, tokens, tmp_path, progress=stopping_after(5))
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    with pytest.raises(AssertionError):
        assert_same_outputs(trained(SMALL, tokens, tmp_path), uninterrupted)


def test_two_checkpoints_are_kept_at_most(tokens, tmp_path):
    kept = []
    trained(SMALL, tokens, tmp_path, progress=lambda *_: kept.append(len(run_checkpoints(tmp_path))))
    assert max(kept) == 2
    assert run_checkpoints(tmp_path) == ["step-000000008.pt", "step-000000009.pt"]


def run_checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoint").glob("step-*"))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def when_saving(name, share):
    """A `torch.save` that dies with `share` of the file called `name` on the disk."""
    save = torch.save

    def dying(state, path):
        save(state, path)
        if path.name == name:
            os.truncate(path, int(path.stat().st_size * share))
            die()

    torch.save = dying


def when_called(owner, method, name):
    """A method of paths that dies instead of doing its work on the path called `name`."""
    original = getattr(owner, method)

    def dying(path, *args, **kwargs):
        if path.name == name:
            die()
        return original(path, *args, **kwargs)

    setattr(owner, method, dying)


def when_writing_the_model():
    save = GPT.save

    def dying(model, folder):
        save(model, folder)
        os.truncate(folder / "model.safetensors", 1000)
        die()

    GPT.save = dying


# In the child alone: each replaces something in the process that is then killed.
MOMENTS = {
    "in the first step": lambda: setattr(room, "learning_rate", lambda *_: die()),
    "half of the first best model is written": lambda: when_saving("best.part", 0.5),
    "half of the first checkpoint is written": lambda: when_saving("step-000000002.part", 0.5),
    "a checkpoint is begun": lambda: when_saving("step-000000004.part", 0.0),
    "a checkpoint is whole but not in place": lambda: when_called(Path, "replace", "step-000000006.part"),
    "an old checkpoint is to be removed": lambda: when_called(Path, "unlink", "step-000000002.pt"),
    "half of the last checkpoint is written": lambda: when_saving("step-000000009.part", 0.9),
    "the outputs are being written": when_writing_the_model,
}


def train_until(moment, tokens, folder):
    torch.set_num_threads(1)
    MOMENTS[moment]()
    trained(SMALL, tokens, folder)


@pytest.fixture(scope="module")
def processes():
    """Real processes, forked from a server that has already imported what they need."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.pretrain", "tasks.finetune.sft"])
    return context


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_is_continued_to_the_same_bits(uninterrupted, tokens, tmp_path, processes, moment):
    process = processes.Process(target=train_until, args=(moment, tokens, tmp_path))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert_same_outputs(trained(SMALL, tokens, tmp_path), uninterrupted)
    assert len(run_checkpoints(tmp_path)) <= 2, "what the kill left half-written is gone as well"
