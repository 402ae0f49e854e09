"""Classification: the head alone is new, the last real token is read, and it is measured as it is said."""

import json
import math
import signal
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import AutoTokenizer, Trainer

from tasks.batches.labelled import classifying_tokenizer
from tasks.classify import labels
from tasks.classify import stage as classification
from tasks.classify.labels import TASK
from tasks.classify.stage import classify
from tasks.config import ClassifyConfig, LoraConfig
from tasks.errors import RefusedError, StageError
from tasks.models.architectures import longest
from tasks.models.classifier import load_classifier, new_classifier, with_trained_weights
from tasks.registry.promote.candidate import read_scores
from tasks.rows import load_split, write_rows
from tasks.tokenize.stage import characters, text_ids
from tests.finetune.labelled_texts import (
    CONTEXT,
    LAST_PARTS,
    MODELS,
    SPECIAL,
    gpt_in,
    message_tokenizer,
    text_row,
    text_rows_in,
)
from tests.finetune.tuning import history_in
from tests.runs import die, stage_run_in, summary_of, weights_in

SMALL = ClassifyConfig(epochs=2, batch_size=4, learning_rate=5e-3, max_length=CONTEXT, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def changed(**fields):
    return ClassifyConfig(**(SMALL.model_dump() | fields))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return text_rows_in(tmp_path_factory.mktemp("labelled") / "rows")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """With dropout, so that a lost random state shows (pitfall 18)."""
    return gpt_in(tmp_path_factory.mktemp("base"), message_tokenizer(), dropout=0.1)


@pytest.fixture(scope="module")
def plain_base(tmp_path_factory):
    return gpt_in(tmp_path_factory.mktemp("plain"), message_tokenizer())


def classified(config, base, rows, folder, **watching):
    run = stage_run_in(folder, **watching)
    classify(config, run, base=base, rows=rows)
    return run


@pytest.fixture(scope="module")
def uninterrupted(base, rows, tmp_path_factory):
    return classified(SMALL, base, rows, tmp_path_factory.mktemp("uninterrupted"))


@pytest.fixture
def unmeasured(monkeypatch):
    """For tests of the training alone: the baselines and pictures take half of a stage's time."""
    monkeypatch.setattr(classification, "write_findings", lambda *_: None)


def evaluation_of(run):
    return json.loads((run.out / "evaluation.json").read_text())


def predictions_of(run):
    return [json.loads(line) for line in (run.out / "predictions.jsonl").read_text().splitlines()]


def made(config, base, rows):
    """Model and texts as the stage makes them, before training."""
    tokenizer, found = classifying_tokenizer(base / "model"), TASK.read(rows)
    model = new_classifier(base / "model", ("ham", "spam"), tokenizer, config.seed)
    return with_trained_weights(config, model), TASK.data(config, tokenizer, found, longest(model))


# The model


@pytest.mark.parametrize("family", MODELS)
def test_head_alone_is_new_and_last_block_norm_and_head_train(families, rows, family):
    model, _ = made(SMALL, families[family], rows)
    stored = load_file(families[family] / "model" / "model.safetensors")
    own = {
        name: tensor for name, tensor in model.state_dict().items() if name.removeprefix("base.") in stored
    }
    assert all(torch.equal(stored[name], tensor) for name, tensor in own.items())
    assert {name for name in model.state_dict() if name not in stored} == {"score.weight"}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    parts = LAST_PARTS[family]
    assert trained == {name for name in dict(model.named_parameters()) if name.startswith(parts)}
    assert all(any(name.startswith(part) for name in trained) for part in parts)


def test_the_head_is_drawn_by_the_seed_and_guesses_at_first(plain_base, rows):
    heads = [made(changed(seed=seed), plain_base, rows)[0].score.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].std().item() == pytest.approx(1 / 16, rel=0.3)


def test_a_base_that_lacks_a_weight_is_refused(plain_base, rows, tmp_path):
    """Pitfall 23: Transformers would draw it at random and say so in the log alone."""
    model, tokenizer = (
        load_classifier(plain_base / "model"),
        AutoTokenizer.from_pretrained(plain_base / "model"),
    )
    lacking = {n: t for n, t in model.state_dict().items() if n != "transformer.h.1.mlp.c_fc.weight"}
    model.save_pretrained(tmp_path / "model", state_dict=lacking)
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(StageError, match=r"transformer\.h\.1\.mlp\.c_fc\.weight is missing; only the head"):
        made(SMALL, tmp_path, rows)


def test_a_tokenizer_of_another_model_is_refused(plain_base, rows, tmp_path):
    gpt_in(tmp_path, message_tokenizer())
    bigger = AutoTokenizer.from_pretrained(tmp_path / "model")
    bigger.add_tokens([f"token{number}" for number in range(9)])
    bigger.save_pretrained(tmp_path / "model")
    with pytest.raises(StageError, match="it is another model's"):
        made(SMALL, tmp_path, rows)


def test_lora_trains_adapters_and_head_and_is_written_whole(base, rows, tmp_path, unmeasured):
    run = classified(changed(tune="lora", learning_rate=2e-2), base, rows, tmp_path)
    written, before = weights_in(run), load_file(base / "model" / "model.safetensors")
    assert {*written} == {*before, "score.weight"}
    moved = {name for name, tensor in before.items() if not torch.equal(tensor, written[name])}
    assert moved == {
        name for name in before if name.endswith(".weight") and (".attn." in name or ".mlp." in name)
    }
    assert summary_of(run)["trainable_parameters"] < summary_of(run)["parameters"]


@pytest.mark.parametrize("lora", [LoraConfig(quantize="4bit"), LoraConfig(adapters="kept")])
def test_what_a_classifier_cannot_be_is_refused_as_configured(lora):
    with pytest.raises(
        ValidationError, match="a classifier is trained in float32 or bfloat16 and written whole"
    ):
        changed(tune="lora", lora=lora)


def test_frozen_weights_stay_bit_for_bit(uninterrupted, base):
    before, after = load_file(base / "model" / "model.safetensors"), weights_in(uninterrupted)
    trained = ("transformer.h.1.", "transformer.ln_f.")
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) != name.startswith(trained), name


