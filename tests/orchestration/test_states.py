"""An error keeps its kind and its words on its way through Prefect, also through its server."""

import pytest
from prefect.client.schemas.objects import State

from flows.states import error_in, failed
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
def test_a_state_that_was_read_from_the_server_brings_the_error_back(raised, told, type_):
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
