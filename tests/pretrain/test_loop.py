"""The loop: losses are means over tokens, no split of a batch changes a step, the best model is kept."""

import json
import math
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.batches.blocks import Blocks
from tasks.data.token_files import IGNORED, Split, load_tokens
from tasks.errors import StageError
from tasks.machine.device import pick_device
from tasks.models.gpt import GPT
from tasks.pretrain import loop
from tasks.pretrain.loop import Trainer, ValidationLoss, micro_batches
from tasks.pretrain.result import write_result
from tests.pretrain.training import (
    SMALL,
    Stopped,
    changed,
    curve,
    history_in,
    same_outputs,
    tokens_of,
    trained,
)
from tests.runs import stage_run_in, summary_of, weights_in


@pytest.fixture(scope="module")
def uninterrupted(tokens, tmp_path_factory):
    return trained(SMALL, tokens, tmp_path_factory.mktemp("uninterrupted"))


def prepared(config, tokens, folder, **watching):
    trainer = Trainer(config, stage_run_in(folder, **watching), tokens)
    trainer.prepare()
    return trainer


# The loss


def test_labels_are_shifted_once(tmp_path):
    """Shifted never, a model trained on a cycle would repeat its letter; shifted twice, it would skip one."""
    tokens = tokens_of("abcdefgh" * 200, tmp_path, kind="char")
    config = changed(dropout=0, steps=40, batch_size=8, eval_every=40, sample_prompt="ab")
    run = trained(config, tokens, tmp_path / "run")
    sample = (run.auxiliary / "samples.txt").read_text().splitlines()[1]
    assert sample == ("abcdefgh" * 10)[: len(sample)]
    assert len(sample) == config.context


@pytest.mark.parametrize("document_mask", [False, True])
def test_accumulation_changes_neither_losses_nor_weights(documents, tmp_path, monkeypatch, document_mask):
    """Pitfall 17: 8x1, 2x4, 4x2 and a ragged 3+3+2 see the same blocks and make the same steps.

    With documents apart, micro-batches have different numbers of labels.
    """
    runs, order, pieces = {}, defaultdict(list), []

    def cut_into(batch, rows):
        order[rows] += batch.inputs.tolist()
        cut = micro_batches(batch, rows, 0)
        pieces.append([piece.supervised() for piece in cut])
        return cut

    for rows, accumulation, cut in ((8, 1, 8), (2, 4, 2), (4, 2, 4), (4, 2, 3)):
        with monkeypatch.context() as patch:
            patch.setattr(loop, "micro_batches", lambda batch, *_, cut=cut: cut_into(batch, cut))
            config = changed(
                dropout=0,
                batch_size=rows,
                accumulation=accumulation,
                learning_rate=1e-3,
                document_mask=document_mask,
            )
            runs[cut] = trained(config, documents, tmp_path / str(cut))
    assert order[8] == order[2] == order[4] == order[3]
    assert len(order[8]) == 8 * SMALL.steps
    assert {len(step) for step in pieces} == {1, 4, 2, 3}
    assert any(len(set(step)) > 1 for step in pieces if len(step) == 4) == document_mask
    for other in (2, 4, 3):
        for name in ("train_loss", "gradient_norm", "validation_loss"):
            assert curve(runs[other], name) == pytest.approx(curve(runs[8], name), rel=1e-5)
        for name, weight in weights_in(runs[8]).items():
            torch.testing.assert_close(weights_in(runs[other])[name], weight, atol=1e-5, rtol=0)


class FavoursZero(torch.nn.Module):
    """Whatever it reads, token 0 has probability 3/4 and token 1 has 1/4."""

    def forward(self, input_ids, labels, *, documents=None):
        logits = torch.tensor([math.log(3), 0.0]).expand(*input_ids.shape, 2)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")


