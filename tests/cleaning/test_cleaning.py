"""`touchstone clean` on a store with real rows and files: what goes is gone, what stays can be used."""

import json
import os
import shutil
import sqlite3
import time
from datetime import UTC, datetime, timedelta

import pytest

from flows.cleaning.plan import make_plan
from flows.cleaning.reach import Rule
from flows.cleaning.removing import remove
from tasks.errors import RefusedError
from tasks.judge.ask.answers import ANSWERS, AnswerStore
from tasks.machine.kept_files import KeptFiles
from tasks.machine.locks import holding
from tasks.record.tracking import local_folder
from tasks.servers.replies import Reply

DAY = 86_400
NOW = time.time()
REPLY = Reply(200, "5", None, 0.1)
OLD = Rule(datetime.now(UTC) - timedelta(days=30), newest=0)


@pytest.fixture
def store(tmp_path, fresh_store, monkeypatch):
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    return fresh_store(tmp_path / "mlruns")


def begun(store, days, status="FINISHED", **tags):
    at = round(1000 * (NOW - days * DAY))
    told = {name.replace("__", "."): value for name, value in tags.items()}
    run_id = store.client.create_run(store.experiment_id, at, told).info.run_id
    store.client.log_text(run_id, "x" * 1000, "output/rows.jsonl")
    store.client.log_metric(run_id, "loss", 1.0)
    if status != "RUNNING":
        store.client.set_terminated(run_id, status, at)
    return run_id


def stage(store, days, name, **more):
    return begun(store, days, touchstone__stage=name, touchstone__digest=f"{name}-{days}", **more)


def silent(done, total):
    pass


def folder_of(store, run_id):
    return store.root / "artifacts" / run_id


def test_old_runs_go_with_files_rows_and_traces(store):
    old = stage(store, 60, "judge")
    recent = stage(store, 2, "rows")
    root = store.client.start_trace("row 1", experiment_id=store.experiment_id, run_id=old)
    store.client.end_trace(root.trace_id)
    plan = make_plan(store, OLD)
    assert [(one.run_id, one.what, one.bytes) for one in plan.runs] == [(old, "judge", 1000)]
    assert folder_of(store, old).is_dir()
    assert remove(store, plan, silent) == []
    assert not folder_of(store, old).exists()
    assert (folder_of(store, recent) / "artifacts" / "output" / "rows.jsonl").is_file()
    with sqlite3.connect(store.root / "mlflow.db") as base:
        assert base.execute("SELECT run_uuid FROM runs").fetchall() == [(recent,)]
        assert base.execute("SELECT DISTINCT run_uuid FROM metrics").fetchall() == [(recent,)]
        assert base.execute("SELECT count(*) FROM trace_info").fetchone() == (0,)
    assert make_plan(store, OLD).is_empty


