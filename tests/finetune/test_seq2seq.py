"""Encoder-decoders: the target alone is learned, hidden from the source, and that is checked beforehand."""

import json

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tasks.batches.seq2seq import SourceTargetCollator, seq2seq_data, source_template
from tasks.config import BaseConfig, DpoConfig, FinetuneConfig, LoraConfig
from tasks.data.token_files import IGNORED
from tasks.errors import RefusedError, StageError
from tasks.finetune import seq2seq
from tasks.finetune.dpo import dpo
from tasks.models.adapters import load_to_tune
from tasks.models.classifier import new_classifier
from tasks.models.loading import load_model, load_tokenizer
from tasks.models.seq2seq import decoder_inputs, random_seq2seq, target_logits
from tasks.preflight.seq2seq import check_pairs, hidden, shift
from tasks.registry.import_model import base as import_base
from tasks.registry.random_model import ending_texts
from tasks.rows import load_split, write_rows
from tasks.tokenize.stage import train_bpe
from tests.finetune.seq2seq_models import KINDS, TEXTS, network, seq2seq_in, tokenizer_of
from tests.finetune.tuning import CONTEXT, history_in, row_of, rows_in, tuned
from tests.runs import stage_run_in, summary_of, weights_in

SMALL = FinetuneConfig(
    template="plain",
    epochs=2,
    batch_size=4,
    learning_rate=2e-2,
    max_length=CONTEXT,
    evaluations=4,
    device="cpu",
)

pytestmark = pytest.mark.usefixtures("one_thread")


