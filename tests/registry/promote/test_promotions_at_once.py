"""Two promotions at once, and one that is killed: every champion beat the one before, nothing is left."""

import threading

import pytest

from tasks.config import PromoteConfig
from tasks.errors import StageError
from tasks.record.stage import execute
from tasks.record.work import Work
from tasks.registry.champions import history, override, rollback
from tasks.registry.promote import stage as room
from tasks.registry.promotion import Promotion
from tasks.registry.versions import champion_of, versions_of
from tests.registry.promote.promoting import PROMOTE, SCORER, around, made, mean_of, versions_named


def inputs_of(tracking, seed, scores):
    return {
        "model": made(tracking, "model", [seed, None]),
        "rows": made(tracking, "rows", 30),
        "scores": made(tracking, "scores", [SCORER, mean_of(scores), scores, None]),
    }


def test_two_at_once_are_decided_one_after_the_other(tracking, promoted, monkeypatch):
    """Both beat version 1 by their scores; the second to be decided must beat the first, and does not."""
    promoted(around(40))
    each = [inputs_of(tracking, 70 + place, around(60)) for place in range(2)]
    real, inside, most, first = room.decide, 0, 0, threading.Event()

    def decide(*arguments):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        first.wait(1)  # the other one has the time to come here too, if it could
        decision = real(*arguments)
        inside -= 1
        return decision

    monkeypatch.setattr(room, "decide", decide)
    config = PromoteConfig(name=promoted.name)
    threads = [threading.Thread(target=execute, args=(tracking, Work(PROMOTE, config, one))) for one in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1
    decided = [
        version.tags["touchstone.decision.against"] for version in versions_of(tracking, promoted.name)[1:]
    ]
    assert decided == ["version 1", "version 2"]
    assert versions_named(tracking, promoted.name) == {"candidate": 3, "champion": 2}


def test_champion_that_changed_elsewhere_is_compared_with_anew(tracking, promoted, monkeypatch):
    """Another machine holds no lock of this one: the alias is read again before it is moved."""
    promoted(around(40))
    promoted(around(35))
    real = room.decide

    def decide(config, store, candidate, present):
        decision = real(config, store, candidate, present)
        if int(present.version) == 1:
            store.client.set_registered_model_alias(promoted.name, "champion", "2")
        return decision

    monkeypatch.setattr(room, "decide", decide)
    promotion = promoted(around(60))
    assert promotion["against"] == "version 2"
    assert promotion["difference"] == pytest.approx(25)
    tags = tracking.client.get_model_version(promoted.name, "3").tags
    assert tags["touchstone.decision.against"] == "version 2"
    assert int(champion_of(tracking, promoted.name).version) == 3


def dying(where, name):
    """Make the next call of a function die."""

    def die(*_, **__):
        raise KeyboardInterrupt

    context = pytest.MonkeyPatch()
    context.setattr(where, name, die)
    return context


def test_version_of_an_attempt_that_died_undecided_is_deleted(tracking, promoted):
    promoted(around(40))
    patched = dying(room, "decide")
    with pytest.raises(KeyboardInterrupt):
        promoted(around(60))
    patched.undo()
    assert [int(version.version) for version in versions_of(tracking, promoted.name)] == [1, 2]
    with pytest.raises(StageError, match="version 2 was left by a promotion that did not come to its end"):
        override(tracking, promoted.name, 2, "it is there")
    promotion = promoted(inputs=promoted.inputs)
    assert promotion["champion"]
    assert [int(version.version) for version in versions_of(tracking, promoted.name)] == [1, 3]
    assert versions_named(tracking, promoted.name) == {"candidate": 3, "champion": 3}


def test_version_of_an_attempt_that_died_crowned_is_kept(tracking, promoted):
    """It is not compared with itself, and does not lose its place."""
    promoted(around(40))
    patched = dying(Promotion, "write")
    with pytest.raises(KeyboardInterrupt):
        promoted(around(60))
    patched.undo()
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 2}
    promotion = promoted(inputs=promoted.inputs)
    assert (promotion["version"], promotion["against"], promotion["champion"]) == (2, "version 1", True)
    assert "weights" in promotion["files"]
    assert [int(version.version) for version in versions_of(tracking, promoted.name)] == [1, 2]
    assert [turn.version for turn in history(tracking, promoted.name)] == [1, 2]


def test_attempt_that_died_before_the_alias_moved_is_done_over(tracking, promoted, monkeypatch):
    """Its turn is in the history already, and the alias never was."""
    promoted(around(40))
    real = tracking.client.set_registered_model_alias

    def die(name, alias, version):
        if alias == "champion":
            raise KeyboardInterrupt
        real(name, alias, version)

    with monkeypatch.context() as patched:
        patched.setattr(tracking.client, "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            promoted(around(60))
    promotion = promoted(inputs=promoted.inputs)
    assert (promotion["version"], promotion["against"], promotion["champion"]) == (3, "version 1", True)
    assert versions_named(tracking, promoted.name) == {"candidate": 3, "champion": 3}
    assert rollback(tracking, promoted.name).version == 1


def test_version_rolled_back_meanwhile_is_not_crowned_again(tracking, promoted):
    promoted(around(40))
    patched = dying(Promotion, "write")
    with pytest.raises(KeyboardInterrupt):
        promoted(around(60))
    patched.undo()
    rollback(tracking, promoted.name, "users complain")
    assert promoted(inputs=promoted.inputs)["version"] == 2
    assert versions_named(tracking, promoted.name) == {"candidate": 2, "champion": 1}


def test_version_of_a_finished_attempt_stays_when_done_again(tracking, promoted):
    promoted(around(40))
    config = PromoteConfig(name=promoted.name)
    execute(tracking, Work(PROMOTE, config, promoted.inputs), refresh=True)
    assert [int(version.version) for version in versions_of(tracking, promoted.name)] == [1, 2]
    assert override(tracking, promoted.name, 2, "the same").previous == 1
