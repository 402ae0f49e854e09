"""A secret of the environment stands in no text that is shown or kept."""

import pytest

from flows.console import Console
from flows.states import failed
from tasks.endings import ERROR, end
from tasks.errors import StageError
from tasks.secrets import redacted

PLANTED = "hf_planted-0123456789"


@pytest.fixture
def planted(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", PLANTED)
    monkeypatch.setenv("MY_JUDGE_KEY", "sk-planted")
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", "postgresql://user:pa55-planted@db/mlflow")
    return PLANTED


@pytest.mark.parametrize(
    "text",
    [
        f"401: the token {PLANTED} is not valid",
        "the key sk-planted is not valid",
        "FATAL: pa55-planted is not the password",
        "https://user:something@host/path",
        "postgresql://user:some@thing@host/path",
        "postgresql://user:some/thing@host/path",
    ],
)
def test_secrets_are_taken_out(planted, text):
    assert "planted" not in redacted(text)
    assert "thing" not in redacted(text)
    assert "***" in redacted(text)


def test_other_text_stays_as_it_is(planted, monkeypatch):
    monkeypatch.setenv("SHORT_KEY", "the")  # too short to be one
    monkeypatch.setenv("KEYBOARD_LAYOUT", "keyboard")
    text = "the tokens of the keyboard at https://host/path"
    assert redacted(text) == text


def test_what_prefect_mlflow_and_the_terminal_are_told_holds_none(planted, tracking, capsys):
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    end(tracking, run_id, "FAILED", f"refused {PLANTED}")
    assert tracking.client.get_run(run_id).data.tags[ERROR] == "refused ***"
    assert failed(StageError(f"refused {PLANTED}")).message == "refused ***"
    Console().say(f"refused {PLANTED}")
    assert capsys.readouterr().err == "refused ***\n"
