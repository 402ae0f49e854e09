"""An error keeps its kind and its words on its way through Prefect, also through its server."""

from contextlib import suppress
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore

from flows.process import flow_body as bodies
from flows.process.flow_body import error_in, failed, flow_body, flow_started
from tasks.errors import CrashedError, RefusedError, StageError, StoppedError, UnreachableError, UsageError

KINDS = [
    (RefusedError, RefusedError, "FAILED"),
    (UsageError, UsageError, "FAILED"),
    (StageError, StageError, "FAILED"),
    (UnreachableError, StageError, "FAILED"),
    (CrashedError, CrashedError, "CRASHED"),
    (StoppedError, StoppedError, "CANCELLED"),
]


@pytest.mark.parametrize(("raised", "told", "type_"), KINDS)
def test_state_read_from_the_server_brings_the_error_back(raised, told, type_):
    state = failed(raised("the training split has 3 tokens"))
    assert state.type.value == type_
    read = State.model_validate(state.model_dump(mode="json", include={"type", "name", "message"}))
    for each in (state, read):
        error = error_in(each)
        assert type(error) is told
        assert str(error) == "the training split has 3 tokens"


def test_a_crash_of_prefect_s_own_is_a_crash():
    error = error_in(State(type="CRASHED", message="Process exited with status code: -9."))
    assert type(error) is CrashedError
    assert str(error) == "Process exited with status code: -9."


def test_a_state_without_a_word_is_told_as_that():
    assert str(error_in(State(type="CANCELLED"))) == "the flow run was cancelled, without a reason"


class Planted:
    """What runs code when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_what_a_server_names_as_a_result_is_not_unpickled(tmp_path):
    mark = tmp_path / "was-here"
    store = ResultStore(result_storage=LocalFileSystem(basepath=str(tmp_path)), persist_result=True)
    record = store.create_result_record(Planted(mark), key=str(tmp_path / "planted"))
    (tmp_path / "planted").write_bytes(record.serialize())
    named = {"type": "FAILED", "message": "so it says", "data": record.metadata.model_dump(mode="json")}
    error = error_in(State.model_validate(named))
    assert (type(error), str(error)) == (StageError, "so it says")
    assert not mark.exists()
    with suppress(Exception):  # the file does run code, for whoever asks Prefect for the result
        State.model_validate(named).result(raise_on_failure=False)
    assert mark.exists()


@pytest.fixture
def secrets(monkeypatch):
    asked = []
    monkeypatch.setattr(bodies, "load_secrets", lambda: asked.append("secrets"))
    return asked


def test_a_flow_s_body_has_its_secrets_and_its_own_clock(secrets):
    @flow_body
    def outer(inner):
        before = flow_started()
        return before, inner(), flow_started(), list(secrets)

    before, within, after, asked = outer(flow_body(flow_started))
    assert before == after < within
    assert asked == ["secrets", "secrets"]
    with pytest.raises(LookupError):
        flow_started()


@pytest.mark.usefixtures("secrets")
def test_flow_body_ends_in_our_errors_state_or_raises_a_defect():
    @flow_body
    def body(error):
        raise error

    state = body(RefusedError("the judge failed"))
    assert (state.name, state.message) == ("Refused", "the judge failed")
    with pytest.raises(ZeroDivisionError):
        body(ZeroDivisionError())
