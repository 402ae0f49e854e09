"""`touchstone sweep` of a profile that classifies: chosen by validation rows; test rows are of one alone."""

import random
from types import SimpleNamespace

import pytest

from tasks.classify.outputs import Evaluation
from tasks.models.summary import ModelSummary
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import reference_to
from tasks.sweep.outputs import RowValues

pytestmark = pytest.mark.slow
RATES = ("1e-2", "1e-5")
PROFILE = """
labelled: mails.tsv
rows: {header: [label, text], train: 0.5, validation: 0.2}
tokenize: {kind: bpe, vocab_size: 300}
pretrain: {size: 1x2x16, context: 64, steps: 4, batch_size: 2, warmup: 1, eval_every: 2, preflight: warn}
classify: {epochs: 2, max_length: 64, evaluations: 1, batch_size: 8, preflight: warn}
promote: {min_score: 0}
"""
WORDS = {"ham": "mother home dinner letter garden".split(), "spam": "prize winner claim cash urgent".split()}
OVER = ("sweep", "mails.yaml", "--over", f"classify.learning_rate={','.join(RATES)}", "--sampler", "grid")


def mails():
    draw = random.Random(3)
    for number in range(60):
        label = ("ham", "spam")[number % 2]
        yield f"{label}\t{' '.join(draw.choices(WORDS[label], k=4))} {number:03d}"


@pytest.fixture(scope="module", params=["validation_loss", "validation_score"])
def swept(make_workplace, request):
    workplace = make_workplace(f"classifiers by {request.param}")
    (workplace.folder / "mails.yaml").write_text(PROFILE)
    (workplace.folder / "mails.tsv").write_text("".join(f"{line}\n" for line in mails()))
    result = workplace(*OVER, "--by", request.param, "--json")
    assert result.status == 0, result.err
    return SimpleNamespace(workplace=workplace, by=request.param, told=result.json)


def outputs_of(swept, run_id):
    """The folder of each stage's output."""
    tracking, start = swept.workplace.store(), "touchstone.stage."
    tags = tracking.client.get_run(run_id).data.tags
    made = {tag.removeprefix(start): value for tag, value in tags.items() if tag.startswith(start)}
    return {
        stage: fetch(tracking, reference_to(tracking.client.get_run(own))) / OUTPUT
        for stage, own in made.items()
    }


def test_trials_of_classifiers_touch_no_test_rows(swept):
    trials = swept.told["trials"]
    assert [one["state"] for one in trials] == ["done", "done"]
    assert trials[1]["cached"] > 0
    for one in trials:
        made = outputs_of(swept, one["run_id"])
        assert not made.keys() & {"promote", "report"}
        assert Evaluation.find(made["classify"]) is None
        values = RowValues.read(made["validate"])
        assert values.test is None
        assert values.mean == pytest.approx(one["value"], rel=1e-4)


def test_classifier_that_is_chosen_has_the_weights_of_its_trial(swept):
    best = next(one for one in swept.told["trials"] if one["number"] == swept.told["best"])
    made, tried = (
        outputs_of(swept, run)["classify"] for run in (swept.told["chosen_run_id"], best["run_id"])
    )
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (made, tried)]
    assert weights[0] == weights[1]
    assert Evaluation.read(made).splits.keys() == {"train", "validation", "test"}
    if swept.by == "validation_loss":
        assert ModelSummary.read(made).best_validation_loss == best["value"]
    assert swept.told["model"]["name"] == "touchstone-mails"


def test_page_of_classifiers_tells_of_validation_and_test_rows(swept):
    told = " ".join(swept.workplace("report", swept.told["run_id"]).out.split())
    assert "Chosen among 2 trials" in told
    assert "The validation value is of" in told
    assert "On the test rows it scores" in told
    rows = "On 18 test rows, which nothing was chosen by, the validation loss is"
    assert (rows in told) == (swept.by == "validation_loss")
    assert swept.told.get("metric") == (None if swept.by == "validation_loss" else "metric:accuracy")


def test_trial_of_classifiers_has_no_card(swept):
    result = swept.workplace("report", swept.told["trials"][0]["run_id"])
    assert result.status == 2
    assert "its model was measured on validation rows alone" in " ".join(result.err.split())