def test_a_kill_in_the_middle_is_made_good(store, monkeypatch):
    first, second = stage(store, 60, "rows"), stage(store, 61, "generate")

    def killed(*_):
        raise KeyboardInterrupt

    plan = make_plan(store, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove(store, plan, silent)
    assert folder_of(store, first).is_dir()
    again = make_plan(store, OLD)
    assert {one.run_id for one in again.runs} == {first, second}
    remove(store, again, silent)
    assert not folder_of(store, first).exists()
    assert not folder_of(store, second).exists()


def test_what_a_person_deleted_in_mlflow_can_be_restored(store):
    run_id = stage(store, 60, "rows")
    store.client.delete_run(run_id)
    assert make_plan(store, OLD).is_empty
    other = stage(store, 60, "generate")
    remove(store, make_plan(store, OLD), silent)
    store.client.restore_run(run_id)
    assert folder_of(store, run_id).is_dir()
    assert not folder_of(store, other).exists()


def test_nothing_goes_while_a_run_is_running(store, monkeypatch):
    stage(store, 60, "rows")
    plan = make_plan(store, OLD)
    begun(store, 0, status="RUNNING", touchstone__kind="pipeline", mlflow__runName="nightly")
    begun(store, 0, status="RUNNING", touchstone__stage="finetune", mlflow__runName="finetune")
    with pytest.raises(RefusedError, match=r"nightly .*touchstone cancel"):
        make_plan(store, OLD)
    with pytest.raises(RefusedError, match="Clean when all runs have ended"):
        remove(store, plan, silent)
    assert folder_of(store, plan.runs[0].run_id).is_dir()


def test_what_was_found_since_the_plan_was_made_stays(store):
    """A person may think for an hour about the question, while runs begin and end."""
    rows, other = stage(store, 60, "rows"), stage(store, 61, "generate")
    plan = make_plan(store, OLD)
    begun(store, 0, touchstone__kind="pipeline", touchstone__stage__rows=rows)
    remove(store, plan, silent)
    assert folder_of(store, rows).is_dir()
    assert not folder_of(store, other).exists()


def test_of_two_at_once_one_is_refused(store):
    stage(store, 60, "rows")
    plan = make_plan(store, OLD)
    with holding(store.work / "clean.lock"), pytest.raises(RefusedError, match="another touchstone clean"):
        remove(store, plan, silent)
    assert remove(store, plan, silent) == []
    assert remove(store, plan, silent) == []


def registered(store, name, count):
    """Versions as the promote stage makes them: their runs, and the folders of their files."""
    client, runs, folders = store.client, [], []
    client.create_registered_model(name)
    for age in range(count):
        run_id = stage(store, 60 + age, "promote")
        logged = client.create_logged_model(store.experiment_id, source_run_id=run_id)
        folder = local_folder(logged.artifact_location)
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_bytes(b"m" * 2000)
        source, key = logged.artifact_location, {"touchstone.key": str(age)}
        client.create_model_version(name, source, run_id=run_id, model_id=logged.model_id, tags=key)
        runs.append(run_id)
        folders.append(folder)
    return runs, folders


FAR = datetime.now(UTC) + timedelta(days=1)
NEWEST_VERSION = Rule(FAR, 1, all_versions=False)


def test_versions_go_by_choice_and_the_champion_stays(store):
    runs, folders = registered(store, "m", 3)
    store.client.set_registered_model_alias("m", "champion", "1")
    assert make_plan(store, Rule(FAR, 0)).is_empty
    plan = make_plan(store, NEWEST_VERSION)
    assert [(one.version, one.bytes) for one in plan.versions] == [(2, 2000)]
    assert [one.run_id for one in plan.runs] == [runs[1]]
    remove(store, plan, silent)
    assert [one.version for one in store.client.search_model_versions("name='m'")] == [3, 1]
    assert [folder.parent.exists() for folder in folders] == [True, False, True]


def test_a_version_stays_while_a_copy_has_its_files(store):
    _, folders = registered(store, "m", 3)
    store.client.copy_model_version("models:/m/1", "in-use")
    assert [one.version for one in make_plan(store, NEWEST_VERSION).versions] == [2]
    store.client.copy_model_version("models:/in-use/1", "copied-on")
    store.client.delete_registered_model("in-use")
    remove(store, make_plan(store, NEWEST_VERSION), silent)
    assert [folder.exists() for folder in folders] == [True, False, True]
    assert store.client.get_model_version("copied-on", "1").status == "READY"


def test_versions_that_touchstone_did_not_make_stay(store):
    client = store.client
    client.create_registered_model("theirs")
    run_id = client.create_run(store.experiment_id).info.run_id
    for _ in range(3):
        client.create_model_version("theirs", f"runs:/{run_id}/model", run_id=run_id)
    assert make_plan(store, Rule(FAR, 0, all_versions=False)).versions == []


def aged(path, days):
    for one in (*path.rglob("*"), path):
        os.utime(one, (NOW - days * DAY,) * 2)


def test_caches_go_when_long_unused_and_not_held(store):
    work = store.work
    for key, days in (("a" * 64, 60), ("b" * 64, 60), ("c" * 64, 1)):
        (work / key / "checkpoint").mkdir(parents=True)
        (work / key / "checkpoint" / "state").write_bytes(b"x" * 500)
        aged(work / key, days)
    kept = KeptFiles(work / "shared" / "gguf")
    for name in ("old.gguf", "new.gguf"):
        with kept.using(name, lambda part: part.write_bytes(b"g" * 200)):
            pass
    os.utime(work / "shared" / "gguf" / "old.gguf.lock", (NOW - 60 * DAY,) * 2)
    with AnswerStore(work / "shared" / ANSWERS) as answers:
        for asked in ("old", "new"):
            answers.add(asked, "judge", REPLY)
        answers._base.execute("UPDATE answers SET at = datetime('now', '-60 days') WHERE asked = 'old'")
    plan = make_plan(store, OLD)
    assert [(one.what, one.count) for one in plan.caches] == [
        ("unfinished stages", 2),
        ("models written for engines (gguf)", 1),
        ("answers of judges", 1),
    ]
    assert plan.caches[0].bytes == 1000
    with holding(work / ("a" * 64 + ".lock")):
        remove(store, plan, silent)
    assert {path.name for path in work.glob("?" * 64)} == {"a" * 64, "c" * 64}
    assert {path.name for path in (work / "shared" / "gguf").glob("*.gguf")} == {"new.gguf"}
    with AnswerStore(work / "shared" / ANSWERS) as answers:
        assert answers.find("old") is None
        assert answers.find("new") == REPLY


def test_of_a_link_the_link_goes_and_what_it_leads_to_stays(store, tmp_path):
    run_id, elsewhere = stage(store, 60, "rows"), tmp_path / "elsewhere"
    kept = KeptFiles(store.work / "shared" / "folders")
    kept.folder.mkdir(parents=True)
    (kept.folder / "model.lock").touch()
    os.utime(kept.folder / "model.lock", (NOW - 60 * DAY,) * 2)
    shutil.move(folder_of(store, run_id), elsewhere / "run")
    links = {"run": folder_of(store, run_id), "work": store.work / ("a" * 64), "model": kept.folder / "model"}
    for name, link in links.items():
        (elsewhere / name).mkdir(parents=True, exist_ok=True)
        (elsewhere / name / "file").write_text("of somebody")
        link.symlink_to(elsewhere / name)
        os.utime(link, (NOW - 60 * DAY,) * 2, follow_symlinks=False)
    plan = make_plan(store, OLD)
    assert remove(store, plan, silent) == []
    assert not any(os.path.lexists(link) for link in links.values())
    assert [(elsewhere / name / "file").read_text() for name in links] == ["of somebody"] * 3


def test_a_profile_without_runs_is_told(store, command):
    assert "no profile was run here" in command("clean", "--profile", "quikstart")[2]
    begun(store, 60, touchstone__kind="pipeline", touchstone__profile="quickstart")
    status, _, err = command("clean", "--profile", "quikstart")
    assert (status, "'quikstart': it has no runs; there are runs of quickstart" in err) == (2, True)


def test_of_one_profile_no_cache_goes(store):
    begun(store, 1, touchstone__kind="pipeline", touchstone__profile="quickstart")
    (store.work / ("a" * 64)).mkdir(parents=True)
    aged(store.work / ("a" * 64), 60)
    assert make_plan(store, OLD, "quickstart").is_empty


@pytest.mark.parametrize("yes", [True, False])
def test_the_command_removes_only_when_told_to(store, command, yes):
    run_id = stage(store, 60, "rows")
    status, out, err = command("clean", *(["--yes"] if yes else []))
    assert status == 0, err
    assert "runs: rows" in out
    assert folder_of(store, run_id).exists() is not yes
    assert ("Freed" if yes else "Nothing was removed: --yes removes it") in err


def test_the_command_tells_what_goes_as_json(store, command):
    run_id = stage(store, 60, "rows", mlflow__runName="old")
    stage(store, 1, "rows")
    _, out, _ = command("clean", "--json")
    told = json.loads(out)
    assert told["runs"] == [{"run_id": run_id, "what": "rows", "name": "old", "bytes": 1000}]
    assert told["stays"] == {"recent": 1}
    assert told["removed"] is False


def test_a_time_that_is_none_is_told(store, command):
    status, _, err = command("clean", "--older-than", "soon")
    assert status == 2
    assert "--older-than 'soon': expected a time ago" in err
