"""A sweep's trials in their storage: nothing is tried twice, and nothing that a kill took is lost."""

from types import SimpleNamespace

import pytest

from flows.sweeping.objectives import Measure, Objective
from flows.sweeping.space import grid_of, parse_space
from flows.sweeping.study import StudyDefinition, opened, storage_address
from tasks.config import SweepTrial
from tasks.errors import RefusedError, UsageError
from tests.postgres import MissingError, postgres_server

GRID = ["a.b=1..2", "c.d=x,y"]
RANGE = ["a.b=1e-4..1e-2:log"]


class Named:
    """All that a study asks of a profile."""

    name = "tiny"

    def model_dump(self, **_):
        return {"name": "tiny"}


def asked(over, sampler="random", by="loss"):
    objective = Objective("finetune", by, Measure("best_validation_loss", "minimize"))
    return StudyDefinition(Named(), parse_space(over), sampler, objective)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "work").mkdir()
    return SimpleNamespace(root=tmp_path, work=tmp_path / "work")


def done(trial, value=1.0, **more):
    return SweepTrial(number=trial.number, settings=trial.settings, state="done", value=value, **more)


def test_grid_is_tried_whole_across_two_processes(home):
    points, tried = grid_of(parse_space(GRID)), []
    for trials in (1, 3):
        with opened(asked(GRID, "grid"), home, None) as study:
            study.enqueue(points)
            for _ in range(trials):
                trial = study.ask()
                tried.append(trial.settings)
                trial.tell(done(trial))
    assert tried == points
    with opened(asked(GRID, "grid"), home, None) as study:
        study.enqueue(points)
        assert [one.settings for one in study.trials()] == points


def test_trial_of_a_dead_process_is_asked_for_again(home):
    with opened(asked(RANGE), home, None) as study:
        first = study.ask()
        first.tell(done(first))
        killed = study.ask()
    with opened(asked(RANGE), home, None) as study:
        assert [one.number for one in study.trials()] == [first.number]
        again = study.ask()
        assert again.settings == killed.settings
        assert again.number != killed.number
    with opened(asked(RANGE), home, None) as study:  # killed once more
        assert study.ask().settings == killed.settings


def test_trial_that_had_ended_when_it_was_killed_is_kept(home, monkeypatch):
    with opened(asked(RANGE), home, None) as study:
        trial = study.ask()
        monkeypatch.setattr("flows.sweeping.study._tell", lambda *_: None)
        trial.tell(done(trial, 0.5))
    monkeypatch.undo()
    with opened(asked(RANGE), home, None) as study:
        assert [one.value for one in study.trials()] == [0.5]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_sweep_that_was_killed_draws_what_it_would_have_drawn(home, sampler, tmp_path):
    drawn = []
    for place, processes in (("whole", [4]), ("parts", [1, 2, 1])):
        settings = []
        for trials in processes:
            with opened(asked(RANGE, sampler), home, f"sqlite:///{tmp_path}/{place}.db") as study:
                for _ in range(trials):
                    trial = study.ask()
                    settings.append(trial.settings)
                    trial.tell(done(trial, float(trial.settings["a.b"])))
        drawn.append(settings)
    assert drawn[0] == drawn[1]
    assert len({one["a.b"] for one in drawn[0]}) == 4


def test_trial_is_pruned_where_half_of_the_others_were_better(home):
    with opened(asked(RANGE), home, None) as study:
        for value in (1.0, 2.0, 3.0):
            trial = study.ask()
            assert not trial.watch("loss", {"loss": value}, 10)
            trial.tell(done(trial, value))
        trial = study.ask()
        assert not trial.watch("loss", {"other": 9.0}, 10)
        assert trial.watch("loss", {"loss": 9.0}, 10)
        assert trial.pruned == "at step 10 it was worse than half of the trials were there"
        trial.tell(SweepTrial(number=trial.number, settings=trial.settings, state="pruned"))
        assert [one.state for one in study.trials()] == ["done", "done", "done", "pruned"]


def test_study_is_another_for_whatever_else_is_asked():
    names = {
        asked(over, sampler, by).name
        for over in (GRID, RANGE)
        for sampler in ("random", "tpe")
        for by in ("loss", "score")
    }
    assert len(names) == 8


def test_two_at_once_are_refused(home):
    with (
        opened(asked(RANGE), home, None),
        pytest.raises(RefusedError, match="another process makes trials of this sweep"),
        opened(asked(RANGE), home, None),
    ):
        pass


def test_trial_of_another_machine_is_not_taken_for_dead(home, tmp_path):
    other = SimpleNamespace(root=home.root, work=tmp_path / "other")
    other.work.mkdir()
    with opened(asked(RANGE), home, None) as study:
        study.ask()
    with (
        pytest.raises(RefusedError, match="is being made on another machine"),
        opened(asked(RANGE), other, None),
    ):
        pass


@pytest.mark.parametrize("address", ["mysql://u:secret@h/x", "sqlite://", "postgresql:///x", "file.db"])
def test_storage_that_is_none_is_told_without_its_password(address):
    with pytest.raises(UsageError, match=r"--storage .*expected sqlite") as raised:
        storage_address(address)
    assert "secret" not in str(raised.value)


def test_storage_that_cannot_be_opened_is_told(home):
    with (
        pytest.raises(UsageError, match="unable to open database file"),
        opened(asked(RANGE), home, "sqlite:////nowhere/at/all.db"),
    ):
        pass


@pytest.mark.slow
def test_study_in_postgres_goes_on_and_keeps_its_password(home):
    try:
        with postgres_server("hid:den") as port:
            address = f"postgresql://touchstone:hid%3Aden@127.0.0.1:{port}/postgres"
            with opened(asked(RANGE), home, address) as study:
                trial = study.ask()
                trial.tell(done(trial))
            with opened(asked(RANGE), home, address) as study:
                assert [one.value for one in study.trials()] == [1.0]
            wrong = address.replace("hid%3A", "secret")
            with (
                pytest.raises(UsageError, match="--storage postgresql") as raised,
                opened(asked(RANGE), home, wrong),
            ):
                pass
            assert "secret" not in str(raised.value)
    except MissingError as missing:
        pytest.skip(str(missing))


def test_storage_of_postgres_has_the_driver_that_there_is():
    assert storage_address("postgres://u:p@h:1/x") == "postgresql+psycopg2://u:p@h:1/x"
