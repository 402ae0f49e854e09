"""A secret of the environment stands in no text that is shown or kept."""

import os

import pytest
from prefect.blocks.system import Secret

from flows.process.console import Console
from flows.process.flow_body import block_name, failed, load_secrets
from tasks.errors import StageError
from tasks.machine.secrets import redacted
from tasks.record.run_lifecycle import ERROR, end
from tests import shared
from tests.commands import entered

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


def test_secrets_are_told_to_neither_prefect_mlflow_nor_terminal(planted, tracking, capsys):
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    end(tracking, run_id, "FAILED", f"refused {PLANTED}")
    assert tracking.client.get_run(run_id).data.tags[ERROR] == "refused ***"
    assert failed(StageError(f"refused {PLANTED}")).message == "refused ***"
    Console().say(f"refused {PLANTED}")
    assert capsys.readouterr().err == "refused ***\n"


def test_a_secret_block_is_what_a_stage_finds_in_its_environment(tmp_path, monkeypatch):
    """What the environment holds already is not asked for. Others ask the same server: names of its own."""
    monkeypatch.setattr("flows.process.flow_body.SECRETS", ("TRIAL_API_KEY", "TRIAL_TOKEN", "TRIAL_UNKNOWN"))
    load_secrets.cache_clear()
    with entered(tmp_path, os.environ | {"TRIAL_TOKEN": PLANTED}, shared.prefect()):
        Secret(value="sk-from-a-block").save(block_name("TRIAL_API_KEY"), overwrite=True)
        Secret(value="hf-from-a-block").save(block_name("TRIAL_TOKEN"), overwrite=True)
        load_secrets()
        assert (os.environ["TRIAL_API_KEY"], os.environ["TRIAL_TOKEN"]) == ("sk-from-a-block", PLANTED)
        assert "TRIAL_UNKNOWN" not in os.environ
    load_secrets.cache_clear()
