"""A flow run that Prefect would leave waiting for ever is not waited for for ever."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.schemas.objects import State

import flows.server.up
from flows.server.pools import Watch, live_workers, retry_until_available
from tasks.errors import CrashedError, StageError, StoppedError


class Prefect:
    """What of a client is asked: the pool, its workers, and what a run is set to."""

    def __init__(self, pool="process", heard=None):
        self.pool, self.heard, self.set_to = pool, heard, []

    def read_work_pool(self, name):
        return SimpleNamespace(type=self.pool, is_paused=False)

    def read_workers_for_work_pool(self, name):
        if self.heard is None:
            return []
        last = datetime.now(UTC) - timedelta(seconds=self.heard)
        return [SimpleNamespace(name="one", last_heartbeat_time=last, heartbeat_interval_seconds=10)]

    def set_flow_run_state(self, run, state, force):
        self.set_to.append((run, state.type.value, force))


def run_in(kind):
    state = State(type=kind)
    return SimpleNamespace(id="run", state=state, state_name=state.name, work_pool_name="gpu-pool")


@pytest.fixture
def watch(clock):
    """A factory: a watch that has seen a run in its state for as long as it may be."""

    def make(client, run):
        watch = Watch(client, clock)
        watch.check(run)
        clock.now += 60
        return watch

    return make


def test_run_taken_but_not_started_is_crashed_and_started_again(watch):
    client, run = Prefect(heard=1), run_in("PENDING")
    with pytest.raises(CrashedError, match="did not start it within 60 s"):
        watch(client, run).check(run)
    assert client.set_to == [("run", "CRASHED", True)]


def test_a_container_may_take_longer_to_start(watch):
    client, run = Prefect(pool="kubernetes", heard=1), run_in("PENDING")
    watch(client, run).check(run)
    assert client.set_to == []


def test_a_run_that_nobody_stops_is_not_waited_for(watch):
    run = run_in("CANCELLING")
    with pytest.raises(StoppedError, match="does not answer"):
        watch(Prefect(heard=1), run).check(run)


@pytest.mark.parametrize(("heard", "hope"), [(1, True), (None, False), (60, False)])
def test_run_waiting_for_its_turn_has_hope_while_a_worker_lives(watch, heard, hope):
    run = run_in("SCHEDULED")
    watching = watch(Prefect(heard=heard), run)
    if hope:
        watching.check(run)
    else:
        with pytest.raises(StageError, match="touchstone worker gpu-pool"):
            watching.check(run)


def test_running_run_is_waited_for_and_another_state_begins_anew(watch, clock):
    running, pending = run_in("RUNNING"), run_in("PENDING")
    watching = watch(Prefect(heard=1), running)
    watching.check(running)
    watching.check(pending)  # it is in this state only now
    clock.now += 59
    watching.check(pending)
    clock.now += 1
    with pytest.raises(CrashedError):
        watching.check(pending)


def test_how_long_is_hoped_is_told_by_the_environment(watch, clock, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_SECONDS_WORKER_AWAY", "61")
    client, run = Prefect(heard=1), run_in("PENDING")
    watching = watch(client, run)
    watching.check(run)
    clock.now += 1
    with pytest.raises(CrashedError, match="within 61 s"):
        watching.check(run)


@pytest.mark.parametrize(("seconds", "alive"), [(0, True), (39, True), (41, False)])
def test_worker_lives_while_it_missed_less_than_four_heartbeats(seconds, alive):
    assert bool(live_workers(Prefect(heard=seconds), "gpu-pool")) is alive


def failing(*errors):
    left = list(errors)

    def ask():
        if left:
            raise left.pop(0)
        return "answer"

    return ask


def of(status):
    request = httpx.Request("GET", "http://prefect")
    return httpx.HTTPStatusError("told", request=request, response=httpx.Response(status, request=request))


def test_a_server_that_is_restarted_is_asked_again(monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_SECONDS_POLL", "0.001")
    assert (
        retry_until_available(failing(httpx.ConnectError("refused"), of(503), httpx.ReadError("reset")))
        == "answer"
    )


def test_a_server_that_stays_away_or_refuses_is_told(monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_SECONDS_POLL", "0.001")
    with pytest.raises(httpx.HTTPStatusError):
        retry_until_available(failing(of(404)))
    monkeypatch.setenv("TOUCHSTONE_SECONDS_PREFECT_AWAY", "0.01")
    with pytest.raises(StageError, match="does not answer any more"):
        retry_until_available(failing(*[httpx.ConnectError("refused")] * 1000))


def test_a_reaping_that_fails_does_not_take_the_servers_down(monkeypatch, capsys):
    def refuse(*_, **__):
        raise httpx.ConnectError("refused")

    monkeypatch.setattr(flows.server.up, "open_tracking", refuse)
    monkeypatch.setattr(flows.server.up, "get_client", refuse)
    flows.server.up._reap()
    assert "could not be looked for: refused" in capsys.readouterr().err
