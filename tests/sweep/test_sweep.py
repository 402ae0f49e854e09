"""What the trials of a sweep show, and how that is told in every form."""

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from tasks.config import SweepConfig, SweepDimension, SweepTrial
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tasks.sweep.charts import ordered, place_of
from tasks.sweep.document import card_section, document
from tasks.sweep.outputs import RowValues
from tasks.sweep.stage import best_of, distinct, sweep
from tests.runs import stage_run_in

RATE, RANK = "finetune.learning_rate", "finetune.lora.rank"
SPACE = (
    SweepDimension(setting=RATE, low=1e-4, high=1e-2, log=True),
    SweepDimension(setting=RANK, values=("16", "4", "8")),
)
RATES = ("0.0001", "0.001", "0.01", "0.003", "0.0003", "0.002")


def trial(number, value, **more):
    settings = {RATE: RATES[number % len(RATES)], RANK: ("4", "8", "16")[number % 3]}
    told = {"state": "done", "seconds": 62.0, "stages": 8, "cached": 6, "run_id": f"run{number}"}
    return SweepTrial(number=number, **{"settings": settings, "value": value} | told | more)


def failed(number, reason):
    return trial(number, None, state="failed", stages=0, cached=0, run_id=None, reason=reason)


LOSSES = (2.5, 2.1, 2.3, 2.2, 2.4)
TRIALS = (*(trial(number, value) for number, value in enumerate(LOSSES)), failed(5, "the loss became nan"))


def config(trials=TRIALS, **more):
    told = {"profile": "tiny", "command": "touchstone run tiny --set a=1", "stage": "finetune"}
    told |= {"by": "validation_loss", "direction": "minimize", "sampler": "tpe", "space": SPACE}
    return SweepConfig(**told | {"trials": trials, "resamples": 400} | more)


@pytest.fixture
def made(tmp_path):
    """What the stage makes of a configuration and of what was measured row by row."""

    def make(asked, **measured):
        folders = {}
        for name, values in measured.items():
            folders[name] = tmp_path / name
            folders[name].mkdir()
            values.write(folders[name])
        run = stage_run_in(tmp_path / "run")
        sweep(asked, run, **folders)
        return json.loads((run.out / "sweep.json").read_text())

    return make


def of_rows(offset, rows=50, **more):
    hard = np.random.default_rng(0).normal(2.2, 1.0, rows) + offset
    return RowValues(unit="rows", validation={"sums": hard.tolist(), "counts": [1.0] * rows}, **more)


def terminal(shown, width=100):
    out = StringIO()
    show(shown, Console(file=out, width=width, highlight=False))
    return " ".join(out.getvalue().split())


def test_best_is_the_lowest_or_highest_of_those_that_ended(made):
    found = made(config())
    assert (found["best"], found["survived"]) == (1, 5)
    assert best_of(distinct(TRIALS), "maximize").number == 0
    assert best_of([trial(3, 1.0), trial(1, 1.0)], "minimize").number == 1


def test_trial_with_settings_of_another_is_no_second_one(made):
    again = trial(6, 2.5, repeats=0)
    found = made(config((*TRIALS, again)))
    assert found["survived"] == 5
    assert "as trial 0" in terminal(document(found))


def test_importance_finds_the_setting_that_matters(made):
    trials = tuple(
        trial(number, float(rank), settings={RATE: rate, RANK: rank})
        for number, (rate, rank) in enumerate((rate, rank) for rate in RATES for rank in ("4", "8", "16"))
    )
    shares = made(config(trials))["importance"]
    assert shares[RANK] > 0.9
    assert sum(shares.values()) == pytest.approx(1.0)
    assert made(config(trials[:3]))["importance"] is None


