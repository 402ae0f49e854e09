"""Reinforcement: rewards rise, a death changes no bit, and each check before it can fail."""

import json

import pytest
import torch

from tasks.config import GrpoConfig
from tasks.errors import RefusedError, StoppedError
from tasks.finetune.training import History
from tasks.machine.device import pick_device
from tasks.machine.json_files import write_json
from tasks.models.adapters import load_to_tune
from tasks.models.loading import load_model, load_tokenizer
from tasks.reinforce import stage
from tasks.reinforce import trainer as room
from tasks.reinforce.checks import check_reinforcement, padded
from tasks.reinforce.prompts import GroupSampler, prompt_data
from tasks.reinforce.rewards import rewards_of
from tasks.reinforce.rollouts import Rollouts
from tasks.reinforce.stage import grpo, warnings_of
from tasks.reinforce.trainer import make_trainer
from tasks.rows import load_split, write_rows
from tests.finetune.tuning import CONTEXT, assert_same_outputs, base_in, history_in, rows_in, word_tokenizer
from tests.runs import stage_run_in, summary_of, weights_in

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("error"),  # of a library: a person would see it
]

# 25 prompts, 4 a step, of two micro-batches: 6 steps an epoch, and 9 in all.
SMALL = {
    "template": "phi3",
    "rewards": [{"name": "length", "least": 6}],
    "group_size": 4,
    "batch_size": 8,
    "accumulation": 2,
    "epochs": 1.4,
    "learning_rate": 2e-2,
    "max_new_tokens": 8,
    "max_length": CONTEXT,
    "evaluations": 3,
    "max_cut": 1.0,
    "device": "cpu",
}


def told(**changed):
    return GrpoConfig(**SMALL | changed)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = base_in(tmp_path_factory.mktemp("tuned"), word_tokenizer(), dropout=0.1)
    write_json(folder / "summary.json", {"template": "phi3"})
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("prompts") / "rows")


def reinforced(config, tuned, rows, folder, **watching):
    run = stage_run_in(folder, **watching)
    grpo(config, run, tuned=tuned, rows=rows)
    return run


@pytest.fixture(scope="module")
def uninterrupted(tuned, rows, tmp_path_factory):
    return reinforced(told(), tuned, rows, tmp_path_factory.mktemp("uninterrupted"))


def test_reward_rises_and_the_best_checkpoint_is_kept(uninterrupted):
    summary = summary_of(uninterrupted)
    validated = history_in(uninterrupted, "validation_reward")
    assert len(validated) == 4  # with that before the first step
    assert summary["validation_reward_before"] == validated[0]
    assert summary["validation_reward"] == max(validated[1:]) > validated[0]
    rewards = history_in(uninterrupted, "reward")
    assert len(rewards) == summary["steps"] == 9
    assert rewards[-1] > rewards[0]


def test_person_is_told_the_reward_of_a_step(tuned, rows, tmp_path):
    told_of = []
    reinforced(told(epochs=0.2), tuned, rows, tmp_path, progress=lambda *told: told_of.append(told))
    done, of, unit, note = told_of[0]
    assert (done, of, unit) == (1, 2, "steps")
    assert note.startswith("reward 0.")
    assert ", KL " in note


def test_numbers_of_a_run_are_logged(uninterrupted):
    entry = json.loads((uninterrupted.out / "history.jsonl").read_text().splitlines()[-2])
    numbers = "reward reward_spread reward_length kl entropy length share_cut share_looping"
    assert set(numbers.split()) <= entry.keys()
    assert history_in(uninterrupted, "kl")[0] == pytest.approx(0, abs=1e-6)
    assert set("validation_exact validation_chrf validation_share_cut".split()) <= set(
        json.loads((uninterrupted.out / "history.jsonl").read_text().splitlines()[-1])
    )


def test_kept_weights_give_the_reward_that_is_told(uninterrupted, rows):
    network, tokenizer = load_model(uninterrupted.out / "model")
    config = told()
    data = prompt_data(config, tokenizer, rows, CONTEXT)
    rollouts, (reward,) = Rollouts(config, data), rewards_of(config)
    texts = rollouts.texts(rollouts.answered(network, data.ids["validation"], lambda: None))
    values = reward.score(texts, data.rows["validation"])
    assert sum(values) / len(values) == pytest.approx(summary_of(uninterrupted)["validation_reward"])


def test_without_validation_rows_the_last_weights_are_kept(tuned, tmp_path):
    rows = rows_in(tmp_path / "rows", validation=0)
    summary = summary_of(reinforced(told(epochs=0.2), tuned, rows, tmp_path))
    assert (summary["best_step"], summary["validation_reward"], summary["warnings"]) == (None, None, [])


