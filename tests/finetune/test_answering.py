"""Questions on passages: learned by encoders and causal bases, measured, checked, and asked by MLflow."""

import json
from dataclasses import replace

import mlflow
import pandas as pd
import pytest

from tasks.batches import questions
from tasks.classify.predicting import predict
from tasks.classify.questions import TASK
from tasks.classify.stage import classify
from tasks.config import ClassifyConfig, PredictConfig
from tasks.errors import RefusedError, StageError
from tasks.models.architectures import longest
from tasks.models.classifier import with_trained_weights
from tasks.preflight.questions import answers_within, labels_are_answers, preflight_questions
from tasks.rows import SPLITS, load_split, write_rows
from tests.finetune.labelled_texts import HAM, SPAM, gpt_in, message_tokenizer
from tests.runs import stage_run_in

CONFIG = ClassifyConfig(tune="full", epochs=14, batch_size=4, learning_rate=1e-2, max_length=40, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


def asked_row(number):
    """The word behind the one that the question names; of every sixth row there is none."""
    words = [*HAM[number % 6 :], *HAM[: number % 6]][:3]
    answer = SPAM[number * 5 % 6]
    at = number % 3
    context = "note " + " ".join([*words[: at + 1], answer, *words[at + 1 :]])
    row = {"id": number, "context": context, "question": f"{words[at]}?"}
    if number % 6 == 5:
        return row | {"question": f"{HAM[(number + 4) % 6]}?", "answers": {"text": [], "answer_start": []}}
    return row | {"answers": {"text": [answer], "answer_start": [context.index(answer)]}}


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asked")
    every = [asked_row(number) for number in range(60)]
    for split, members in zip(SPLITS, (every[:42], every[42:48], every[48:]), strict=True):
        write_rows(folder / f"{split}.jsonl", members)
    return folder


@pytest.fixture(scope="module")
def bases(encoders, families, tmp_path_factory):
    own = gpt_in(tmp_path_factory.mktemp("gpt"), message_tokenizer())
    return {"ours": own, "llama": families["llama"], "bert": encoders["bert"], "roberta": encoders["roberta"]}


def made(base, folder, config=CONFIG):
    tokenizer, found = TASK.tokenizer(base / "model"), TASK.read(folder)
    model = TASK.new_model(base / "model", TASK.labels(found), tokenizer, 1)
    return model, TASK.data(config, tokenizer, found, longest(model))


def read(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize(
    "kind",
    ["ours", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("llama", "bert", "roberta"))],
)
def test_a_base_learns_to_find_answers(bases, asked, tmp_path, kind):
    run = stage_run_in(tmp_path / "run")
    classify(CONFIG.model_copy(update={"preflight": "warn"}), run, base=bases[kind], rows=asked)
    evaluation = json.loads((run.out / "evaluation.json").read_text())
    assert evaluation["splits"]["train"]["f1"]["mean"] > 0.6
    test, predictions = load_split(asked, "test"), read(run.out, "predictions.jsonl")
    assert [row["answers"] for row in predictions] == [row["answers"]["text"] for row in test]
    assert all(row["predicted"] in row["context"] for row in predictions)
    lines = read(run.out, "scores.jsonl")
    assert [line["metric:f1"] for line in lines] == [
        TASK.score(row["answers"], row["predicted"]) for row in predictions
    ]
    again = stage_run_in(tmp_path / "again")
    predict(PredictConfig(device="cpu"), again, model=run.out, rows=asked)
    for row, other in zip(read(again.out, "predictions.jsonl"), predictions, strict=True):
        assert row["predicted"] == other["predicted"]
        assert row["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_a_fresh_model_passes_every_check(bases, asked):
    for kind in ("ours", "llama", "bert"):
        model, data = made(bases[kind], asked)
        report = preflight_questions(CONFIG, model, data)
        failed = {result.check for result in report.failed}
        assert not failed & {"reads a window alone", "initial loss", "learns one batch"}
        assert not failed & {"only the intended weights are trained", "labels are the answers"}


def test_lora_and_the_last_block_train_what_they_name(bases, asked):
    for tune in ("lora", "last-block"):
        config = CONFIG.model_copy(update={"tune": tune})
        for kind in ("ours", "llama", "bert"):
            model, data = made(bases[kind], asked, config)
            report = preflight_questions(config, with_trained_weights(config, model, TASK.head), data)
            found = [result for result in report.results if result.check.startswith("only the intended")]
            assert [result.verdict for result in found] == ["passed"], found


def test_a_label_beside_the_answer_is_refused(bases, asked):
    _, data = made(bases["ours"], asked)
    assert labels_are_answers(data).verdict == "passed"
    moved = [replace(each, start=each.start + 1, end=each.end + 1) for each in data.texts["train"]]
    wrong = replace(data, texts=data.texts | {"train": moved})
    result = labels_are_answers(wrong)
    assert result.verdict == "failed"
    assert result.where == "train row 0"


def test_answers_in_no_window_are_refused(bases, tmp_path):
    """A quarter of a window is the longest answer that stands whole in one for certain."""
    for split, number in zip(SPLITS, (0, 1, 2), strict=True):
        row = asked_row(number)
        long = " ".join([row["context"]] * 4)
        whole = row | {"id": 9, "context": long, "answers": {"text": [long], "answer_start": [0]}}
        write_rows(tmp_path / f"{split}.jsonl", [row, whole])
    _, data = made(bases["ours"], tmp_path, CONFIG.model_copy(update={"max_length": 24}))
    result = answers_within(data)
    assert result.verdict == "failed"
    assert result.found.startswith("3 of 6 answers in none")
    assert result.where == "train row 9"


def test_a_model_trained_on_shifted_labels_is_stopped(bases, asked, tmp_path, monkeypatch):
    right = questions.answer_in
    monkeypatch.setattr(questions, "answer_in", lambda *given: tuple(at + 1 for at in right(*given)))
    with pytest.raises(RefusedError, match="questions, labels are the answers"):
        classify(CONFIG, stage_run_in(tmp_path), base=bases["ours"], rows=asked)


def test_rows_that_ask_nothing_are_named(tmp_path):
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.jsonl", [{"id": 4, "text": "a", "label": "b"}])
    with pytest.raises(StageError, match="train row 4 holds id, text, label; expected a context, a question"):
        TASK.read(tmp_path)


def test_rows_without_any_answer_are_refused():
    none = asked_row(5)
    with pytest.raises(StageError, match="none of 1 training questions has an answer"):
        TASK.labels({"train": [none]})


def test_questions_with_and_without_answers_are_measured_apart():
    found = TASK.measured([["Anna Berg"], [], []], ["Anna", "", "Boris"], (), ())
    assert found["f1"]["mean"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["answerable"] == {
        "rows": 1,
        "f1": pytest.approx(2 / 3),
        "exact_match": 0.0,
        "given_none": 0.0,
    }
    assert found["unanswerable"] == {"rows": 2, "f1": 0.5, "exact_match": 0.5, "given_none": 0.5}


def test_questions_on_one_passage_count_together():
    truth, given = [["a"]] * 40, (["a"] * 10 + ["b"] * 10) * 2
    apart = TASK.measured(truth, given, (), ())
    together = TASK.measured(truth, given, (), [f"passage {place // 10}" for place in range(40)])
    for name in ("f1", "exact_match_interval"):
        assert together[name]["high"] - together[name]["low"] > apart[name]["high"] - apart[name]["low"]


@pytest.mark.parametrize("kind", ["bert", pytest.param("ours", marks=pytest.mark.slow)])
def test_mlflow_gives_the_answers_that_were_evaluated(bases, asked, tmp_path, kind):
    """By the file that is logged with the model, run as MLflow runs it."""
    run = stage_run_in(tmp_path / "run")
    classify(CONFIG.model_copy(update={"preflight": "warn", "epochs": 2}), run, base=bases[kind], rows=asked)
    predictions = read(run.out, "predictions.jsonl")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    with mlflow.start_run():
        info = TASK.log("asked", run.out / "model", ("start", "end"), predictions[:1])
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    given = loaded.predict(pd.DataFrame([TASK.inputs(row) for row in predictions])).to_dict("records")
    for row, answer in zip(predictions, given, strict=True):
        assert TASK.difference(row, answer) is None
        if answer["answer"]:
            assert row["context"][answer["start"] : answer["end"]] == answer["answer"]
