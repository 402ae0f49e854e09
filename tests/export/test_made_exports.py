"""Exports that were made are found again, with their files, and can be talked to."""

import pytest

from flows.board.models import exported_files, find_chosen
from flows.exporting.made import VERSION, files_of, made_export, made_exports
from tasks.config import StageConfig
from tasks.errors import StageError, UsageError
from tasks.record.outputs import OUTPUT
from tasks.record.stage import execute
from tasks.record.tracking import local_folder
from tasks.record.work import Stage, Work
from tasks.report.exports import FILES, ExportSummary

GGUF = "net-v3-q8_0.gguf"


class Written(StageConfig):
    """Of a stage that stands for the export stage."""

    text: str = "GGUF"


def write_export(config, run):
    files = {GGUF: {"bytes": len(config.text), "sha256": "0" * 64}}
    (run.out / FILES).mkdir()
    (run.out / FILES / GGUF).write_text(config.text)
    ExportSummary(format="gguf", name="net-v3", files=files, checks=[], costs=[], notes=[]).write(run.out)


def made(store, **settings):
    stage = Stage("export", 1, f"{__name__}:write_export")
    return execute(store, Work(stage, Written(**settings)), refresh=True)


@pytest.fixture
def store(tmp_path, fresh_store):
    return fresh_store(tmp_path / "mlruns")


def test_exports_are_listed_once_the_newest_first(store):
    assert list(made_exports(store)) == []
    first, again, other = made(store), made(store), made(store, text="other")
    store.client.set_tag(other.run_id, VERSION, "net/3")
    assert first.key == again.key
    assert [one.run_id for one in made_exports(store)] == [other.run_id, again.run_id]
    titles = [one.title for one in made_exports(store)]
    assert titles == [f"net/3 as gguf: {GGUF}", f"net-v3 as gguf: {GGUF}"]
    assert [one.bytes for one in made_exports(store)] == [5, 4]


def test_export_has_its_files_unless_they_were_altered(store):
    reference = made(store)
    export = made_export(store, reference.run_id)
    (path,) = files_of(store, export).values()
    assert path.read_text() == "GGUF"
    path.write_text("FUGG")
    with pytest.raises(StageError, match="was altered"):
        files_of(store, export)


def test_export_whose_files_are_gone_is_none(store):
    reference = made(store)
    (local_folder(reference.uri) / OUTPUT / ExportSummary.FILE).unlink()
    assert list(made_exports(store)) == []
    with pytest.raises(UsageError, match="its files are gone"):
        made_export(store, reference.run_id)
    with pytest.raises(UsageError, match="there is no MLflow run"):
        made_export(store, "none")


def test_exported_file_can_be_chosen_to_talk_to(store):
    made(store)
    (choice,) = exported_files(store)
    assert choice.title == f"{GGUF} (exported)"
    found = find_chosen(store, choice.name)
    assert (found.name, found.is_gguf) == (GGUF, True)
    with pytest.raises(UsageError, match="holds no file"):
        find_chosen(store, choice.name.replace(GGUF, "../export.json"))
