"""The champion moved by hand: said on the version, remembered, and undone one step at a time."""

import json
from pathlib import Path

import pytest

from tasks.errors import StageError, UsageError
from tasks.record.tracking import local_folder
from tasks.registry.champions import (
    champion_history,
    history,
    now,
    override,
    registered,
    rollback,
    set_champion,
)
from tasks.registry.versions import FILES, champion_of, registered_files
from tests.registry.promote.promoting import around


def champion(tracking, promoted):
    return int(champion_of(tracking, promoted.name).version)


@pytest.fixture
def promoted_four(promoted):
    """Version 2 is champion; 1 was before, 3 and 4 are candidates."""
    for mean in (40, 60, 55, 20):
        promoted(around(mean))
    return promoted


@pytest.fixture
def four(tracking, promoted):
    """The same, as far as the champion goes: made in a moment, and not by promotions."""
    name = promoted.name
    tracking.client.create_registered_model(name)
    for number in range(1, 5):
        folder = tracking.root / "logged" / f"{name}-{number}"
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: none")
        (folder / "weights").write_text(f"{name} {number}")
        files = json.dumps(registered_files(folder.as_uri()))
        tracking.client.create_model_version(name, folder.as_uri(), tags={FILES: files})
    set_champion(tracking, name, 1, "promotion", "the first champion")
    set_champion(tracking, name, 2, "promotion", "champion: +10.0 points against version 1")
    return promoted


def test_an_override_makes_a_candidate_the_champion_and_says_so(tracking, promoted_four):
    move = override(tracking, promoted_four.name, 3, " it is kinder ")
    assert champion(tracking, promoted_four) == 3
    assert (move.version, move.previous, move.because) == (3, 2, "it is kinder")
    tags = tracking.client.get_model_version(promoted_four.name, "3").tags
    assert tags["touchstone.override"] == "it is kinder"
    assert tags["touchstone.override.previous"] == "2"
    assert tags["touchstone.override.at"] == move.at
    assert tags["touchstone.override.by"] == move.by
    assert tags["touchstone.decision.champion"] == "false", "what was decided stays what was decided"


def test_next_candidate_meets_the_overriding_champion(tracking, promoted_four):
    override(tracking, promoted_four.name, 4, "it is kinder")
    promotion = promoted_four(around(60))
    assert promotion["champion"]
    assert promotion["against"] == "version 4"
    assert promotion["difference"] == pytest.approx(40)
    assert f"{promoted_four.name} version 4 is champion by override: it is kinder" in promotion["reason"]
    assert "override" not in promoted_four(around(95))["reason"], "version 5 earned its place"


