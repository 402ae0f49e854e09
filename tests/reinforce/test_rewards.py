"""Rewards: what a response is worth by each, who is told what went wrong, and what enters the key."""

import pytest
from pydantic import ValidationError

from tasks.config import GrpoConfig, RewardConfig
from tasks.errors import StageError
from tasks.reinforce.rewards import fingerprints, rewards_of, scored, total

ROWS = [
    {"id": 4, "instruction": "Say pear.", "input": "", "output": "pear"},
    {"id": 9, "instruction": "Say fig twice.", "input": "", "output": "fig fig"},
]


def worth(responses, *rewards, rows=ROWS):
    config = GrpoConfig(rewards=rewards)
    return scored(rewards_of(config), responses, rows)


def test_metrics_are_from_0_to_1_against_the_reference():
    found = worth(["pear", "fig"], {"name": "exact"}, {"name": "rouge-l"})
    assert found == {"exact": [1.0, 0.0], "rouge-l": [1.0, pytest.approx(2 / 3)]}


def test_metric_without_a_reference_names_the_row():
    with pytest.raises(StageError, match="row 4 has no reference, and the reward exact compares with it"):
        worth(["pear"], {"name": "exact"}, rows=[ROWS[0] | {"output": ""}])


@pytest.mark.parametrize(
    ("words", "expected"), [(0, 0.0), (1, 0.5), (2, 1.0), (4, 1.0), (5, 0.75), (8, 0.0), (20, 0.0)]
)
def test_length_is_whole_between_least_and_most(words, expected):
    found = worth(["pear " * words], {"name": "length", "least": 2, "most": 4}, rows=ROWS[:1])
    assert found == {"length": [expected]}


def test_format_is_a_pattern_of_the_whole_and_what_parses():
    responses = [' {"a": 1}', "[1]", "{a}"]
    pattern, parses = r"\{.*\}", "json"
    rows = [ROWS[0]] * 3
    assert worth(responses, {"name": "format", "pattern": pattern}, rows=rows)["format"] == [1, 0, 1]
    assert worth(responses, {"name": "format", "parses": parses}, rows=rows)["format"] == [1, 1, 0]
    both = {"name": "format", "pattern": pattern, "parses": parses}
    assert worth(responses, both, rows=rows)["format"] == [1, 0, 0]


def test_json_nested_too_deep_does_not_parse():
    assert worth(["[" * 100_000], {"name": "format", "parses": "json"}, rows=ROWS[:1])["format"] == [0]


def test_sum_is_weighted():
    config = GrpoConfig(rewards=[{"name": "exact"}, {"name": "length", "weight": 0.1, "most": 1}])
    rewards = rewards_of(config)
    assert total(rewards, scored(rewards, ["pear", "fig fig"], ROWS)) == [pytest.approx(1.1), 1.0]


@pytest.fixture
def file_of(tmp_path):
    def write(text):
        (tmp_path / "own.py").write_text(text)
        return f"{tmp_path}/own.py"

    return write


def test_function_is_called_with_responses_references_and_rows(file_of):
    text = "def reward(responses, references, rows):\n"
    text += "    return [len(a) + len(b) + c['id'] for a, b, c in zip(responses, references, rows)]\n"
    assert worth(["a", "bb"], {"name": f"{file_of(text)}:reward"}) == {"reward": [9.0, 18.0]}


def test_its_file_enters_the_key(file_of):
    name = file_of("def reward(responses, references, rows): return [0.0] * len(rows)\n")
    config = GrpoConfig(rewards=[{"name": f"{name}:reward"}, {"name": "exact"}])
    before = fingerprints(config)
    assert list(before) == [f"reward {name}"]
    file_of("def reward(responses, references, rows): return [1.0] * len(rows)\n")
    assert fingerprints(config) != before


def test_file_that_was_altered_since_the_key_is_refused(file_of):
    """Pitfall 44: the key would name one function, and the model learn from another."""
    name = file_of("def reward(responses, references, rows): return [0.0] * len(rows)\n")
    config = GrpoConfig(rewards=[{"name": f"{name}:reward"}])
    digests = fingerprints(config)
    assert [own.label for own in rewards_of(config, digests=digests)] == ["reward"]
    file_of("def reward(responses, references, rows): return [1.0] * len(rows)\n")
    with pytest.raises(StageError, match=r"which a reward is a function of: .* was altered since"):
        rewards_of(config, digests=digests)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def reward(responses, references, rows): return [1.0]\n", "gave .* for 2 responses"),
        ("def reward(responses, references, rows): return [1.0, float('nan')]\n", "gave nan for row 9"),
        ("def reward(responses, references, rows): return [1.0, None]\n", "gave None for row 9"),
        (
            "def reward(responses, references, rows): return [1 / (r['id'] - 9) for r in rows]\n",
            "raised ZeroDivisionError: .*, of row 9 and the response 'fig'",
        ),
        (
            "def reward(responses, references, rows): return [1.0 / (len(rows) - 2)] * 2\n",
            "raised ZeroDivisionError: .* 2 rows together, and of none of them alone",
        ),
        ("def other(): pass\n", "has no function reward"),
        ("import nothing_of_the_name\n", "does not run: ModuleNotFoundError"),
        ("def reward(:\n", "does not run: SyntaxError"),
    ],
)
def test_fault_of_a_function_is_told_with_the_row(file_of, text, told):
    with pytest.raises(StageError, match=told):
        worth(["pear", "fig"], {"name": f"{file_of(text)}:reward"})


def test_file_that_is_not_there_is_told_before_anything_runs():
    config = GrpoConfig(rewards=[{"name": "nowhere/own.py:reward"}])
    for asked in (rewards_of, fingerprints):
        with pytest.raises(StageError, match=r"there is no file nowhere/own\.py"):
            asked(config)


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ({"name": "exat"}, "'exat' is no reward; expected exact, chrf"),
        ({"name": "judge:metric:chrf"}, "is no reward"),
        ({"name": "exact", "weight": 0}, "weight 0 counts nothing"),
        ({"name": "exact", "most": 3}, "most: set, but not used by the reward exact"),
        ({"name": "length"}, "the reward length needs least or most"),
        ({"name": "length", "least": 3, "most": 2}, "no response has that length"),
        ({"name": "format", "pattern": "("}, "is no regular expression"),
    ],
)
def test_wrong_reward_is_told_when_it_is_read(reward, told):
    with pytest.raises(ValidationError, match=told):
        RewardConfig(**reward)


def test_pitfall_ppo_says_what_to_use_instead():
    with pytest.raises(ValidationError, match=r"TRL has removed its PPOTrainer.*algorithm: grpo"):
        GrpoConfig(algorithm="ppo")


def test_two_rewards_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="exact is a duplicate"):
        GrpoConfig(rewards=[{"name": "exact"}, {"name": "exact", "weight": 2}])


def test_steps_have_whole_groups():
    with pytest.raises(ValidationError, match="batch_size x accumulation is 12 responses a step"):
        GrpoConfig(batch_size=12, group_size=8)
