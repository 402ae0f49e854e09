"""A reward model as a reward: named, found, in the key, and what it says is what is learned."""

import shutil

import pytest
import torch
from pydantic import ValidationError

from flows.judging.reward_models import inputs
from flows.profiles.profile import Profile
from tasks.config import GrpoConfig, RewardConfig
from tasks.errors import StageError
from tasks.models.reward import RewardModel
from tasks.reinforce.judged import fingerprints
from tasks.reinforce.models import model_scores
from tasks.reinforce.rewards import rewards_of, scored
from tasks.reinforce.stage import grpo
from tasks.rows import load_split
from tests.finetune.tuning import CONTEXT, history_in
from tests.runs import stage_run_in, summary_of

pytestmark = pytest.mark.usefixtures("one_thread")


def rewarded_by(*names, **changed):
    return GrpoConfig(rewards=[{"name": name} for name in names], **changed)


@pytest.mark.parametrize(
    ("name", "model", "label"),
    [
        ("reward:", "", "reward_model"),
        ("reward:own-reward/2", "own-reward/2", "reward_model_own-reward_2"),
        ("reward:quickstart", "quickstart", "reward_model_quickstart"),
        ("exact", None, "exact"),
    ],
)
def test_reward_model_is_named_behind_reward(name, model, label):
    reward = RewardConfig(name=name)
    assert (reward.model, reward.label, reward.judge, reward.file) == (model, label, None, None)


def test_what_the_model_says_is_the_reward(trained, rows, tmp_path):
    members = load_split(rows, "test")
    responses = [row["rejected"] for row in members]
    config = rewarded_by(f"reward:{trained.out}", "exact")
    rewards = rewards_of(config, model_scores(config, stage_run_in(tmp_path), {}))
    found = scored(rewards, responses, members)
    assert found[rewards[0].label] == RewardModel.load(trained.out, torch.device("cpu")).rewards(
        responses, members
    )


def test_models_of_stages_are_read_by_their_place(trained, tmp_path):
    config = rewarded_by("exact", "reward:", "reward:own/1")
    run = stage_run_in(tmp_path)
    outputs = {"reward_model_0": trained.out, "reward_model_1": trained.out}
    assert list(model_scores(config, run, outputs)) == ["reward:", "reward:own/1"]
    with pytest.raises(StageError, match="the reward reward:own/1 has no reward model"):
        model_scores(config, run, {"reward_model_0": trained.out})


def test_pipelines_own_model_is_an_input_in_its_place():
    config = rewarded_by("reward:one", "exact", "reward:")
    assert inputs(config, {"reward_model_0": "one"}, {"reward_model": "own"}) == {
        "reward_model_0": "one",
        "reward_model_1": "own",
    }


def test_digest_of_a_folder_is_in_the_key(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained.out, folder)
    config = rewarded_by(f"reward:{folder}")
    before = fingerprints(config)
    assert list(before) == [f"reward model {folder}"]
    run = stage_run_in(tmp_path / "run", fingerprints=before)
    model_scores(config, run, {})
    (folder / "summary.json").write_text((folder / "summary.json").read_text() + "\n")
    assert fingerprints(config) != before
    with pytest.raises(StageError, match="was altered since its SHA-256 was taken"):
        model_scores(config, run, {})
    assert fingerprints(rewarded_by("reward:", "reward:registered")) == {}


def test_reading_less_than_is_written_is_told(trained, tmp_path):
    told = []
    config = rewarded_by(f"reward:{trained.out}", max_length=CONTEXT + 1)
    model_scores(config, stage_run_in(tmp_path, say=told.append), {})
    assert f"reads the first {CONTEXT} tokens" in told[0]


def test_model_is_trained_by_what_a_reward_model_says(trained, tuned, rows, tmp_path):
    config = GrpoConfig(
        template="phi3",
        rewards=[{"name": "reward:"}],
        group_size=4,
        batch_size=16,
        epochs=1.0,
        learning_rate=2e-2,
        max_new_tokens=8,
        max_length=CONTEXT,
        evaluations=2,
        max_cut=1.0,
        device="cpu",
    )
    run = stage_run_in(tmp_path)
    grpo(config, run, tuned=tuned, rows=rows, reward_model_0=trained.out)
    rewards = history_in(run, "reward")
    assert rewards[-1] > rewards[0]
    assert summary_of(run)["validation_reward"] > summary_of(run)["validation_reward_before"]


def profile_with(**sections):
    rows = {"sources": [{"made": "skills", "name": "skills.jsonl", "count": 9}]}
    return Profile.model_validate({"name": "own", "instructions": rows} | sections)


def test_own_reward_model_needs_its_section():
    grpo = {"rewards": [{"name": "reward:"}]}
    with pytest.raises(ValidationError, match="own reward model, and it trains none; add the section"):
        profile_with(grpo=grpo)
    stages = profile_with(grpo=grpo, reward={}).stages()
    assert stages.index("finetune") < stages.index("reward") < stages.index("register") < stages.index("grpo")


def test_template_of_a_reward_model_is_that_of_fine_tuning():
    assert profile_with(finetune={"template": "phi3"}, reward={}).reward.template == "phi3"
    with pytest.raises(ValidationError, match=r"reward\.template is plain, finetune\.template phi3"):
        profile_with(finetune={"template": "phi3"}, reward={"template": "plain"})


def test_reward_model_goes_on_with_a_whole_model():
    finetune = {"tune": "lora", "lora": {"adapters": "kept"}}
    with pytest.raises(ValidationError, match="but reward goes on with the whole model"):
        profile_with(finetune=finetune, reward={})
