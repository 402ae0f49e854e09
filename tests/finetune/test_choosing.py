"""Multiple choice: learned by encoders and causal bases, measured against chance and the choices alone."""

import json
from dataclasses import replace

import mlflow
import pandas as pd
import pytest
import torch
from transformers import AutoConfig

from tasks.batches.choices import IGNORED, choice_loss, choice_scores
from tasks.batches.choosing import sequences_of
from tasks.classify.choice_baselines import choice_baselines
from tasks.classify.choices import TASK
from tasks.classify.predicting import predict
from tasks.classify.stage import classify
from tasks.config import ClassifyConfig, PredictConfig
from tasks.errors import StageError
from tasks.models.architectures import longest
from tasks.models.classifier import with_trained_weights
from tasks.preflight.choices import preflight_choices, right_choices
from tasks.rows import SPLITS, load_split, write_rows
from tests.finetune.labelled_texts import HAM, SPAM, byte_pieces, gpt_in, message_tokenizer, wordpieces
from tests.runs import stage_run_in

CONFIG = ClassifyConfig(tune="full", epochs=6, batch_size=4, learning_rate=1e-2, max_length=24, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def chosen_row(number):
    """The right choice repeats the prompt's word, of two choices or three; no choice tells it alone."""
    words = [HAM[(number + step) % 6] for step in range(2 + number % 2)]
    answer = number // 2 % len(words)
    prompt = f"note {SPAM[number % 6]} {words[answer]}"
    return {"id": number, "prompt": prompt, "choices": words, "answer": answer}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen")
    every = [chosen_row(number) for number in range(60)]
    for split, members in zip(SPLITS, (every[:42], every[42:48], every[48:]), strict=True):
        write_rows(folder / f"{split}.jsonl", members)
    return folder


@pytest.fixture(scope="module")
def bases(encoders, families, tmp_path_factory):
    own = gpt_in(tmp_path_factory.mktemp("gpt"), message_tokenizer())
    return {"ours": own, "llama": families["llama"], **encoders}


def made(base, folder, config=CONFIG):
    tokenizer, found = TASK.tokenizer(base / "model"), TASK.read(folder)
    model = TASK.new_model(base / "model", TASK.labels(found), tokenizer, 1)
    return model, TASK.data(config, tokenizer, found, longest(model))


def read(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize("kind", ["bert", pytest.param("ours", marks=pytest.mark.slow)])
def test_a_base_learns_to_choose_and_chooses_the_same_again(bases, asked, tmp_path, kind):
    """Measured as it is said, by the stage, by what measures a champion anew, and by MLflow."""
    run = stage_run_in(tmp_path / "run")
    classify(CONFIG.model_copy(update={"preflight": "warn"}), run, base=bases[kind], rows=asked)
    evaluation = json.loads((run.out / "evaluation.json").read_text())
    test, predictions = load_split(asked, "test"), read(run.out, "predictions.jsonl")
    assert [row["label"] for row in predictions] == [row["choices"][row["answer"]] for row in test]
    right = [row["predicted"] == row["label"] for row in predictions]
    assert evaluation["splits"]["test"]["accuracy"]["mean"] == pytest.approx(sum(right) / len(right))
    assert evaluation["splits"]["test"]["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert evaluation["splits"]["train"]["accuracy"]["mean"] > 0.55
    assert [line["metric:accuracy"] for line in read(run.out, "scores.jsonl")] == [
        100.0 * one for one in right
    ]
    again = stage_run_in(tmp_path / "again")
    predict(PredictConfig(device="cpu"), again, model=run.out, rows=asked)
    assert [row["predicted"] for row in read(again.out, "predictions.jsonl")] == [
        row["predicted"] for row in predictions
    ]
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    with mlflow.start_run():
        info = TASK.log("chosen", run.out / "model", ("score",), predictions[:1])
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    given = loaded.predict(pd.DataFrame([TASK.inputs(row) for row in predictions])).to_dict("records")
    for row, answer in zip(predictions, given, strict=True):
        assert TASK.difference(row, answer) is None
        assert row["choices"][answer["place"]] == answer["choice"]
        assert sum(answer["probabilities"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "kind",
    [
        "ours",
        "bert",
        *(pytest.param(one, marks=pytest.mark.slow) for one in ("llama", "roberta", "distilbert")),
    ],
)
def test_a_fresh_model_passes_every_check_of_the_model(bases, asked, kind):
    for tune in ("full", "lora", "last-block"):
        config = CONFIG.model_copy(update={"tune": tune})
        model, data = made(bases[kind], asked, config)
        report = preflight_choices(config, with_trained_weights(config, model, TASK.head), data)
        of_rows = ("splits share", "corpus")
        assert [result for result in report.failed if not result.check.startswith(of_rows)] == []


def test_an_encoder_gets_the_head_for_multiple_choice(bases, asked, tmp_path):
    for kind, name in (("bert", "BertForMultipleChoice"), ("ours", "GPT2ForSequenceClassification")):
        model, data = made(bases[kind], asked)
        model.save_pretrained(tmp_path / kind)
        assert AutoConfig.from_pretrained(tmp_path / kind).architectures == [name]
        again = TASK.load(tmp_path / kind)
        one, other = (choice_scores(each, data, data.texts["test"]) for each in (model, again))
        assert all(torch.allclose(first, second, atol=1e-5) for first, second in zip(one, other, strict=True))


def test_the_loss_is_over_the_choices_of_each_row():
    scores, labels = (
        torch.randn(5, generator=torch.Generator().manual_seed(0)),
        torch.tensor([1, IGNORED, 2, IGNORED, IGNORED]),
    )
    expected = -(scores[:2].log_softmax(0)[1] + scores[2:].log_softmax(0)[2])
    assert choice_loss(scores, labels) == pytest.approx(expected / 2)
    assert choice_loss(scores, labels, torch.tensor(8)) == pytest.approx(expected / 8)


@pytest.mark.parametrize("make", [wordpieces, byte_pieces, message_tokenizer])
def test_a_long_prompt_loses_its_beginning(make):
    tokenizer = make()
    tokenizer.model_max_length = 16
    prompt = " ".join(HAM * 3)
    found = sequences_of(tokenizer, prompt, ["prize", "claim cash"])
    assert found.lost > 0
    for ids, choice in zip(found.input_ids, ("prize", "claim cash"), strict=True):
        assert len(ids) <= 16
        text = tokenizer.decode(ids, skip_special_tokens=True).strip()
        assert text.endswith(choice)
        assert "letter garden" in text
    with pytest.raises(ValueError, match=r"a choice takes \d+ of 16 tokens"):
        sequences_of(tokenizer, prompt, [prompt])


def test_a_choice_that_leaves_no_room_is_told_with_its_row(bases, tmp_path):
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.jsonl", [chosen_row(3) | {"choices": ["home", " ".join(HAM * 4)]}])
    with pytest.raises(StageError, match="train row 3: a choice takes"):
        made(bases["ours"], tmp_path)


def test_a_wrong_right_choice_is_refused(bases, asked):
    _, data = made(bases["ours"], asked)
    assert right_choices(data).verdict == "passed"
    first, *others = data.texts["train"]
    moved = replace(first, answer=(first.answer + 1) % len(first.choices))
    result = right_choices(replace(data, texts=data.texts | {"train": [moved, *others]}))
    assert (result.verdict, result.where) == ("failed", "train row 0")


def test_choices_that_tell_themselves_are_found_out(bases, tmp_path):
    """Annotation artefacts: the right choice is the longer one, or has a word of its own."""
    every = [
        {"id": number, "prompt": f"note {number}", "choices": words, "answer": words.index("cash offer home")}
        for number in range(40)
        for words in [["cash offer home", "urgent"][:: (1, -1)[number % 2]]]
    ]
    for split, members in zip(SPLITS, (every[:20], every[20:24], every[24:]), strict=True):
        write_rows(tmp_path / f"{split}.jsonl", members)
    _, data = made(bases["ours"], tmp_path)
    found = {baseline.name: baseline.predicted for baseline in choice_baselines(data)}
    truth = [row["choices"][row["answer"]] for row in data.rows["test"]]
    assert found["longest choice"] == found["choices alone"] == truth
    assert found["likeliest place"] != truth


def test_rows_without_choices_are_named(tmp_path):
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.jsonl", [{"id": 4, "text": "a", "label": "b"}])
    with pytest.raises(StageError, match="train row 4 holds id, text, label; expected a prompt, choices"):
        TASK.read(tmp_path)