def test_flattery_is_measured_on_the_rows_of_all_trials(made):
    measured = {f"trial_{one.number}": of_rows(one.value - 2.2) for one in TRIALS[:5]}
    test = {"sums": [2.0, 3.0, 4.0], "counts": [1.0, 1.0, 1.0]}
    found = made(config(), **measured, chosen=of_rows(0.0, test=test))
    joined = found["flattery"]["test"] | {"unit": "sources of rows"}
    shared = found | {"flattery": found["flattery"] | {"test": joined}}
    assert "On 3 sources of test rows, which nothing" in terminal(document(shared))
    rows = found["flattery"]["rows"]
    assert rows["chosen_again"] == 1.0
    assert rows["amount"] == pytest.approx(0.0, abs=1e-9)  # they differ by as much on every row
    assert found["flattery"]["test"]["value"] == pytest.approx(3.0)
    told = terminal(document(found))
    assert "The validation value is of 50 rows" in told
    assert "On 3 test rows, which nothing was chosen by, the validation loss is 3.0000" in told


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_flattery_is_of_the_best_by_the_direction(made, direction):
    """One trial is far ahead; which of the others is last is luck."""
    sign = 1 if direction == "minimize" else -1
    random, measured = np.random.default_rng(0), {}
    for number in range(5):
        sums = random.normal(2.0, 1.0, 50) - (sign * 5.0 if number == 3 else 0.0)
        values = {"sums": sums.tolist(), "counts": [1.0] * 50}
        measured[f"trial_{number}"] = RowValues(unit="rows", validation=values)
    trials = [trial(n, float(np.mean(measured[f"trial_{n}"].validation["sums"]))) for n in range(5)]
    found = made(config(trials, direction=direction), **measured)
    assert found["best"] == 3
    assert found["flattery"]["rows"]["chosen_again"] == 1.0


@pytest.mark.parametrize("lacking", ["a trial", "a row"])
def test_flattery_by_rows_is_not_told_of_some_trials_alone(made, lacking):
    measured = {f"trial_{one.number}": of_rows(0.0) for one in TRIALS[:5]}
    if lacking == "a trial":
        del measured["trial_4"]
    else:
        measured["trial_4"] = of_rows(0.0, rows=49)
    found = made(config(), **measured)
    assert found["flattery"]["rows"] is None
    assert "is not estimated" in terminal(document(found))


def test_document_tells_of_every_trial_in_every_form(made):
    found = made(config())
    whole = document(found)
    for form in (as_html(whole), as_markdown(whole).replace("\\", ""), terminal(whole, 200)):
        for told in ("Trial 1 is the best of 5 by validation", "2.1000", "the loss became nan", "1 min 02 s"):
            assert told in form
    page = as_html(whole)
    assert "touchstone run tiny --set a=1" in page
    assert page.count("<figure>") == 1 + len(SPACE) + 1  # the best so far, a slice a setting, all in one
    assert "Chosen among 6 trials" in card_section(found).title


def test_document_of_trials_that_all_failed_says_so(made):
    found = made(config((failed(0, "no"), failed(1, "<b>no</b>"))))
    assert found["best"] is None
    assert "No trial came to its end" in terminal(document(found))
    assert "<b>no</b>" not in as_html(document(found))


def test_score_is_compared_with_that_of_the_test_rows(made, tmp_path):
    from tasks.judge.score.outputs import ScoreSummary

    entry = {
        "scorer": "metric:chrf",
        "kind": "metric",
        "status": "ok",
        "mean": 40.0,
        "low": 30.0,
        "high": 50.0,
    }
    summary = ScoreSummary(
        headline="metric:chrf", scores=[entry, entry | {"scorer": "metric:bleu"}], categories={}
    )
    scored = config((trial(0, 45.0), trial(1, 44.0)), by="validation_score", direction="maximize")
    found = made(scored.model_copy(update={"metric": "metric:chrf"}), scores=summary)
    assert [one["scorer"] for one in found["test"]] == ["metric:chrf"]
    told = terminal(document(found))
    assert "validation score (chrF++)" in told
    assert "That is 5.0 points less than on validation rows" in told


@pytest.mark.parametrize(
    ("dimension", "text", "place"),
    [
        (SPACE[0], "0.001", 0.5),
        (SPACE[0], "0.01", 1.0),
        (SPACE[1], "4", 0.0),
        (SPACE[1], "16", 1.0),
        (SweepDimension(setting="a.b", low=1, high=5, whole=True), "2", 0.25),
    ],
)
def test_place_of_a_setting_is_on_its_own_scale(dimension, text, place):
    told = dimension.model_dump(mode="json")
    assert place_of(told, {dimension.setting: text}) == pytest.approx(place)
    assert ordered(["b", "a"]) == ["b", "a"]