def test_rows_without_references_are_rewarded_by_rules(tuned, tmp_path):
    rows = rows_in(tmp_path / "rows")
    for split in ("train", "validation"):
        write_rows(rows / f"{split}.jsonl", [row | {"output": ""} for row in load_split(rows, split)])
    run = reinforced(told(epochs=0.2, preflight="warn"), tuned, rows, tmp_path)
    assert len(history_in(run, "validation_reward")) == 3
    assert not history_in(run, "validation_exact")


class DiedError(Exception):
    pass


@pytest.mark.parametrize("changed", [{}, {"algorithm": "rloo", "tune": "lora"}], ids=["grpo", "rloo, lora"])
def test_pitfall_18_a_death_in_the_second_epoch_changes_no_bit(uninterrupted, tuned, rows, tmp_path, changed):
    def die(done, *_):
        if done == 8:
            raise DiedError

    whole = uninterrupted
    if changed:
        whole = reinforced(told(**changed), tuned, rows, tmp_path / "whole")
    with pytest.raises(DiedError):
        reinforced(told(**changed, checkpoint_every=0), tuned, rows, tmp_path, progress=die)
    assert list((tmp_path / "checkpoint").glob("checkpoint-7"))
    assert_same_outputs(reinforced(told(**changed), tuned, rows, tmp_path), whole)


def test_a_stop_while_responses_are_drawn_changes_no_bit(uninterrupted, tuned, rows, tmp_path, monkeypatch):
    """It is left where the last step ended, and goes on from there."""
    drawn, run = Rollouts.drawn, stage_run_in(tmp_path)

    def stopping(self, model, prompts, key, stop):
        if key == "step 4":
            run.stop.set()
        return drawn(self, model, prompts, key, stop)

    with monkeypatch.context() as patch:
        patch.setattr(Rollouts, "drawn", stopping)
        with pytest.raises(StoppedError, match="stopped after step 4 of 9"):
            grpo(told(), run, tuned=tuned, rows=rows)
    assert_same_outputs(reinforced(told(), tuned, rows, tmp_path), uninterrupted)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_pitfall_17_micro_batches_change_no_weight(tuned, rows, tmp_path, monkeypatch, algorithm):
    """Of responses of many lengths; in float64, for Adam makes much of rounding."""
    monkeypatch.setattr(stage, "load_to_tune", lambda *given: load_to_tune(*given).double())
    runs = [
        reinforced(
            told(algorithm=algorithm, batch_size=size, accumulation=pieces, learning_rate=1e-3, epochs=0.5),
            tuned,
            rows,
            tmp_path / str(size),
        )
        for size, pieces in ((16, 1), (8, 2), (4, 4))
    ]
    whole, *split = map(weights_in, runs)
    assert len(set(history_in(runs[0], "length"))) > 1
    for own in split:
        for name, weight in whole.items():
            torch.testing.assert_close(own[name], weight, atol=1e-8, rtol=0)


def test_order_of_prompts_is_that_of_the_epoch():
    """TRL's own sampler goes on drawing: a training that resumes would read the first epoch's order again."""
    one, other = (GroupSampler(10, 2, 3, 2, seed=5) for _ in range(2))
    first = list(one)
    one.set_epoch(1)
    other.set_epoch(1)
    assert list(one) == list(other) != first
    assert len(first) == len(one) == 3 * 2 * 3 * 2
    assert first[:6] == first[6:12]  # as often as there are micro-batches
    assert first[0] == first[1]


def test_what_is_drawn_depends_on_the_step_alone(tuned, rows):
    network, tokenizer = load_model(tuned / "model")
    config = told()
    data = prompt_data(config, tokenizer, rows, CONTEXT)
    prompts = [data.ids["train"][0]] * 4
    first, again, later = (
        Rollouts(config, data).drawn(network, prompts, key, lambda: None) for key in ("a", "a", "b")
    )
    assert first == again != later
    assert len(set(map(tuple, first))) > 1  # within a group


@pytest.mark.parametrize("changed", [{}, {"tune": "lora"}], ids=["full", "lora"])
def test_probabilities_and_entropies_are_those_of_trl(tuned, rows, tmp_path, monkeypatch, changed):
    """Where logits are many, TRL computes them in tiles."""
    trainer, _ = trainer_of(told(temperature=0.7, **changed), tuned, rows, tmp_path)
    prompts = trainer.data.ids["train"][:4]
    responses = trainer.rollouts.drawn(trainer.model, prompts, "a", lambda: None)
    ids, mask, keep = padded(trainer, prompts, responses)
    found = []
    for most in (room.LOGITS, 0):
        monkeypatch.setattr(room, "LOGITS", most)
        log_probs = trainer._get_per_token_logps_and_entropies
        found.append(log_probs(trainer.model.eval(), ids, mask, keep, compute_entropy=True)[:2])
    learned = mask[:, -keep:].bool()
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours[learned], theirs[learned], atol=1e-5, rtol=1e-5)


# Checks


def trainer_of(config, tuned, rows, folder):
    device, run = pick_device("cpu"), stage_run_in(folder)
    tokenizer = load_tokenizer(tuned / "model")
    data = prompt_data(config, tokenizer, rows, CONTEXT)
    model = load_to_tune(config, tuned / "model", device)
    return make_trainer(config, run, model, data, rewards_of(config), device), run