def validated(config, tokens, folder, validation):
    trainer = prepared(config, tokens, folder)
    trainer.files = replace(trainer.files, validation=validation)
    trainer.model = FavoursZero()
    return trainer.validation_loss()[:2]


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_evaluation_is_a_mean_over_tokens(tokens, tmp_path, batch_size):
    """Pitfall 20: two blocks of four labels and one of one, which a mean of means would weigh as much."""
    validation = Split(np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], dtype=np.uint16), np.array([10]))
    loss, predicted = validated(changed(context=4, batch_size=batch_size), tokens, tmp_path, validation)
    common, rare = math.log(4 / 3), math.log(4)
    assert predicted == 9
    assert loss == pytest.approx((8 * common + rare) / 9, rel=1e-6)
    assert loss != pytest.approx((common + common + rare) / 3, rel=0.1)


def test_evaluation_counts_no_label_across_documents(tokens, tmp_path):
    validation = Split(np.array([1, 0, 1, 1, 0, 0, 0], dtype=np.uint16), np.array([2, 5, 6, 7]))
    loss, predicted = validated(changed(context=4, document_mask=True), tokens, tmp_path, validation)
    assert predicted == 3  # 0 after 1; 1 after 1; 0 after 1
    assert loss == pytest.approx((2 * math.log(4 / 3) + math.log(4)) / 3, rel=1e-6)


def test_a_validation_split_of_ends_alone_is_refused(tokens, tmp_path):
    validation = Split(np.zeros(3, dtype=np.uint16), np.array([1, 2, 3]))
    with pytest.raises(StageError, match="validation split has no token to predict"):
        validated(changed(context=4, document_mask=True), tokens, tmp_path, validation)


def test_a_batch_of_ends_alone_is_refused(tokens, tmp_path):
    trainer = prepared(changed(document_mask=True, context=4), tokens, tmp_path)
    trainer.blocks = Blocks(Split(np.zeros(40, dtype=np.uint16), np.arange(1, 41)), 4, 1, apart=True)
    with pytest.raises(StageError, match="a batch has no token to predict"):
        trainer.fit()


def reference_losses(run, tokens, context):
    """Of the written folder by transformers, block by block."""
    model = AutoModelForCausalLM.from_pretrained(run.out / "model").eval()
    validation = torch.from_numpy(np.array(load_tokens(tokens).validation.tokens, dtype=np.int64))
    losses = []
    for start in range(0, len(validation) - 1, context):
        block = validation[start : start + context + 1]
        with torch.no_grad():
            logits = model(block[None, :-1]).logits[0]
        losses += F.cross_entropy(logits, block[1:], reduction="none").tolist()
    assert len(losses) == len(validation) - 1
    return losses