# The tokens


def test_a_text_that_spells_a_special_token_is_text(plain_base, rows, tmp_path, unmeasured):
    rows = text_rows_in(tmp_path / "rows")
    tricky = {"id": 99, "text": f"claim{SPECIAL}", "label": "spam"}
    write_rows(rows / "test.jsonl", [tricky])
    _, data = made(SMALL, plain_base, rows)
    (text,) = data.texts["test"]
    assert data.tokenizer.eos_token_id not in text.input_ids
    assert data.tokenizer.decode(text.input_ids) == tricky["text"]
    run = classified(changed(epochs=0.2), plain_base, rows, tmp_path / "run")
    loaded = AutoTokenizer.from_pretrained(run.out / "model")
    assert loaded(tricky["text"])["input_ids"] == text.input_ids, "the saved tokenizer reads as this one"


def test_long_texts_lose_their_end_and_are_counted(plain_base, rows, tmp_path, unmeasured):
    tokenizer = AutoTokenizer.from_pretrained(plain_base / "model")
    whole = text_ids(tokenizer, [row["text"] for row in load_split(rows, "train")])
    length = sorted(map(len, whole))[10]
    config = changed(max_length=length, epochs=0.2)
    _, data = made(config, plain_base, rows)
    assert [text.input_ids for text in data.texts["train"]] == [ids[:length] for ids in whole]
    assert [text.lost for text in data.texts["train"]] == [max(0, len(ids) - length) for ids in whole]
    run = classified(config, plain_base, rows, tmp_path)
    assert summary_of(run)["rows_cut"] == sum(len(ids) > length for ids in whole) > 0
    loaded = AutoTokenizer.from_pretrained(run.out / "model")
    assert loaded(load_split(rows, "train")[3]["text"], truncation=True)["input_ids"] == whole[3][:length]


def test_no_text_is_longer_than_the_context(plain_base, rows):
    _, data = made(changed(max_length=10_000), plain_base, rows)
    assert data.max_length == CONTEXT