@pytest.mark.parametrize(
    ("version", "because", "message"),
    [
        (2, "x", "version 2 is the champion already"),
        (9, "x", "has no version 9; there are: 1, 2, 3, 4"),
        (3, "  ", "--because is empty"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(tracking, four, version, because, message):
    with pytest.raises(UsageError, match=message):
        override(tracking, four.name, version, because)
    assert champion(tracking, four) == 2


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (Path.unlink, r"version 3: weights is missing in"),
        (lambda path: path.write_text("other"), r"version 3: weights in .* was altered"),
    ],
    ids=["gone", "altered"],
)
def test_version_with_changed_files_does_not_become_champion(tracking, four, harm, message):
    harm(local_folder(tracking.client.get_model_version(four.name, "3").source) / "weights")
    with pytest.raises(StageError, match=message):
        override(tracking, four.name, 3, "it is kinder")
    assert champion(tracking, four) == 2


def test_a_rollback_gives_the_place_back_and_two_go_two_steps(tracking, four):
    override(tracking, four.name, 4, "a try")
    first = rollback(tracking, four.name, "users complain")
    assert (first.version, first.previous, champion(tracking, four)) == (2, 4, 2)
    tags = tracking.client.get_model_version(four.name, "4").tags
    assert (tags["touchstone.rolled_back"], tags["touchstone.rolled_back.to"]) == ("users complain", "2")
    assert rollback(tracking, four.name).version == 1
    with pytest.raises(UsageError, match="no champion to roll back to: version 1 is its first"):
        rollback(tracking, four.name)
    assert champion(tracking, four) == 1
    turns = [(turn.version, turn.how) for turn in history(tracking, four.name)]
    assert turns == [(1, "promotion"), (2, "promotion"), (4, "override"), (2, "rollback"), (1, "rollback")]


def test_after_a_rollback_a_promotion_goes_on_from_there(tracking, promoted_four):
    rollback(tracking, promoted_four.name, "users complain")
    promotion = promoted_four(around(60))
    assert promotion["champion"]
    assert "version 1 is champion by rollback: users complain" in promotion["reason"]
    assert [turn.version for turn in champion_history(tracking, promoted_four.name)] == [1, 5]
    assert rollback(tracking, promoted_four.name).version == 1


def test_a_version_that_was_deleted_is_passed_over(tracking, four):
    override(tracking, four.name, 4, "a try")
    tracking.client.delete_model_version(four.name, "2")
    assert rollback(tracking, four.name).version == 1


def test_deleted_champion_leaves_its_place_to_the_one_before(tracking, four):
    tracking.client.delete_model_version(four.name, "2")
    assert champion_of(tracking, four.name) is None
    assert rollback(tracking, four.name).version == 1


def test_earlier_champion_without_its_files_is_not_gone_back_to(tracking, four):
    (local_folder(tracking.client.get_model_version(four.name, "1").source) / "weights").unlink()
    with pytest.raises(StageError, match=r"weights is missing .* touchstone promote VERSION"):
        rollback(tracking, four.name)
    assert champion(tracking, four) == 2


def test_an_alias_that_another_tool_moved_is_part_of_the_history(tracking, four):
    tracking.client.set_registered_model_alias(four.name, "champion", "3")
    assert [turn.version for turn in champion_history(tracking, four.name)] == [1, 2, 3]
    override(tracking, four.name, 4, "a try")
    assert [rollback(tracking, four.name).version for _ in range(3)] == [3, 2, 1]


def test_alias_moved_back_by_another_tool_is_a_step_back(tracking, four):
    tracking.client.set_registered_model_alias(four.name, "champion", "1")
    assert [turn.version for turn in champion_history(tracking, four.name)] == [1]
    override(tracking, four.name, 4, "a try")
    assert [turn.version for turn in champion_history(tracking, four.name)] == [1, 4]


def test_move_killed_before_the_alias_is_left_out_of_account(tracking, four, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(tracking.client), "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            override(tracking, four.name, 4, "a try")
    assert [turn.version for turn in champion_history(tracking, four.name)] == [1, 2]
    override(tracking, four.name, 3, "another try")
    assert rollback(tracking, four.name).version == 2


def test_what_became_of_a_promotion_since_is_told(tracking, four):
    assert now(tracking, four.name, 2, True) is None
    assert now(tracking, four.name, 4, False) is None
    assert now(tracking, four.name, 1, True).startswith("the champion is now version 2 (champion: +10.0")
    override(tracking, four.name, 4, "a try")
    assert now(tracking, four.name, 4, False) == "version 4 is now champion by override: a try"


def test_every_version_is_listed_with_what_people_ask_of_it(tracking, promoted_four):
    override(tracking, promoted_four.name, 3, "it is kinder")
    (listed,) = [model for model in registered(tracking) if model["name"] == promoted_four.name]
    assert listed["champion"] == 3
    assert [turn["version"] for turn in listed["champions"]] == [1, 2, 3]
    assert [version["version"] for version in listed["versions"]] == [1, 2, 3, 4]
    third, last = listed["versions"][2:]
    assert (third["aliases"], third["mean"], third["override"]) == (["champion"], 55.0, "it is kinder")
    assert (last["aliases"], last["scorer"], last["override"]) == (
        ["candidate"],
        "metric:chrf",
        None,
    )
    assert last["decision"].startswith("kept as candidate: -40.0 points")