def failed_of(config, trainer, tuned, run):
    return {result.check: result for result in check_reinforcement(config, trainer, tuned, run).failed}


@pytest.mark.parametrize("changed", [{}, {"tune": "lora"}], ids=["full", "lora"])
def test_checks_pass_of_what_is_right(tuned, rows, tmp_path, changed):
    config = told(**changed)
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    report = check_reinforcement(config, trainer, tuned, run)
    assert [result.check for result in report.results if result.verdict == "passed"] == [
        "prompt as trained",
        "reference model",
        "rewards within groups",
        "responses end",
        "rewards asked again",
        "padding shifts nothing",
        "first KL",
    ]


def test_check_of_another_template(tuned, rows, tmp_path):
    config = told(template="chatml")
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    failed = failed_of(config, trainer, tuned, run)
    assert list(failed) == ["prompt as trained"]
    assert failed["prompt as trained"].where.startswith("train row 0, token ")


def test_check_of_a_text_that_skips_the_template(tuned, rows, tmp_path):
    """What TRL does of a prompt that is a string."""
    config = told()
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    plain = trainer.data.template.tokenizer([row["instruction"] for row in trainer.data.rows["train"]])
    trainer.data.ids["train"][:] = plain["input_ids"]
    assert "prompt as trained" in failed_of(config, trainer, tuned, run)


def test_base_that_is_always_wrong_is_refused_with_the_numbers(tuned, rows, tmp_path):
    config = told(rewards=[{"name": "exact"}])
    with pytest.raises(RefusedError, match=r"rewards from 0 to 0, mean 0\.000, of 100 responses"):
        reinforced(config, tuned, rows, tmp_path)


def test_check_of_responses_that_are_cut(tuned, rows, tmp_path):
    config = told(max_cut=0.5, max_new_tokens=2, rewards=[{"name": "format", "pattern": "[a-m].*"}])
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    failed = failed_of(config, trainer, tuned, run)
    assert "Raise grpo.max_new_tokens" in failed["responses end"].found


@pytest.mark.parametrize("changed", [{}, {"tune": "lora"}], ids=["full", "lora"])
def test_check_of_another_reference(tuned, rows, tmp_path, changed):
    config = told(**changed)
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    with trainer.as_reference() as reference, torch.no_grad():
        weight = next(own for name, own in reference.named_parameters() if name.endswith("ln_f.weight"))
        weight += torch.linspace(0, 1, len(weight))
    failed = failed_of(config, trainer, tuned, run)
    assert list(failed) == ["reference model", *([] if changed else ["first KL"])]


def test_pitfall_15_check_of_padding_that_shifts_positions(tuned, rows, tmp_path, monkeypatch):
    """What TRL's trainers do to a model whose positions are learned."""
    monkeypatch.setattr(room, "count_positions", lambda model: None)
    config = told()
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    assert list(failed_of(config, trainer, tuned, run)) == ["padding shifts nothing"]


def test_check_of_rewards_that_change_when_asked_again(tuned, rows, tmp_path):
    (tmp_path / "own.py").write_text(
        "asked = [0]\n\n\ndef reward(responses, references, rows):\n    asked[0] += 1\n"
        "    return [asked[0] + len(response) for response in responses]\n"
    )
    config = told(rewards=[{"name": f"{tmp_path}/own.py:reward"}])
    trainer, run = trainer_of(config, tuned, rows, tmp_path)
    failed = failed_of(config, trainer, tuned, run)
    assert list(failed) == ["rewards asked again"]
    assert failed["rewards asked again"].where == "train row 0"


# Warnings


def history_of(rewards, chrfs, highs):
    return History(
        [
            {"step": step, "validation_reward": reward, "validation_chrf": chrf}
            | ({"validation_chrf_change_high": high} if high is not None else {})
            for step, (reward, chrf, high) in enumerate(zip(rewards, chrfs, highs, strict=True))
        ]
    )


def test_metric_that_falls_while_the_reward_rises_is_told():
    rewards = rewards_of(told(rewards=[{"name": "exact"}]))
    fell = history_of([0.1, 0.3, 0.2], [60, 40, 50], [None, -3.0, -1.0])
    (line,) = warnings_of(fell, rewards, 1)
    assert "rose from 0.100 to 0.300 while chrf, which is no part of it, fell from 60.0 to 40.0" in line
    assert not warnings_of(history_of([0.1, 0.3], [60, 59], [None, 2.0]), rewards, 1)


def test_reward_that_did_not_rise_is_told():
    rewards = rewards_of(told(rewards=[{"name": "exact"}]))
    (line,) = warnings_of(history_of([0.3, 0.2], [60, 60], [None, 1.0]), rewards, 1)
    assert "did not rise: 0.300 before the first step, 0.200 at step 1" in line