def test_beginning_token_stands_where_the_tokenizer_puts_it(families, rows):
    _, data = made(changed(max_length=4), families["llama"], rows)
    begin = data.tokenizer.bos_token_id
    for row, text in zip(data.rows["train"], data.texts["train"], strict=True):
        assert text.input_ids == [begin, *text_ids(data.tokenizer, [row["text"]])[0][:3]]


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_row_without_a_text_is_named(plain_base, tmp_path, text):
    rows = text_rows_in(tmp_path / "rows")
    write_rows(rows / "validation.jsonl", [text_row(0) | {"id": 77, "text": text}])
    with pytest.raises(StageError, match="validation row 77 has no text to classify"):
        made(SMALL, plain_base, rows)


def test_rows_of_another_format_and_of_one_label_are_refused(plain_base, tmp_path):
    rows = text_rows_in(tmp_path / "rows")
    write_rows(rows / "train.jsonl", [{"id": 0, "instruction": "Hi", "input": "", "output": "Ho"}])
    with pytest.raises(
        StageError, match=r"train row 0 holds id, instruction, .* rows\.format=classification"
    ):
        made(SMALL, plain_base, rows)
    write_rows(rows / "train.jsonl", [text_row(index) for index in (0, 2, 4)])
    with pytest.raises(StageError, match="found 3 training rows, labelled ham; expected at least two labels"):
        made(SMALL, plain_base, rows)


def padded_with(tokenizer, **special):
    for name, token in special.items():
        setattr(tokenizer, name, token)
    return tokenizer


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        ({"pad_token": SPECIAL}, SPECIAL),
        ({"pad_token": "e"}, SPECIAL),
        ({"pad_token": None}, SPECIAL),
        ({"pad_token": "<|pad|>", "unk_token": "<|pad|>"}, "<|pad|>"),
        ({}, "<|pad|>"),
    ],
    ids=["the end token", "a letter", "none", "an unknown token that bytes never need", "one of its own"],
)
def test_pitfall_16_padding_is_a_token_that_no_text_holds(plain_base, tmp_path, special, expected):
    tokenizer = padded_with(AutoTokenizer.from_pretrained(plain_base / "model"), **special)
    tokenizer.save_pretrained(tmp_path)
    assert classifying_tokenizer(tmp_path).pad_token == expected


def test_pitfall_16_padding_is_not_what_an_unknown_char_becomes(tmp_path):
    padded_with(characters(["abc"]), pad_token="<|unk|>").save_pretrained(tmp_path)
    assert classifying_tokenizer(tmp_path).pad_token == SPECIAL


