"""A reward model from the command: trained, registered, found again, and named as a reward elsewhere."""

import json

import mlflow
import pytest
import yaml

from tests.reward_models.pairs import mixed

pytestmark = pytest.mark.slow

REWARD = {"epochs": 1, "learning_rate": 1.0e-2, "batch_size": 8, "max_length": 128, "evaluations": 1}
GRPO = {
    "batch_size": 16,
    "group_size": 4,
    "epochs": 0.5,
    "learning_rate": 1.0e-3,
    "max_new_tokens": 4,
    "max_length": 128,
    "evaluations": 1,
    "validation_prompts": 4,
    "checked_prompts": 4,
    "max_cut": 1.0,
}


def write(place, name, **sections):
    tiny = yaml.safe_load((place.folder / "tiny.yaml").read_text())
    tiny["instructions"] = {"sources": [{"path": "pairs.jsonl"}]}
    (place.folder / f"{name}.yaml").write_text(yaml.safe_dump(tiny | sections))


@pytest.fixture(scope="module")
def workplace(make_workplace):
    """One in which a profile with a reward model of its own, by which it is rewarded, has run."""
    place = make_workplace("reward-models")
    rows = [{name: text for name, text in mixed(index).items() if name != "id"} for index in range(40)]
    asked = [{name: row[name] for name in ("instruction", "input", "output")} for row in rows]
    for name, members in {"pairs": rows, "asked": asked}.items():
        text = "".join(json.dumps(row) + "\n" for row in members)
        (place.folder / f"{name}.jsonl").write_text(text)
    write(place, "pairs", reward=REWARD, grpo=GRPO | {"rewards": [{"name": "reward:"}]})
    return place


@pytest.fixture(scope="module")
def first(workplace):
    result = workplace("run", "pairs.yaml", "--json")
    assert result.status == 0, result.err
    return result


def test_reward_model_is_trained_registered_and_found_again(workplace, first):
    names = [stage["name"] for stage in first.json["stages"]]
    start = names.index("finetune")
    assert names[start : start + 4] == ["finetune", "reward", "register", "grpo"]
    (reward,) = (stage for stage in first.json["stages"] if stage["name"] == "reward")
    assert {"test_accuracy", "test_accuracy_low", "test_calibration_error"} <= reward["metrics"].keys()
    assert all(workplace("run", "pairs.yaml", "--json").cached.values())
    models = workplace("models")
    assert "touchstone-pairs-reward" in models.out
    assert "a reward model:" in " ".join(models.out.split())
    card = workplace("report").out
    assert "Reward model on the test pairs" in card
    assert "Expected calibration error" in " ".join(card.split())


@pytest.mark.parametrize(
    "named", ["touchstone-pairs-reward", "touchstone-pairs-reward/1", "pairs", "@latest:reward"]
)
def test_reward_model_is_named_by_version_and_run(workplace, first, named):
    plan = {"rewards": [{"name": f"reward:{named}"}]}
    write(workplace, "other", grpo=GRPO | plan)
    found = workplace("run", "other.yaml", "--dry-run", "--json")
    assert found.status == 0, found.err


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("nobody", "'nobody' is no run"),
        ("pairs:base", "pairs:base is no reward model"),
        ("tiny", "is no run"),
    ],
)
def test_reward_model_that_is_none_is_told(workplace, named, told):
    write(workplace, "mistaken", grpo=GRPO | {"rewards": [{"name": f"reward:{named}"}]})
    result = workplace("run", "mistaken.yaml")
    assert result.status == 2
    assert told in " ".join(result.err.split())
    assert "Traceback" not in result.err


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize("command", [("serve",), ("export", "--to", "folder")], ids=lambda own: own[0])
def test_reward_model_is_refused_where_text_is_written(workplace, command):
    name, *options = command
    result = workplace(name, "pairs:reward", *options)
    assert result.status == 2
    assert "is a reward model: it says what a response is worth" in " ".join(result.err.split())


@pytest.mark.usefixtures("first")
def test_registered_reward_model_takes_texts(workplace, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workplace.mlruns / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/touchstone-pairs-reward/1")
    end = model.unwrap_python_model().tokenizer.eos_token
    texts = [f"<|user|>\nSay fig 2 times.<|end|>\n<|assistant|>\n{said}{end}" for said in ("fig fig", "none")]
    together = list(model.predict(texts)["reward"])
    alone = [model.predict([text])["reward"][0] for text in texts]
    assert together == pytest.approx(alone, abs=1e-5)
    assert together[0] != together[1]


@pytest.mark.usefixtures("first")
def test_reward_model_takes_part_in_no_contest(workplace):
    result = workplace("promote", "touchstone-pairs-reward/1", "--because", "it is good")
    assert result.status == 2
    assert "is a reward model, and takes part in no contest" in " ".join(result.err.split())


@pytest.mark.usefixtures("first")
def test_reward_model_is_audited_as_a_judge_is(workplace):
    result = workplace("audit", "--judge", "reward:pairs", "--rows", "asked.jsonl", "--sample", "6", "--json")
    assert result.status == 3, result.err
    assert result.json["verdict"] == "fail"
    assert "Traceback" not in result.err


@pytest.mark.usefixtures("first")
def test_reward_model_that_trains_does_not_promote(workplace):
    write(
        workplace,
        "biased",
        grpo=GRPO | {"rewards": [{"name": "reward:pairs"}]},
        judge={"scorer": "reward:touchstone-pairs-reward/1", "resamples": 200},
    )
    result = workplace("run", "biased.yaml")
    assert result.status == 3, result.err
    assert "another scorer has to promote it" in " ".join(result.err.split())