def changed(**fields):
    return FinetuneConfig(**SMALL.model_dump() | fields)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    return {kind: seq2seq_in(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("pairs") / "rows")


@pytest.fixture(scope="module")
def trained(bases, rows, tmp_path_factory):
    return tuned(SMALL, bases["t5"], rows, tmp_path_factory.mktemp("trained"))


# Tokens, literally


def test_source_and_target_are_what_the_tokenizer_makes_of_texts():
    """T5 ends both with </s>; BART begins them with <s> too, and that is the target's first token."""
    for kind in KINDS:
        tokenizer = tokenizer_of(kind)
        template = source_template("plain", tokenizer)
        row = {"id": 1, "instruction": "Say fig 2 times.", "input": "", "output": "fig fig"}
        assert template.sources_ids([row]) == [tokenizer("Say fig 2 times.")["input_ids"]]
        assert template.target_ids("fig fig") == tokenizer("fig fig")["input_ids"]
        assert template.target_ids("fig fig")[-1] == tokenizer.eos_token_id


def test_what_looks_like_an_end_token_in_a_source_is_text():
    tokenizer = tokenizer_of("bart")
    row = {"id": 1, "instruction": "Say </s> twice.", "input": "", "output": "fig"}
    (ids,) = source_template("plain", tokenizer).sources_ids([row])
    assert ids.count(tokenizer.eos_token_id) == 1


def test_a_batch_pads_labels_with_ignored_and_masks_the_source():
    batch = SourceTargetCollator(9)(
        [{"input_ids": [4, 5, 1], "labels": [6, 1]}, {"input_ids": [4, 1], "labels": [6, 7, 1]}]
    )
    assert batch["input_ids"].tolist() == [[4, 5, 1], [4, 1, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[6, 1, IGNORED], [6, 7, 1]]


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_reads_labels_one_place_later(kind):
    tokenizer = tokenizer_of(kind)
    model = network(kind, tokenizer)
    labels = torch.tensor([[6, 7, tokenizer.eos_token_id, IGNORED]])
    start = model.config.decoder_start_token_id
    assert decoder_inputs(model, labels)[0, :3].tolist() == [start, 6, 7]
    assert IGNORED not in decoder_inputs(model, labels)


# The checks, and that they can fail


def data_of(base, rows, **fields):
    return seq2seq_data(changed(**fields), load_tokenizer(base / "model"), rows, float("inf"))


def batch_of(data):
    return data.collator([data.datasets["train"][place] for place in range(4)])


@pytest.mark.parametrize("kind", KINDS)
def test_checks_pass_for_every_kind(bases, rows, kind):
    data = data_of(bases[kind], rows)
    model = load_model(bases[kind] / "model")[0]
    assert shift(model, batch_of(data)).verdict == "passed"
    assert hidden(model, batch_of(data)).verdict == "passed"
    results, example = check_pairs(data)
    assert {result.check: result.verdict for result in results} == {
        "source alone in the encoder": "passed",
        "labels are the target": "passed",
        "end token": "passed",
        "labels decode to the target": "passed",
    }
    assert "read only" in example
    assert "trained on" in example


def test_decoder_inputs_that_are_not_shifted_are_found(bases, rows, monkeypatch):
    data, model = data_of(bases["t5"], rows), load_model(bases["t5"] / "model")[0]
    monkeypatch.setattr(
        model, "prepare_decoder_input_ids_from_labels", lambda labels: labels.masked_fill(labels < 0, 0)
    )
    assert shift(model, batch_of(data)).verdict == "failed"
    assert hidden(model, batch_of(data)).verdict == "failed"


def test_a_decoder_that_looks_ahead_is_found(bases, rows, monkeypatch):
    data, model = data_of(bases["t5"], rows), load_model(bases["t5"] / "model")[0]
    whole = model.forward

    def leaking(**given):
        output = whole(**given)
        output.logits = output.logits + given["decoder_input_ids"].float().mean()
        return output

    monkeypatch.setattr(model, "forward", leaking)
    found = hidden(model, batch_of(data))
    assert found.verdict == "failed"
    assert "target token" in found.found


def test_a_source_that_is_not_read_is_found(bases, rows, monkeypatch):
    data, model = data_of(bases["t5"], rows), load_model(bases["t5"] / "model")[0]
    whole = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **given: whole(**given | {"input_ids": torch.ones_like(given["input_ids"])})
    )
    assert "does not read it" in hidden(model, batch_of(data)).found


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda pair: pair.source[:-1] + pair.target, "source alone in the encoder"),
        (lambda pair: pair.source[1:], "source alone in the encoder"),
    ],
)
def test_an_encoder_given_other_tokens_is_found(bases, rows, spoil, check):
    data = data_of(bases["t5"], rows)
    train = data.datasets["train"].to_list()
    train[3] = train[3] | {"input_ids": spoil(data.pairs["train"][3])}
    data.datasets["train"] = train
    results, _ = check_pairs(data)
    failed = [result for result in results if result.verdict == "failed"]
    assert [result.check for result in failed] == [check]
    assert failed[0].where.startswith("train row 3")


@pytest.mark.parametrize(
    ("labels", "checks"),
    [
        (lambda target: target[:-1], ["labels are the target", "end token"]),
        (lambda target: [target[-1], *target], ["labels are the target", "end token"]),
        (lambda target: [*target, 0], ["labels are the target", "end token"]),
    ],
    ids=["no end", "an end before", "padding learned"],
)
def test_labels_that_are_not_the_target_are_found(bases, rows, labels, checks):
    data = data_of(bases["t5"], rows)
    train = data.datasets["train"].to_list()
    train[3] = train[3] | {"labels": labels(data.pairs["train"][3].target)}
    data.datasets["train"] = train
    results, _ = check_pairs(data)
    assert [result.check for result in results if result.verdict == "failed"] == checks


def test_targets_that_the_tokenizer_cannot_write_are_told(bases, tmp_path):
    rows = rows_in(tmp_path / "rows")
    train = load_split(rows, "train")
    write_rows(rows / "train.jsonl", [train[0] | {"output": "東京"}, *train[1:]])
    results, _ = check_pairs(data_of(bases["t5"], rows))
    assert results[-1].verdict == "info"
    assert results[-1].where.startswith("train row 0")


def test_a_failed_check_refuses_the_training(bases, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tasks.models.seq2seq.decoder_inputs", lambda _model, labels: labels.masked_fill(labels < 0, 0)
    )
    with pytest.raises(RefusedError, match="target hidden from the source"):
        tuned(SMALL, bases["t5"], rows, tmp_path)