def test_a_tokenizer_without_such_a_token_is_refused(plain_base, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(plain_base / "model")
    padded_with(tokenizer, pad_token="e", eos_token="t", bos_token="a").save_pretrained(tmp_path)
    with pytest.raises(StageError, match="no token that a text cannot hold: its padding is 'e', its end 't'"):
        classifying_tokenizer(tmp_path)


# The training


def recorded_batches(monkeypatch):
    batches, compute = [], Trainer.compute_loss

    def recording(trainer, model, inputs, *args, **kwargs):
        batches.append({name: tensor.clone() for name, tensor in inputs.items()})
        return compute(trainer, model, inputs, *args, **kwargs)

    monkeypatch.setattr(Trainer, "compute_loss", recording)
    return batches


@pytest.mark.parametrize("accumulated", [(2, 4), (3, 3)], ids=str)
def test_accumulation_changes_neither_losses_nor_weights(
    plain_base, rows, tmp_path, monkeypatch, accumulated, unmeasured
):
    """Pitfall 17, with 25 rows, so that the last batches are ragged too."""
    runs, order = [], []
    batch, accumulation = accumulated
    for size, times in ((batch * accumulation, 1), accumulated):
        with monkeypatch.context() as patch:
            batches = recorded_batches(patch)
            config = changed(batch_size=size, accumulation=times, learning_rate=1e-3)
            runs.append(classified(config, plain_base, rows, tmp_path / f"{size}"))
            order.append(
                [
                    ids[m.bool()].tolist()
                    for b in batches
                    for ids, m in zip(b["input_ids"], b["attention_mask"], strict=True)
                ]
            )
    assert order[0] == order[1]
    assert len(order[0]) == 2 * 25
    whole, split = (history_in(run, "train_loss") for run in runs)
    assert split == pytest.approx(whole, rel=1e-5)
    for name, weight in weights_in(runs[0]).items():
        torch.testing.assert_close(weights_in(runs[1])[name], weight, atol=2e-5, rtol=0)


def test_evaluation_is_a_mean_over_rows_of_the_model_as_written(uninterrupted, rows):
    """Pitfalls 16 and 20: each text alone, without padding, gives the loss that is reported."""
    model = load_classifier(uninterrupted.out / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(uninterrupted.out / "model")
    for split in ("train", "validation", "test"):
        logits, truth = [], []
        for row in load_split(rows, split):
            ids = torch.tensor([tokenizer(row["text"])["input_ids"]])
            with torch.no_grad():
                hidden = model.transformer(ids).last_hidden_state[0, -1]
            logits.append(model.score.weight @ hidden)
            truth.append(["ham", "spam"].index(row["label"]))
        found = evaluation_of(uninterrupted)["splits"][split]
        loss = F.cross_entropy(torch.stack(logits), torch.tensor(truth)).item()
        assert found["loss"] == pytest.approx(loss, rel=1e-5)
        right = [int(one.argmax()) == true for one, true in zip(logits, truth, strict=True)]
        assert found["accuracy"]["mean"] == sum(right) / len(right)
        if split == "validation":
            assert summary_of(uninterrupted)["best_validation_loss"] == pytest.approx(loss, rel=1e-5)
            best = summary_of(uninterrupted)["best_step"]
            entries = [
                json.loads(line) for line in (uninterrupted.out / "history.jsonl").read_text().splitlines()
            ]
            at_best = [e for e in entries if e["step"] == best and "validation_accuracy" in e]
            assert at_best[0]["validation_accuracy"] == found["accuracy"]["mean"]


def test_the_best_model_is_written_and_not_the_last(base, rows, tmp_path, monkeypatch, unmeasured):
    scripted, states = iter([3.0, 1.0, 2.0, 1.5]), []

    def remember(model, *_):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return SimpleNamespace(loss=next(scripted), accuracy=0.5)

    monkeypatch.setattr(labels, "predict", remember)
    run = classified(SMALL, base, rows, tmp_path)
    written = weights_in(run)
    same = [all(torch.equal(state[name], written[name]) for name in written) for state in states]
    assert same == [False, True, False, False]
    assert (summary_of(run)["best_step"], summary_of(run)["best_validation_loss"]) == (8, 1.0)


def test_without_validation_rows_the_last_model_is_written(base, tmp_path):
    rows = text_rows_in(tmp_path / "rows", validation=0)
    run = classified(changed(epochs=1), base, rows, tmp_path / "run")
    assert history_in(run, "validation_loss") == []
    assert (summary_of(run)["steps"], summary_of(run)["best_validation_loss"]) == (7, None)
    evaluation = evaluation_of(run)
    assert list(evaluation["splits"]) == ["train", "test"]
    assert "no validation rows to choose by" in evaluation["baselines"][1]["description"]


def test_it_learns_what_the_words_say(plain_base, rows, tmp_path):
    run = classified(changed(tune="full", epochs=6), plain_base, rows, tmp_path)
    test = evaluation_of(run)["splits"]["test"]
    assert test["accuracy"]["mean"] == 1
    assert test["loss"] < 0.3 * math.log(2)
    assert history_in(run, "train_loss")[0] == pytest.approx(math.log(2), abs=0.1)


def test_a_loss_that_is_not_a_number_is_an_error(base, rows, tmp_path):
    with pytest.raises(StageError, match=r"loss became nan at step .*Lower the stage's learning_rate"):
        classified(changed(learning_rate=1e30, warmup=0), base, rows, tmp_path)
    assert not (tmp_path / "output" / "model").exists()


def test_failed_check_refuses_the_training_before_its_first_step(base, tmp_path):
    rows = text_rows_in(tmp_path / "rows")
    write_rows(rows / "test.jsonl", [load_split(rows, "train")[3]])
    with pytest.raises(RefusedError, match="classification, splits share no row"):
        classified(SMALL, base, rows, tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoint").glob("checkpoint-*"))


def test_nothing_is_printed_on_standard_output(base, rows, tmp_path, capfd):
    classified(changed(epochs=0.2), base, rows, tmp_path)
    assert capfd.readouterr().out == ""


# What is written


def test_the_numbers_are_those_of_the_predictions(uninterrupted, rows):
    evaluation, predictions = evaluation_of(uninterrupted), predictions_of(uninterrupted)
    assert [row["id"] for row in predictions] == [row["id"] for row in load_split(rows, "test")]
    labels = evaluation["labels"]
    assert labels == ["ham", "spam"]
    for numbers, column in [
        (evaluation["splits"]["test"], "predicted"),
        *((baseline, baseline["name"]) for baseline in evaluation["baselines"]),
    ]:
        counted = [
            [sum((p["label"], p[column]) == (true, given) for p in predictions) for given in labels]
            for true in labels
        ]
        assert numbers["confusion"] == counted
        assert numbers["accuracy"]["mean"] == pytest.approx(
            (counted[0][0] + counted[1][1]) / len(predictions)
        )
    assert all(0.5 <= row["probability"] <= 1 for row in predictions)
    headline, entry, scores = read_scores(uninterrupted.out)
    assert headline == "metric:accuracy"
    accuracy = evaluation["splits"]["test"]["accuracy"]
    for name in ("mean", "low", "high"):  # one interval, wherever it stands
        assert entry[name] == pytest.approx(100 * accuracy[name])
    assert scores == {row["id"]: 100.0 * (row["predicted"] == row["label"]) for row in predictions}
    assert (uninterrupted.auxiliary / "confusion.png").exists()


def test_the_summary_and_the_metrics_say_what_was_trained(uninterrupted):
    summary = summary_of(uninterrupted)
    assert summary["trainable_parameters"] == 3280 + 32 + 32  # a block of width 16, its norm, the head
    assert (summary["supervised_rows"], summary["rows_cut"], summary["steps"]) == (25, 0, 14)
    assert (summary["tune"], summary["labels"]) == ("last-block", ["ham", "spam"])
    splits, metrics = evaluation_of(uninterrupted)["splits"], uninterrupted.metrics
    assert metrics["test_accuracy"] == splits["test"]["accuracy"]["mean"]
    assert metrics["best_validation_macro_f1"] == splits["validation"]["macro_f1"]
    assert metrics["validation_accuracy"] == history_in(uninterrupted, "validation_accuracy")[-1]
    assert "difference_to_bag_of_words" in metrics


# Resume (pitfall 18)

OUTPUTS = ("model/model.safetensors", "history.jsonl", "summary.json", "evaluation.json", "predictions.jsonl")


def at_step(last):
    return {"progress": lambda done, *_: die() if done == last else None}


def while_findings_are_written():
    classification.write_findings = lambda *_: die()
    return {}


# In the child alone: each prepares the process that is then killed.
MOMENTS = {
    "before the first checkpoint": lambda: at_step(2),
    "after the second checkpoint": lambda: at_step(10),
    "the outputs are being written": while_findings_are_written,
}


def classify_until(moment, base, rows, folder):
    torch.set_num_threads(1)
    classified(SMALL, base, rows, folder, **MOMENTS[moment]())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_is_continued_to_the_same_bits(
    uninterrupted, base, rows, tmp_path, processes, moment
):
    process = processes.Process(target=classify_until, args=(moment, base, rows, tmp_path))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    steps = []
    run = classified(SMALL, base, rows, tmp_path, progress=lambda done, *_: steps.append(done))
    for name in OUTPUTS:
        assert (run.out / name).read_bytes() == (uninterrupted.out / name).read_bytes(), name
    assert (steps[:1] == [1]) == (moment == "before the first checkpoint")