def test_evaluation_equals_the_reference_implementation(uninterrupted, tokens):
    losses = reference_losses(uninterrupted, tokens, SMALL.context)
    assert len(losses) % SMALL.context, "the case is to have a ragged last block"
    best = summary_of(uninterrupted)
    assert best["best_validation_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert best["best_perplexity"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-5)


def test_bits_per_byte_count_the_bytes_of_the_text(tmp_path):
    """Pitfall 20: neither tokens nor characters nor decoded text, which unknown characters would shorten."""
    text = "学而时习之,不亦说乎?" * 60
    tokens = tokens_of(text, tmp_path, kind="char", validation=0.25)
    facts = json.loads((tokens / "tokens.json").read_text())
    held_out = text[-len(text) // 4 :]
    assert facts["validation"]["tokens"] == len(held_out) + 1
    assert facts["validation"]["bytes"] == len(held_out.encode())
    run = trained(changed(steps=2), tokens, tmp_path / "run")
    (entry,) = history_in(run, "bits_per_byte")
    nats = entry["validation_loss"] * len(held_out)
    predicted = len(held_out.encode()) - 3  # all but the first character's
    assert entry["bits_per_byte"] == pytest.approx(nats / math.log(2) / predicted, rel=1e-12)


@pytest.mark.parametrize(("document_mask", "predicted", "size"), [(False, 24, 33), (True, 20, 25)])
def test_bits_per_byte_leave_out_the_bytes_that_nothing_predicts(tmp_path, document_mask, predicted, size):
    """Pitfall 42: five documents of "ä", a letter, a digit and "€": 7 bytes each, 2 of them the first's.

    Apart, four tokens of each are predicted, of 5 bytes; joined, all but the very first.
    """
    texts = [f"ä{letter}{digit}€" for letter in "abcde" for digit in "1234"]
    tokens = tokens_of(texts, tmp_path, kind="char", validation=0.25)
    facts = json.loads((tokens / "tokens.json").read_text())["validation"]
    assert (facts["documents"], facts["tokens"], facts["bytes"]) == (5, 25, 35)
    run = trained(changed(steps=2, document_mask=document_mask), tokens, tmp_path / "run")
    (entry,) = history_in(run, "bits_per_byte")
    bits = entry["validation_loss"] * predicted / math.log(2)
    assert entry["bits_per_byte"] == pytest.approx(bits / size, rel=1e-12)


def test_text_of_which_no_token_is_predicted_is_an_error(tmp_path):
    texts = [chr(0x4E00 + number) for number in range(40)]
    tokens = tokens_of(texts, tmp_path, kind="char", validation=0.25)
    with pytest.raises(StageError, match="no text to predict: its documents are one token long"):
        trained(changed(steps=2, document_mask=True, context=8), tokens, tmp_path / "run")


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


# The best model, and when to stop


def scripted_losses(monkeypatch, *losses):
    """Evaluations that give these losses; returns the weights at each."""
    script, states = iter(losses), []

    def scripted(trainer):
        states.append({name: tensor.clone() for name, tensor in trainer.plain.state_dict().items()})
        return ValidationLoss(next(script), 10, {})

    monkeypatch.setattr(Trainer, "validation_loss", scripted)
    return states


def evaluation_written(states, run):
    written = weights_in(run)
    same = [all(torch.equal(state[name], written[name]) for name in written) for state in states]
    return [at for at, is_same in enumerate(same) if is_same]


def test_the_best_model_is_written_and_not_the_last(tokens, tmp_path, monkeypatch):
    states = scripted_losses(monkeypatch, 3.0, 1.0, 2.0, 1.0, 1.5)
    run = trained(SMALL, tokens, tmp_path)
    assert evaluation_written(states, run) == [1]
    summary = summary_of(run)
    assert (summary["best_step"], summary["best_validation_loss"], summary["steps"]) == (4, 1.0, 9)
    assert not summary["stopped_early"]


def test_patience_counts_evaluations_without_a_new_best(tokens, tmp_path, monkeypatch):
    states = scripted_losses(monkeypatch, 3.0, 4.0, 2.0, 2.0, 2.5)
    run = trained(changed(patience=2, eval_every=1), tokens, tmp_path)
    assert evaluation_written(states, run) == [2]
    summary = summary_of(run)
    assert summary["stopped_early"]
    assert (summary["steps"], summary["best_step"], summary["tokens"]) == (5, 3, 5 * 4 * 16)
    assert len(curve(run)) == 5


def test_a_training_that_improves_is_not_stopped(tokens, tmp_path, monkeypatch):
    scripted_losses(monkeypatch, 5.0, 4.0, 3.0, 2.0, 1.0)
    summary = summary_of(trained(changed(patience=1), tokens, tmp_path))
    assert (summary["steps"], summary["stopped_early"]) == (9, False)


def test_a_training_that_had_stopped_early_does_not_go_on(tokens, tmp_path, monkeypatch):
    config = changed(patience=1, eval_every=1)
    with monkeypatch.context() as patch:
        scripted_losses(patch, 3.0, 4.0)
        whole = trained(config, tokens, tmp_path / "whole")
    with monkeypatch.context() as patch:
        scripted_losses(patch, 3.0, 4.0)
        patch.setattr(GPT, "save", lambda *_: stop())
        with pytest.raises(Stopped):
            trained(config, tokens, tmp_path / "stopped")
    scripted_losses(monkeypatch)  # not one evaluation more
    again = trained(config, tokens, tmp_path / "stopped")
    assert summary_of(again)["stopped_early"]
    assert same_outputs(again, whole)


def stop():
    raise Stopped


def test_without_a_validation_split_the_last_model_is_written(tmp_path):
    tokens = tokens_of("to be, or not to be: that is the question. " * 60, tmp_path, validation=0)
    trainer = prepared(changed(patience=1), tokens, tmp_path / "run")
    trainer.fit()
    last = {name: tensor.clone() for name, tensor in trainer.plain.state_dict().items()}
    write_result(trainer)
    assert evaluation_written([last], trainer.run) == [0]
    summary = summary_of(trainer.run)
    assert not any(name.startswith("best_") for name in summary)
    assert (summary["steps"], summary["stopped_early"]) == (9, False)


# What is written


def test_what_is_done_before_and_between_the_steps_is_told(tokens, tmp_path):
    told = []
    trained(
        changed(steps=4, eval_every=2),
        tokens,
        tmp_path,
        phase=told.append,
        progress=lambda *news: told.append(news[0]),
    )
    checks = [f"check {number} of 11" for number in range(1, 12)]
    assert [str(what).split(":")[0] for what in told] == [
        "making the model",
        *checks,
        "the first step",
        *("1", "2", "evaluating", "3", "4", "evaluating"),
        "writing the model, and measuring the machine",
    ]


def test_the_folder_loads_with_transformers_and_nothing_else(uninterrupted, tokens):
    folder = uninterrupted.out / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    facts = json.loads((tokens / "tokens.json").read_text())
    assert len(tokenizer) == model.config.vocab_size == facts["vocab_size"]
    end = facts["end_token"]
    ends = [tokenizer.eos_token_id, model.config.eos_token_id, model.generation_config.eos_token_id]
    assert ends == [end] * 3
    text = "x = [1, 2]  # Ünïcode 学\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    ours, ids = GPT.load(folder).eval(), torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(ours(ids), model.eval()(ids).logits, atol=1e-5, rtol=0)


def test_a_checkpoint_that_computes_something_else_is_refused(tokens, tmp_path, monkeypatch):
    save = GPT.save

    def saving_other_weights(model, folder):
        save(model, folder)
        other = GPT(model.config)
        save(other, folder)

    monkeypatch.setattr(GPT, "save", saving_other_weights)
    with pytest.raises(StageError, match="does not compute what the trained model does"):
        trained(changed(steps=2), tokens, tmp_path)


def test_the_history_has_every_step_and_every_evaluation(uninterrupted):
    assert [entry["step"] for entry in history_in(uninterrupted)] == list(range(1, 10))
    assert [entry["tokens"] for entry in history_in(uninterrupted)] == [64 * step for step in range(1, 10)]
    assert [entry["step"] for entry in history_in(uninterrupted, "validation_loss")] == [2, 4, 6, 8, 9]
    assert history_in(uninterrupted)[0]["train_loss"] == pytest.approx(math.log(300), abs=0.1)


def test_nothing_is_printed_on_standard_output(tokens, tmp_path, capfd):
    trained(changed(steps=2), tokens, tmp_path)
    assert capfd.readouterr().out == ""


def test_bfloat16_computes_but_does_not_store(tokens, tmp_path):
    run = trained(changed(precision="bfloat16", steps=2), tokens, tmp_path / "bfloat16")
    assert {tensor.dtype for tensor in weights_in(run).values()} == {torch.float32}
    full = trained(changed(steps=2), tokens, tmp_path / "float32")
    assert curve(run) != curve(full)
    assert curve(run) == pytest.approx(curve(full), rel=1e-2)


def test_a_gpu_that_is_not_there_is_an_error_and_never_a_cpu(tokens, tmp_path, monkeypatch):
    """Pitfall 23: no quiet fallback."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StageError, match="device cuda was asked for, but torch sees no CUDA device"):
        trained(changed(device="cuda"), tokens, tmp_path)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


def test_gpu_that_is_there_is_taken_unless_the_cpu_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [pick_device(wanted).type for wanted in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
