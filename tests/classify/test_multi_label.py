"""A classifier of several labels a text: its measures, its baselines, its answers."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from tasks.classify.multi_label import TASK, labels_learned
from tasks.classify.served.labels import Labels
from tasks.classify.stage import classify
from tasks.config import ClassifyConfig
from tasks.machine.json_files import read_lines
from tests.classify.tagged_rows import rows_in, several_row
from tests.finetune.labelled_texts import CONTEXT, gpt_in, message_tokenizer
from tests.runs import stage_run_in

CONFIG = ClassifyConfig(tune="full", epochs=12, batch_size=8, learning_rate=5e-3, evaluations=3, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("several"), several_row)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return gpt_in(tmp_path_factory.mktemp("base"), message_tokenizer())


@pytest.fixture(scope="module")
def trained(rows, base, tmp_path_factory):
    run = stage_run_in(tmp_path_factory.mktemp("trained"))
    classify(CONFIG, run, base=base, rows=rows)
    return run


def test_measures_are_those_counted_by_hand():
    truth, given = [["a", "b"], ["a"], []], [["a"], ["a", "b"], []]
    found = TASK.measured(truth, given, ["a", "b"], ())
    assert found["labels_f1"]["mean"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["micro_f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert found["f1"] == {"a": 1.0, "b": 0.0}
    assert (found["macro_f1"], found["exact_match"]) == (0.5, pytest.approx(1 / 3))
    assert found["hamming_loss"] == pytest.approx(2 / 6)


def test_labels_are_learned_and_measured_against_baselines(trained):
    evaluation = json.loads((trained.out / "evaluation.json").read_text())
    assert (evaluation["task"], evaluation["measure"]) == ("multi-label", "labels_f1")
    assert [one["name"] for one in evaluation["baselines"]] == ["majority", "bag of words"]
    predictions = read_lines(trained.out / "predictions.jsonl")
    exact = sum(row["predicted"] == row["labels"] for row in predictions) / len(predictions)
    assert evaluation["splits"]["test"]["exact_match"] == pytest.approx(exact)
    assert evaluation["splits"]["test"]["labels_f1"]["mean"] > evaluation["baselines"][0]["labels_f1"]["mean"]
    assert json.loads((trained.out / "model" / "config.json").read_text())["problem_type"] == (
        "multi_label_classification"
    )


def test_a_text_gives_a_list_of_labels(trained):
    served = Labels()
    served.load_context(SimpleNamespace(artifacts={"model": str(trained.out / "model")}))
    predictions = read_lines(trained.out / "predictions.jsonl")
    answers = served.predict(None, pd.DataFrame([TASK.inputs(row) for row in predictions]))
    for row, answer in zip(predictions, answers, strict=True):
        assert TASK.difference(row, answer) is None
        assert {one["label"] for one in answer["probabilities"]} == {"ham", "spam"}


def test_a_label_of_no_or_every_training_row_is_found(rows, base):
    tokenizer = TASK.tokenizer(base / "model")
    found = TASK.read(rows)
    assert labels_learned(TASK.data(CONFIG, tokenizer, found, CONTEXT)).verdict == "passed"
    found["test"][0]["labels"].append("work")
    result = labels_learned(TASK.data(CONFIG, tokenizer, found, CONTEXT))
    assert (result.verdict, result.where) == ("failed", f"test row {found['test'][0]['id']}")
    for row in found["train"]:
        row["labels"] = ["ham", *(["work"] if row["id"] % 2 else [])]
    assert "'ham'" in labels_learned(TASK.data(CONFIG, tokenizer, found, CONTEXT)).found