# Training


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_its_targets(bases, rows, tmp_path, kind):
    run = tuned(changed(learning_rate=1e-2), bases[kind], rows, tmp_path)
    losses = history_in(run, "validation_loss")
    assert losses[-1] < 0.9 * history_in(run, "train_loss")[0]
    assert summary_of(run)["method"] == "sft"
    assert AutoTokenizer.from_pretrained(run.out / "model").chat_template


def losses_of_rows(run, rows):
    """The loss of every target token, a list a row, from the written folder and one row at a time."""
    model = AutoModelForSeq2SeqLM.from_pretrained(run.out / "model").eval()
    template, found = source_template("plain", load_tokenizer(run.out / "model")), []
    for row in load_split(rows, "validation"):
        (source,), target = template.sources_ids([row]), template.target_ids(row["output"])
        labels = torch.tensor([target])
        batch = {"input_ids": torch.tensor([source]), "labels": labels}
        with torch.no_grad():
            logits = target_logits(
                model, model, batch | {"attention_mask": torch.ones_like(batch["input_ids"])}
            )
            own = model(**batch).loss.item()
        losses = F.cross_entropy(logits[0], labels[0], reduction="none").tolist()
        assert own == pytest.approx(sum(losses) / len(losses), rel=1e-5), "Transformers' own loss"
        found.append(losses)
    return found


def test_evaluation_is_a_mean_over_target_tokens(trained, rows):
    losses = losses_of_rows(trained, rows)
    assert len({len(row) for row in losses}) > 2, "the case is to be ragged"
    best = summary_of(trained)["best_validation_loss"]
    assert best == pytest.approx(sum(map(sum, losses)) / sum(map(len, losses)), rel=1e-5)


def test_seq2seq_accumulation_changes_neither_losses_nor_weights(bases, rows, tmp_path, monkeypatch):
    """Pitfall 17: the parent's loss would be the mean of means.

    In float64: Adam divides a gradient by its own size, so that one of hardly more than rounding takes steps
    of up to the learning rate, whichever way a machine rounds.
    """
    monkeypatch.setattr(seq2seq, "load_to_tune", lambda *given: load_to_tune(*given).double())
    runs = [
        tuned(
            changed(batch_size=batch, accumulation=steps, learning_rate=1e-3),
            bases["t5"],
            rows,
            tmp_path / str(batch),
        )
        for batch, steps in ((8, 1), (2, 4))
    ]
    whole, split = (history_in(run, "train_loss") for run in runs)
    assert split == pytest.approx(whole, rel=1e-5)
    for name, weight in weights_in(runs[0]).items():
        assert weight.dtype == torch.float64
        torch.testing.assert_close(weights_in(runs[1])[name], weight, atol=1e-9, rtol=0)


def test_the_best_seq2seq_weights_are_written(bases, rows, tmp_path, monkeypatch):
    scripted, states = iter([3.0, 1.0, 2.0, 1.5]), []

    def scripted_loss(model, *_):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(scripted)

    monkeypatch.setattr(seq2seq, "target_loss", scripted_loss)
    written = weights_in(tuned(SMALL, bases["t5"], rows, tmp_path))
    assert [all(torch.equal(state[name], written[name]) for name in written) for state in states] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("adapters", ["merged", "kept"])
def test_seq2seq_lora_is_kept_or_merged(bases, rows, tmp_path, adapters):
    config = changed(tune="lora", lora=LoraConfig(rank=4, adapters=adapters), epochs=1)
    run = tuned(config, bases["t5"], rows, tmp_path)
    summary = summary_of(run)
    assert 0 < summary["trainable_parameters"] < summary["parameters"]
    kept = (run.out / "model" / "adapter_config.json").exists()
    assert kept == (adapters == "kept")
    if kept:
        settings = json.loads((run.out / "model" / "adapter_config.json").read_text())
        assert settings["task_type"] == "SEQ_2_SEQ_LM"
    model, _ = load_model(run.out / "model", bases["t5"] / "model" if kept else None)
    moved = [
        name
        for name, tensor in load_model(bases["t5"] / "model")[0].state_dict().items()
        if not torch.equal(tensor, model.state_dict()[name])
    ]
    assert moved


