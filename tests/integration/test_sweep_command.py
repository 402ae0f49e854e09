"""`touchstone sweep`: trials on validation rows alone, what they choose, and going on after a kill."""

from types import SimpleNamespace

import pytest

import tasks.finetune.sft
from tasks.errors import StageError
from tasks.models.summary import ModelSummary
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import reference_to
from tasks.sweep.outputs import RowValues

pytestmark = pytest.mark.slow
RATES = ("2e-2", "5e-3", "1e-1")
GRID = ("sweep", "tiny.yaml", "--over", f"finetune.learning_rate={','.join(RATES)}", "--sampler", "grid")
ON_TEST_ROWS = {"generate base", "judge base", "generate fine-tuned", "judge fine-tuned", "promote", "report"}


@pytest.fixture(scope="module")
def swept(make_workplace):
    """A grid that was interrupted in its second trial, then made whole, with a third that fails."""
    workplace = make_workplace("swept")
    whole = tasks.finetune.sft.finetune

    def interrupted(config, run, **inputs):
        if config.learning_rate == float(RATES[1]):
            raise KeyboardInterrupt
        whole(config, run, **inputs)

    def failing(config, run, **inputs):
        if config.learning_rate == float(RATES[2]):
            raise StageError("the loss became nan")
        whole(config, run, **inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.finetune.sft, "finetune", interrupted)
        first = workplace(*GRID, "--json")
        patch.setattr(tasks.finetune.sft, "finetune", failing)
        second = workplace(*GRID, "--json")
    return SimpleNamespace(workplace=workplace, first=first, second=second, told=second.json)


def stages_of(tracking, run_id):
    start = "touchstone.stage."
    tags = tracking.client.get_run(run_id).data.tags
    return {tag.removeprefix(start): value for tag, value in tags.items() if tag.startswith(start)}


def done_of(swept):
    return [one for one in swept.told["trials"] if one["state"] == "done"]


def test_sweep_goes_on_after_an_interruption(swept):
    assert swept.first.status == 130
    assert swept.second.status == 0, swept.second.err
    assert "1 of 3 trials are done already" in swept.second.err
    tried = {one["number"]: one["settings"]["finetune.learning_rate"] for one in swept.told["trials"]}
    assert tried == {0: RATES[0], 2: RATES[2], 3: RATES[1]}  # 1 was interrupted, and asked for again


def test_trial_that_fails_is_told_and_the_others_go_on(swept):
    states = {one["number"]: (one["state"], one["reason"]) for one in swept.told["trials"]}
    assert states == {0: ("done", None), 2: ("failed", "finetune: the loss became nan"), 3: ("done", None)}


def test_trials_share_stages_and_touch_no_test_rows(swept):
    tracking = swept.workplace.store()
    first, second = done_of(swept)
    assert (first["cached"], second["cached"]) == (0, 6)  # all but its training, and what measures that
    for one in (first, second):
        assert not stages_of(tracking, one["run_id"]).keys() & ON_TEST_ROWS
        values = RowValues.read(output_of(tracking, one["run_id"], "validate"))
        assert values.test is None
        loss = sum(values.validation["sums"]) / sum(values.validation["counts"])
        assert loss == pytest.approx(one["value"], rel=1e-5)


def output_of(tracking, run_id, stage):
    reference = reference_to(tracking.client.get_run(stages_of(tracking, run_id)[stage]))
    return fetch(tracking, reference) / OUTPUT


def test_best_by_validation_alone_is_run_whole(swept):
    tracking = swept.workplace.store()
    best = min(done_of(swept), key=lambda one: one["value"])
    assert swept.told["best"] == best["number"]
    chosen = swept.told["chosen_run_id"]
    made, tried = stages_of(tracking, chosen), stages_of(tracking, best["run_id"])
    assert made.keys() > ON_TEST_ROWS
    assert made["finetune"] == tried["finetune"]
    summary = ModelSummary.read(output_of(tracking, chosen, "finetune"))
    assert summary.best_validation_loss == best["value"]
    assert swept.told["flattery"]["test"]["count"] == 6
    assert swept.told["command"].endswith(f"--set finetune.learning_rate={RATES[0]}")


