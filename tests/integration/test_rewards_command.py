"""Training by rewards from the command: run, found again, compared, and refused where it teaches nothing."""

import pytest
import yaml

GRPO = {
    "rewards": [{"name": "length", "least": 3}],
    "batch_size": 16,
    "group_size": 4,
    "epochs": 0.25,
    "learning_rate": 1.0e-3,
    "max_new_tokens": 4,
    "max_length": 128,
    "evaluations": 1,
    "validation_prompts": 4,
    "checked_prompts": 4,
    "max_cut": 1.0,
}


@pytest.fixture(scope="module")
def workplace(make_workplace):
    place = make_workplace("rewards")
    write(place, "rewarded")
    return place


def write(place, name, **grpo):
    tiny = yaml.safe_load((place.folder / "tiny.yaml").read_text())
    profile = tiny | {"grpo": GRPO | grpo}
    (place.folder / f"{name}.yaml").write_text(yaml.safe_dump(profile))


def test_rewards_are_learned_judged_promoted_and_found_again(workplace):
    first = workplace("run", "rewarded.yaml", "--json")
    assert first.status == 0, first.err
    names = [stage["name"] for stage in first.json["stages"]]
    assert names[names.index("finetune") + 1] == "grpo"
    assert names[-4:] == ["generate reinforced", "judge reinforced", "promote", "report"]
    (grpo,) = (stage for stage in first.json["stages"] if stage["name"] == "grpo")
    assert {"reward", "reward_spread", "kl", "entropy", "length", "share_cut"} <= grpo["metrics"].keys()
    assert {"validation_reward", "validation_reward_before"} <= grpo["metrics"].keys()
    assert all(workplace("run", "rewarded.yaml", "--json").cached.values())
    compared = workplace("compare", "@latest:reinforced", "@latest:fine-tuned", "--json")
    assert compared.status == 0, compared.err
    card = workplace("report")
    assert "groups of 4" in card.out


def test_reward_that_tells_nothing_apart_is_refused(workplace):
    """A base that is always wrong: exit 3, with the numbers."""
    write(workplace, "wrong", rewards=[{"name": "exact"}])
    result = workplace("run", "wrong.yaml")
    assert result.status == 3
    assert "rewards within groups: found in 0 of 4 groups; rewards from 0 to 0" in " ".join(
        result.err.split()
    )


@pytest.mark.parametrize(
    ("grpo", "status", "told"),
    [
        ({"algorithm": "ppo"}, 2, "TRL has removed its PPOTrainer"),
        ({"rewards": [{"name": "own.py:reward"}]}, 1, "there is no file own.py"),
        ({"rewards": [{"name": "exat"}]}, 2, "'exat' is no reward"),
    ],
)
def test_mistake_is_told_before_anything_runs(workplace, grpo, status, told):
    write(workplace, "mistaken", **grpo)
    result = workplace("run", "mistaken.yaml")
    assert result.status == status
    assert told in " ".join(result.err.split())
    assert "Traceback" not in result.err
