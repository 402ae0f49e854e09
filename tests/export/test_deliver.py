"""An export is brought whole to where it is wanted, or not at all; no secret is told."""

import logging
import shutil

import pytest
from huggingface_hub import constants

from tasks.config import ExportConfig
from tasks.errors import StageError, UsageError
from tasks.export.deliver import deliver, require_empty, require_places, write_out
from tests.hub_server import HubServer

TOKEN = "hf_aSecretThatNobodyMayRead"
FILES = {"README.md": "---\ntags: [a]\n---\n# card\n", "config.json": "{}", "model.safetensors": "w" * 40_000}


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "output"
    (folder / "files").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / "files" / name).write_text(text)
    return folder


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_a_new_and_an_empty_folder_are_filled(output, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        assert write_out(output / "files", tmp_path / name) == tmp_path / name
        assert names(tmp_path / name) == FILES.keys()


def test_folder_of_the_same_files_is_left_and_others_refused(output, tmp_path):
    write_out(output / "files", tmp_path / "new")
    write_out(output / "files", tmp_path / "new")
    (tmp_path / "new" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        write_out(output / "files", tmp_path / "new")
    assert (tmp_path / "new" / "mine.txt").exists()


def test_an_interrupted_copy_leaves_nothing(output, tmp_path, monkeypatch):
    copy = shutil.copytree

    def interrupted(source, target):
        copy(source, target)
        (target / "config.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_out(output / "files", tmp_path / "new")
    assert names(tmp_path) == {"output"}


def test_what_a_killed_copy_left_is_taken_away(output, tmp_path):
    (tmp_path / ".new.part").mkdir()
    (tmp_path / ".new.part" / "old.bin").write_text("half")
    write_out(output / "files", tmp_path / "new")
    assert names(tmp_path) == {"output", "new"}
    assert names(tmp_path / "new") == FILES.keys()


def test_a_full_disk_is_told_before_anything_is_copied(output, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(StageError, match=r"needs \d+ bytes .* 10 are free"):
        write_out(output / "files", tmp_path / "new")
    assert names(tmp_path) == {"output"}


def test_what_is_no_folder_is_refused_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        require_empty(tmp_path / "file")
    with pytest.raises(UsageError, match="there is no folder"):
        require_empty(tmp_path / "missing" / "new")


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # as a hub of one's own has none
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with HubServer(TOKEN).running() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def test_push_fills_a_private_repository_of_the_endpoint(hub, output, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    config = ExportConfig(push="me/story")
    (told,) = deliver(config, output)
    assert told == f"pushed to {hub.url}/me/story at c0ffee000000"
    assert hub.repositories["me/story"]["private"] is True
    assert hub.repositories["me/story"]["files"] == {name: text.encode() for name, text in FILES.items()}
    list(deliver(config, output))  # a second time, into what is there


def test_push_without_a_token_is_refused_before_all_else(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: TOKEN)  # one that is stored for the hub itself
    with pytest.raises(UsageError, match="--push needs a token"):
        require_places(ExportConfig(push="me/story"))
    assert not hub.requests


def test_a_refused_push_tells_the_reason_and_no_token(hub, output, monkeypatch, caplog, capsys):
    wrong = "hf_anotherSecretOfMine"
    monkeypatch.setenv("HF_TOKEN", wrong)
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(StageError, match="me/story could not be pushed") as error,
    ):
        list(deliver(ExportConfig(push="me/story"), output))
    told = f"{error.value}{caplog.text}{capsys.readouterr()}"
    assert "401" in str(error.value)
    assert wrong not in told