def test_runs_of_a_sweep_name_each_other(swept):
    tracking = swept.workplace.store()
    tags = tracking.client.get_run(swept.told["run_id"]).data.tags
    assert tags["touchstone.kind"] == "sweep"
    assert tags["touchstone.chosen"] == swept.told["chosen_run_id"]
    for one in done_of(swept):
        assert tags[f"touchstone.trial.{one['number']}"] == one["run_id"]
    runs = {run["run_id"]: run for run in swept.workplace("runs", "--json").json["runs"]}
    assert runs[swept.told["run_id"]]["name"] == "sweep tiny"
    assert runs[swept.told["trials"][0]["run_id"]]["name"] == "tiny trial 0"
    assert runs[swept.told["chosen_run_id"]]["model"]["name"] == "touchstone-tiny"


def test_card_of_the_chosen_one_tells_what_it_survived(swept):
    for run in (swept.told["chosen_run_id"], swept.told["run_id"], "tiny"):
        told = " ".join(swept.workplace("report", run).out.split())
        assert "Chosen among 3 trials" in told
        assert "which nothing was chosen by" in told


def test_sweep_that_is_done_makes_nothing_again(swept):
    again = swept.workplace(*GRID)
    assert again.status == 0, again.err
    assert "3 of 3 trials are done already" in again.err
    assert not [line for line in again.err.splitlines() if line.startswith("  ") and " done " in line]
    assert "Trial 0 is the best of 2 by validation" in again.out


def test_sweep_all_of_whose_trials_fail_ends_with_1(make_workplace, monkeypatch):
    def finetune(config, run, **inputs):
        raise StageError("no")

    monkeypatch.setattr(tasks.finetune.sft, "finetune", finetune)
    result = make_workplace("hopeless-sweep")(*GRID, "--json")
    assert result.status == 1
    assert result.json["error"] == "all 3 trials failed, so that none could be chosen: finetune: no"
    assert result.json["best"] is result.json["model"] is None
    assert "Traceback" not in result.err


@pytest.mark.timeout(300)
def test_sweep_that_is_killed_goes_on_from_its_checkpoint(make_workplace):
    workplace = make_workplace("killed-sweep")
    longer = ("--set", "pretrain.steps=600", "--set", "pretrain.eval_every=50")
    over = ("--over", "pretrain.learning_rate=1e-4..1e-2:log", "--trials", "2", "--sampler", "random")
    arguments = ("sweep", "tiny.yaml", *over, *longer, "--json")
    workplace.killed_in_training(*arguments, after="trial 1")
    result = workplace(*arguments)
    assert result.status == 0, result.err
    assert "1 of 2 trials are done already" in result.err
    assert "pretrain: resumes at step" in result.err
    assert [one["number"] for one in result.json["trials"]] == [0, 2]


def test_trial_that_is_worse_than_half_is_pruned(make_workplace):
    workplace = make_workplace("pruned-sweep")
    over = ("--over", "finetune.learning_rate=2e-2,1.5e-2,1e-2,1e-6", "--sampler", "grid", "--prune")
    result = workplace("sweep", "tiny.yaml", *over, "--json")
    assert result.status == 0, result.err
    *others, last = result.json["trials"]
    assert [one["state"] for one in others] == ["done"] * 3
    assert last["state"] == "pruned"
    assert "worse than half of the trials were there" in last["reason"]
    assert result.json["survived"] == 3


def test_sweep_of_pretraining_is_by_bits_of_the_same_text(make_workplace):
    workplace = make_workplace("swept-text")
    text = (workplace.folder / "tiny.yaml").read_text().partition("instructions:")[0]
    (workplace.folder / "text.yaml").write_text(
        f"{text}tokenize: {{kind: bpe, vocab_size: 400}}\n"
        "pretrain: {size: 1x2x16, context: 128, steps: 6, batch_size: 2, warmup: 1, eval_every: 2}\n"
    )
    over = ("--over", "pretrain.learning_rate=1e-3,1e-2", "--sampler", "grid")
    result = workplace("sweep", "text.yaml", *over, "--json")
    assert result.status == 0, result.err
    tracking = workplace.store()
    for one in result.json["trials"]:
        values = RowValues.read(output_of(tracking, one["run_id"], "validate")).validation
        assert sum(values["sums"]) / sum(values["counts"]) == pytest.approx(one["value"], rel=1e-4)
    assert result.json["by"] == "bits_per_byte"
    assert result.json["flattery"]["rows"]["count"] > 1