def test_a_target_that_is_cut_teaches_no_end(bases, tmp_path):
    rows = rows_in(tmp_path / "rows")
    train = load_split(rows, "train")
    write_rows(rows / "train.jsonl", [train[0] | {"output": "fig " * 40}, *train[1:]])
    data = data_of(bases["t5"], rows, max_length=30)
    cut = [pair for pair in data.pairs["train"] if pair.cut]
    assert cut
    assert all(len(pair.target) == 30 and pair.target[-1] != 1 for pair in cut)
    assert [result.verdict for result in check_pairs(data)[0]] == ["passed"] * 4


def test_a_source_that_does_not_fit_is_named(bases, tmp_path):
    rows = rows_in(tmp_path / "rows")
    write_rows(rows / "train.jsonl", [row_of(0), row_of(1) | {"instruction": "fig " * 90}])
    with pytest.raises(StageError, match=r"row 1 cannot be trained on: its source has \d+ tokens"):
        tuned(SMALL, bases["bart"], rows, tmp_path / "run")


@pytest.mark.parametrize(
    ("setting", "told"),
    [({"loss": "all"}, "loss=all"), ({"packing": True}, "packing"), ({"optimizer": "muon"}, "muon")],
    ids=str,
)
def test_settings_without_a_use_are_refused(bases, rows, tmp_path, setting, told):
    with pytest.raises(StageError, match=f"the model is an encoder-decoder.*{told}"):
        tuned(changed(**setting), bases["t5"], rows, tmp_path)


# What an encoder-decoder is not for, and what is imported


def test_dpo_and_classify_refuse_an_encoder_decoder(bases, rows, tmp_path):
    told = r"the model is an encoder-decoder \(t5\).*{} needs a model that continues a text"
    with pytest.raises(StageError, match=told.format("dpo")):
        dpo(DpoConfig(device="cpu"), stage_run_in(tmp_path / "dpo"), tuned=bases["t5"], rows=rows)
    with pytest.raises(StageError, match=told.format("classify")):
        new_classifier(bases["t5"] / "model", ("a", "b"), load_tokenizer(bases["t5"] / "model"), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_decoder_is_imported_whole(bases, tmp_path, kind):
    run = stage_run_in(tmp_path)
    import_base(BaseConfig(model=str(bases[kind] / "model")), run)
    model, tokenizer = load_model(run.out / "model")
    assert model.config.is_encoder_decoder
    assert tokenizer.pad_token_id is not None
    assert summary_of(run)["parameters"] == model.num_parameters()


def test_an_encoder_decoder_that_lacks_a_start_is_refused(bases, tmp_path):
    folder = tmp_path / "model"
    model, tokenizer = load_model(bases["t5"] / "model")
    model.config.decoder_start_token_id = None
    model.generation_config.decoder_start_token_id = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(StageError, match="has no decoder_start_token_id"):
        import_base(BaseConfig(model=str(folder)), stage_run_in(tmp_path / "run"))


@pytest.mark.parametrize("name", ["t5", "bart"])
def test_random_weights_are_drawn_by_the_seed_alone(name):
    tokenizer = ending_texts(train_bpe(TEXTS, 300))
    one, same, other = (random_seq2seq(name, "tiny", tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(tensor, same[key]) for key, tensor in one.items())
    assert not all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_a_random_base_has_a_tokenizer_of_the_training_rows(rows, tmp_path):
    run = stage_run_in(tmp_path)
    import_base(BaseConfig(model="t5", weights="random", vocab_size=300), run, rows=rows)
    model, tokenizer = load_model(run.out / "model")
    assert tokenizer("Say fig")["input_ids"][-1] == tokenizer.eos_token_id
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)
    assert summary_of(run)["model"] == "t5 of size tiny"
    assert summary_of(run)["weights"] == "random"
    with pytest.raises(StageError, match="there are none"):
        import_base(BaseConfig(model="t5", weights="random"), stage_run_in(tmp_path / "other"))
