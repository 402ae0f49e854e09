"""A trial's classifier of each task: trained as any, no test row measured, its validation told row by row."""

import pytest

from tasks.classify.examples import classified
from tasks.classify.outputs import Evaluation
from tasks.classify.stage import classify
from tasks.config import ClassifyConfig, PromoteConfig, ReportConfig, SeedRun, SeedsConfig, ValidateConfig
from tasks.errors import StageError
from tasks.registry.promote.stage import promote
from tasks.rows import load_split
from tasks.seeds.stage import seeds
from tasks.sweep.outputs import RowValues
from tasks.sweep.validating import validate
from tests.classify.tagged_rows import rows_in, several_row, tagged_row
from tests.finetune.labelled_texts import gpt_in, message_tokenizer, text_row
from tests.finetune.test_answering import asked_row
from tests.finetune.test_choosing import chosen_row
from tests.runs import stage_run_in, summary_of, weights_in

CONFIG = ClassifyConfig(
    tune="full", epochs=2, batch_size=8, learning_rate=5e-3, max_length=40, evaluations=2, device="cpu"
).model_copy(update={"preflight": "warn"})
ROWS = {
    "classification": (text_row, "metric:accuracy"),
    "multi-label": (several_row, "metric:labels-f1"),
    "tokens": (tagged_row, "metric:sentence-f1"),
    "questions": (asked_row, "metric:f1"),
    "choices": (chosen_row, "metric:accuracy"),
}
MEASURED = {"evaluation.json", "predictions.jsonl", "scores.json", "scores.jsonl"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return gpt_in(tmp_path_factory.mktemp("base"), message_tokenizer(), dropout=0.1)


def trained(base, rows, folder, **fields):
    run = stage_run_in(folder)
    classify(CONFIG.model_copy(update=fields), run, base=base, rows=rows)
    return run


def values(model, rows, folder, **fields):
    run = stage_run_in(folder)
    validate(ValidateConfig(classify=CONFIG, **fields), run, model=model.out, rows=rows)
    return RowValues.read(run.out)


@pytest.mark.parametrize("kind", ROWS)
def test_trial_of_a_classifier_is_measured_on_validation_rows(base, tmp_path, kind):
    make, scorer = ROWS[kind]
    rows = rows_in(tmp_path / "rows", make)
    run = trained(base, rows, tmp_path / "trial", measure_test=False)
    assert not {path.name for path in run.out.iterdir()} & MEASURED
    found = values(run, rows, tmp_path / "losses", test=True)
    assert len(found.validation["sums"]) == len(load_split(rows, "validation")) == 8
    assert len(found.test["sums"]) == 12
    assert found.mean == pytest.approx(summary_of(run)["best_validation_loss"], rel=1e-4)
    scored = values(run, rows, tmp_path / "scores", score=True)
    assert (scored.scorer, scored.test) == (scorer, None)
    assert 0.0 <= scored.mean <= 100.0


def test_trial_has_the_weights_of_the_whole_run(base, tmp_path):
    rows = rows_in(tmp_path / "rows", text_row)
    trial = trained(base, rows, tmp_path / "trial", measure_test=False)
    whole = trained(base, rows, tmp_path / "whole")
    own, other = weights_in(trial), weights_in(whole)
    assert all((own[name] == other[name]).all() for name in own.keys() | other.keys())
    assert {path.name for path in whole.out.iterdir()} >= MEASURED
    assert summary_of(whole) | {"measured_test": False} == summary_of(trial)
    scored = values(whole, rows, tmp_path / "scores", score=True)
    accuracy = Evaluation.read(whole.out).splits["validation"]["accuracy"]["mean"]
    assert scored.mean == pytest.approx(100.0 * accuracy)


def test_values_of_rows_of_one_source_are_one(base, tmp_path):
    rows = rows_in(tmp_path / "rows", lambda number: text_row(number) | {"source": f"mail {number // 2}"})
    trial = trained(base, rows, tmp_path / "trial", measure_test=False)
    found = values(trial, rows, tmp_path / "losses")
    assert (found.unit, found.validation["counts"]) == ("sources of rows", [2.0] * 4)
    assert found.mean == pytest.approx(summary_of(trial)["best_validation_loss"], rel=1e-4)


CARD, PROMOTION, COMPARISON = (
    lambda trial, rows, run: classified(ReportConfig(), trial),
    lambda trial, rows, run: promote(PromoteConfig(name="a"), run, model=trial, rows=rows, scores=trial),
    lambda trial, rows, run: seeds(SeedsConfig(runs=(ONE,)), run, seed_1_classifier=trial),
)
ONE = SeedRun(number=1, seeds={"classify": 1})


@pytest.mark.parametrize("show", [CARD, PROMOTION, COMPARISON])
def test_trial_is_neither_shown_nor_promoted_nor_compared(base, tmp_path, show):
    rows = rows_in(tmp_path / "rows", text_row)
    trial = trained(base, rows, tmp_path / "trial", measure_test=False)
    with pytest.raises(StageError, match="is of a trial of a sweep, whose test rows were not measured"):
        show(trial.out, rows, stage_run_in(tmp_path / "run"))
