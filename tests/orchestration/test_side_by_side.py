"""Several runs of a flow: which of them run here, and which on a pool that is played."""

from contextlib import contextmanager

import pytest

from flows.dispatch.elsewhere import Ended, Job
from flows.dispatch.side_by_side import side_by_side

DONE, FAILED = "done", "failed"


def jobs(count):
    return [
        Job(number, f"seed {number}", f"seed {number} of {count}", f"tiny {number}", {})
        for number in range(count)
    ]


class Pool:
    """Begins as many runs as it has room for at each look, and ends at the next what it has begun."""

    def __init__(self, room=99, workers=True, dies=(), fails=()):
        self.room, self.workers, self.dies, self.fails = room, workers, dies, fails
        self.jobs, self.begun, self.most, self.taken_back = [], [], 0, []

    def has_room(self, at_once):
        return self.workers and (at_once is None or len(self.jobs) < at_once - 1)

    def start(self, job):
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def ended(self):
        over = [job for job in self.jobs if job in self.begun]
        self.jobs = [job for job in self.jobs if job not in over]
        self.begun += self.jobs[: self.room]
        return [Ended(job, self._state(job)) for job in over]

    def _state(self, job):
        if job.number in self.dies:
            return None
        return FAILED if job.number in self.fails else DONE

    def take_back(self):
        for job in reversed(self.jobs):
            if job not in self.begun:
                self.jobs.remove(job)
                self.taken_back.append(job.number)
                return job
        return None


@pytest.fixture
def run(monkeypatch):
    """Run jobs beside a pool; which ran here, in their order, and the state of each."""

    def run(pool, asked, at_once=None, deployment="tiny/tiny"):
        @contextmanager
        def elsewhere(name):
            assert name == deployment
            yield pool

        monkeypatch.setattr("flows.dispatch.side_by_side.elsewhere", elsewhere)
        monkeypatch.setenv("TOUCHSTONE_SECONDS_POLL", "0.001")
        here, states = [], {}

        def run_here(job):
            here.append(job.number)
            return DONE

        def keep(job, state):
            assert job.number not in states
            states[job.number] = state

        given = asked(states) if callable(asked) else iter(asked)
        side_by_side(given, run_here, keep, deployment, at_once)
        return here, states

    return run


def test_first_runs_here_and_the_others_beside_it(run):
    here, states = run(Pool(), jobs(4))
    assert here[0] == 0
    assert states == dict.fromkeys(range(4), DONE)


def test_without_pools_or_workers_all_run_here_in_order(run):
    for pool, deployment in ((None, None), (Pool(workers=False), "tiny/tiny")):
        here, states = run(pool, jobs(3), deployment=deployment)
        assert here == [0, 1, 2]
        assert len(states) == 3


def test_what_no_worker_begins_is_taken_back_the_last_first(run):
    pool = Pool(room=0)
    here, _ = run(pool, jobs(4))
    assert here == [0, 3, 2, 1]
    assert pool.taken_back == [3, 2, 1]


def test_no_more_than_asked_for_run_at_once(run):
    pool = Pool()
    _, states = run(pool, jobs(9), at_once=3)
    assert len(states) == 9
    assert pool.most == 2  # and one here


def test_one_at_once_is_made_here_alone(run):
    pool = Pool()
    here, _ = run(pool, jobs(3), at_once=1)
    assert here == [0, 1, 2]
    assert pool.most == 0


def test_run_whose_process_died_is_made_here(run):
    here, states = run(Pool(dies=[2], fails=[1]), jobs(3))
    assert here == [0, 2]
    assert states == {0: DONE, 1: FAILED, 2: DONE}


def test_a_job_is_asked_for_when_there_is_a_place_for_it(run):
    """What is tried next may follow from what was kept, as the trials of a sweep do."""
    known = []

    def asked(states):
        for job in jobs(6):
            known.append(len(states))
            yield job

    run(Pool(), asked, at_once=2)
    assert all(number - found <= 2 for number, found in enumerate(known)), known
    assert known[-1] >= 4
