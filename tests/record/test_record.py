"""The stage record: a hit is whole and unaltered, a death leaves no hit, the same work the same digest."""

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import mlflow
import pytest

from tasks.config import (
    OUTSIDE_KEY,
    Device,
    DownloadConfig,
    FinetuneConfig,
    JudgeConfig,
    StageConfig,
)
from tasks.errors import RefusedError, StageError
from tasks.record import manifest
from tasks.record.outputs import fault, fetch
from tasks.record.run_lifecycle import LOCK, MACHINE
from tasks.record.stage import StageRun, execute, find, flat, metrics_of
from tasks.record.tracking import local_folder, open_tracking
from tasks.record.work import Reference, Stage, Work, stage_key
from tasks.registry.promotion import Promotion
from tasks.show.curves import draw_losses

EVENTS = {}


class Settings(StageConfig):
    """What the stages of this file are told; `text` makes the key of each test its own."""

    text: str
    times: int = 1
    journal: Annotated[Path | None, OUTSIDE_KEY] = None
    act: Annotated[str, OUTSIDE_KEY] = ""
    device: Device = "auto"


def write(config, run, **inputs):
    """A stage that leaves a line in the journal each time it runs, and does what `act` says halfway."""
    with config.journal.open("a") as journal:
        journal.write(f"{os.getpid()}\n")
    (run.out / "deep").mkdir()
    (run.out / "deep" / "text.txt").write_text(config.text * config.times, encoding="utf-8")
    for name, folder in inputs.items():
        (run.out / f"{name}.txt").write_text((folder / "deep" / "text.txt").read_text())
    (run.auxiliary / "speed.txt").write_text(str(time.time_ns()))
    seen = run.checkpoint / "attempts"
    seen.write_text(seen.read_text() + "+" if seen.exists() else "+")
    run.log_metrics({"loss": 0.5}, step=3)
    if config.act == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.act == "raise":
        raise ValueError("something is\nwrong")
    if config.act == "explain":
        raise StageError("a.json, row 3: 'output' is empty")
    if config.act == "refuse":
        raise RefusedError("the checks failed")
    if config.act == "interrupt":
        raise KeyboardInterrupt
    if config.act == "wait":
        assert EVENTS["waiting"].wait(60)
    (run.out / "attempts").write_text(seen.read_text())


def silent(config, run):
    """A stage without output."""


def wanted(tracking, output):
    """Whether the effect of a stage is still there: a file in the store, named after the output's text."""
    return (tracking.root / f"effect-{(output / 'deep' / 'text.txt').read_text()}").exists()


WRITE = Stage("write", 1, f"{__name__}:write")


@pytest.fixture
def config(request, tmp_path):
    return Settings(text=re.sub(r"\W", "_", request.node.name), journal=tmp_path / "journal")


def runs_of(config):
    return config.journal.read_text().splitlines() if config.journal.exists() else []


def key_of(config, stage=WRITE):
    return stage_key(stage, config, {})


def mlflow_runs(tracking, key):
    """All runs at a key, the oldest first."""
    found = tracking.client.search_runs([tracking.experiment_id], f"tags.`touchstone.key` = '{key}'")
    return sorted(found, key=lambda run: run.info.start_time)


def artifacts_of(reference):
    return local_folder(reference.uri)


# The key


class Inner(StageConfig):
    depth: int = 1
    host: Annotated[str, OUTSIDE_KEY] = "here"


class Outer(StageConfig):
    name: str = "x"
    rate: float = 0.5
    path: Path = Path("a/b")
    items: tuple[Inner, ...] = (Inner(),)
    device: Device = "auto"


def outer_key(stage=None, inputs=None, **fields):
    return stage_key(stage or Stage("s", 1, "m:f"), Outer(**fields), inputs or {"a": "1", "b": "2"})


def test_the_key_is_the_sha256_of_this_literal():
    literal = (
        '{"config":{"items":[{"depth":1}],"name":"x","path":"a/b","rate":0.5},'
        '"inputs":{"a":"1","b":"2"},"stage":"s","version":1}'
    )
    assert outer_key() == manifest.digest_of(literal.encode())
    assert outer_key() == "3cd7b5380a3a98f2f22f57be9839943d1d50d5279c938729b2719cc6855fdf9c"


@pytest.mark.parametrize(
    "same",
    [
        {"device": "cuda"},
        {"items": [{"depth": 1, "host": "there"}]},
        {"items": (Inner(host="elsewhere"),)},
        {"path": "a/b"},
        {"rate": "0.5"},
        {"inputs": {"b": "2", "a": "1"}},
        {"stage": Stage("s", 1, "moved:elsewhere", holds="m:f")},
    ],
)
def test_what_cannot_change_the_result_does_not_change_the_key(same):
    assert outer_key(**same) == outer_key()


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "y"},
        {"rate": 0.25},
        {"path": "a/c"},
        {"items": [{"depth": 2}]},
        {"items": [{}, {}]},
        {"items": []},
        {"stage": Stage("s", 2, "m:f")},
        {"stage": Stage("t", 1, "m:f")},
        {"inputs": {"a": "1", "b": "3"}},
        {"inputs": {"a": "2", "b": "1"}},
        {"inputs": {"a": "1"}},
        {"inputs": {"a": "1", "c": "2"}},
    ],
)
def test_what_decides_the_result_changes_the_key(changed):
    assert outer_key(**changed) != outer_key()


def test_no_two_fields_can_be_confused_in_a_key():
    class Two(StageConfig):
        one: str
        two: str

    stage = Stage("s", 1, "m:f")
    assert stage_key(stage, Two(one="a", two="b"), {}) != stage_key(stage, Two(one="b", two="a"), {})
    assert stage_key(stage, Two(one="a,b", two=""), {}) != stage_key(stage, Two(one="a", two="b"), {})


def test_settings_of_real_stages_change_the_key_unless_marked():
    other = {
        "template": "phi3",
        "precision": "bfloat16",
        "scorer": "ollama:x",
        "preflight": "warn",
        "device": "cpu",
        "host": "elsewhere",
        "base_url": "http://elsewhere/v1",
        "key_variable": "KEY",
        "prompt": "plain",
        "pull": True,
        "concurrency": 3,
        "gates": {"auc": {"passes": 0.5, "fails": 0.4}},
        "choice_gates": {"wrong": {"passes": 0.1, "fails": 0.2}},
        "despite_audit": True,
        "loss": "all",
        "keep_by": "chrf",
        "turns": "last",
        "tune": "lora",
        "lora": {"rank": 3},
        "packing": True,
        "gradient_checkpointing": True,
        "optimizer": "muon",
        "criteria": [{"name": "polite", "question": "Is it polite?", "anchors": {0: "no", 5: "yes"}}],
    }
    needs = {"lora": {"tune": "lora"}, "criteria": {"scorer": "ollama:x"}}
    stage = Stage("s", 1, "m:f")
    for model in (FinetuneConfig, JudgeConfig):
        plain = model()
        for name, field in model.model_fields.items():
            value = getattr(plain, name)
            value = other[name] if name in other else value / 2 if isinstance(value, float) else value + 1
            needed = needs.get(name, {})
            changed = stage_key(stage, model(**needed, **{name: value}), {}) != stage_key(
                stage, model(**needed), {}
            )
            assert changed == (OUTSIDE_KEY not in field.metadata), name


def test_source_address_is_no_part_of_the_key_of_a_download():
    one = DownloadConfig(sources=[{"name": "a", "urls": ["https://x/a"], "sha256": "0" * 64}])
    other = DownloadConfig(
        sources=[{"name": "a", "urls": ["https://y/b", "https://z/c"], "sha256": "0" * 64}], mirror="/m"
    )
    stage = Stage("download", 1, "m:f")
    assert stage_key(stage, one, {}) == stage_key(stage, other, {})


# A hit


def test_the_second_time_nothing_is_done(tracking, config):
    first = execute(tracking, Work(WRITE, config))
    second = execute(tracking, Work(WRITE, config.model_copy(update={"device": "cpu"})))
    assert second == first
    assert find(tracking, Work(WRITE, config)) == first
    assert len(runs_of(config)) == len(mlflow_runs(tracking, first.key)) == 1


def test_artifacts_are_the_output_the_auxiliary_and_the_manifest(tracking, config):
    reference = execute(tracking, Work(WRITE, config))
    folder = artifacts_of(reference)
    assert list(manifest.files_under(folder)) == [
        "auxiliary.json",
        "auxiliary/config.json",
        "auxiliary/speed.txt",
        "manifest.json",
        "output/attempts",
        "output/deep/text.txt",
    ]
    assert manifest.digest_of((folder / "manifest.json").read_bytes()) == reference.digest
    assert list(json.loads((folder / "manifest.json").read_bytes())["files"]) == [
        "output/attempts",
        "output/deep/text.txt",
    ]
    assert json.loads((folder / "auxiliary" / "config.json").read_text())["text"] == config.text
    assert folder.is_relative_to(tracking.root / "artifacts")  # written there, not copied


def test_the_run_says_what_was_done(tracking, config):
    upstream = execute(tracking, Work(WRITE, config))
    lineage = {"touchstone.git_commit": "abc"}
    inputs = {"corpus": upstream}
    reference = execute(
        tracking, Work(WRITE, config, inputs), parent="0" * 32, label="write again", lineage=lineage
    )
    run = tracking.client.get_run(reference.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "write again"
    assert (
        run.data.tags.items()
        >= {
            "mlflow.parentRunId": "0" * 32,
            "touchstone.stage": "write",
            "touchstone.version": "1",
            "touchstone.key": reference.key,
            "touchstone.digest": reference.digest,
            "touchstone.git_commit": "abc",
            "touchstone.dataset.corpus.write": upstream.digest,
        }.items()
    )
    assert run.data.params == {"text": config.text, "journal": str(config.journal)}, "not the defaults"
    assert run.data.metrics["curves/loss"] == 0.5
    assert metrics_of(run)["loss"] == 0.5
    assert {LOCK, MACHINE}.isdisjoint(run.data.tags), "what only a running run needs"
    assert run.data.metrics["seconds"] > 0
    (logged,) = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("write", upstream.digest[:36])
    assert json.loads(logged.dataset.source) == {"uri": upstream.uri, "sha256": upstream.digest}
    assert [(tag.key, tag.value) for tag in logged.tags] == [("mlflow.data.context", "corpus")]
    assert (artifacts_of(reference) / "output" / "corpus.txt").read_text() == config.text


def test_digest_does_not_depend_on_what_stands_beside_the_output(tracking, config):
    first = execute(tracking, Work(WRITE, config))
    second = execute(tracking, Work(WRITE, config), refresh=True)
    assert first.digest == second.digest
    asides = [(artifacts_of(found) / "auxiliary" / "speed.txt").read_text() for found in (first, second)]
    assert asides[0] != asides[1]


def test_same_work_in_another_store_has_the_same_key_and_digest(tracking, config, fresh_store, tmp_path):
    other = fresh_store(tmp_path / "other" / "mlruns")
    upstream = [execute(store, Work(WRITE, config)) for store in (tracking, other)]
    one, two = (
        execute(store, Work(WRITE, config, {"corpus": found}))
        for store, found in zip((tracking, other), upstream, strict=True)
    )
    assert (one.key, one.digest) == (two.key, two.digest)
    assert one.run_id != two.run_id
    assert len(runs_of(config)) == 4


def test_another_input_is_other_work(tracking, config):
    upstream = execute(tracking, Work(WRITE, config))
    changed = execute(tracking, Work(WRITE, config.model_copy(update={"times": 2})))
    one, two = (execute(tracking, Work(WRITE, config, {"corpus": found})) for found in (upstream, changed))
    assert one.key != two.key
    assert one.digest != two.digest


def test_an_input_only_pointed_to_is_followed_by_its_fingerprint(tracking, config):
    keys = {execute(tracking, Work(WRITE, config, {}, found)).key for found in ({}, {"f": "1"}, {"f": "2"})}
    assert len(keys) == 3


def test_checking_and_keeping_files_is_told(tracking, config):
    """They are hashed, and of a large model that takes minutes."""
    upstream = execute(tracking, Work(WRITE, config))
    told = []
    execute(tracking, Work(WRITE, config, {"source": upstream}), phase=told.append)
    assert told == [
        "checking the files of write",
        "loading its libraries",
        "keeping the output, and its digests",
    ]


def test_refresh_forces_and_discards_what_an_attempt_left(tracking, config):
    execute(tracking, Work(WRITE, config))
    with pytest.raises(StageError):
        execute(tracking, Work(WRITE, config.model_copy(update={"act": "explain"})), refresh=True)
    second = execute(tracking, Work(WRITE, config), refresh=True)
    assert (artifacts_of(second) / "output" / "attempts").read_text() == "+"
    assert len(runs_of(config)) == 3
    assert find(tracking, Work(WRITE, config)) == second


def test_pitfall_31_other_environment_is_no_hit_unless_allowed(tracking, config, monkeypatch):
    computed = Work(WRITE, config, {}, {"device": "cpu"})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = execute(tracking, computed)
    assert execute(tracking, computed) == first
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert execute(tracking, computed, reuse="any") == first
    second = execute(tracking, computed)
    assert (second.key, second.digest) == (first.key, first.digest)
    assert second.run_id != first.run_id
    assert find(tracking, computed, "auto") == second
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert find(tracking, computed, "auto") == first


def test_work_without_a_device_is_a_hit_in_every_environment(tracking, config, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = execute(tracking, Work(WRITE, config))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert execute(tracking, Work(WRITE, config)) == first
    assert execute(tracking, Work(WRITE, config), reuse="same-environment") != first


def test_a_stage_without_output_is_a_hit_too(tracking, config):
    stage = Stage("silent", 1, f"{__name__}:silent")
    first = execute(tracking, Work(stage, config))
    assert execute(tracking, Work(stage, config)) == first


def test_a_reference_crosses_as_json(tracking, config):
    reference = execute(tracking, Work(WRITE, config))
    text = reference.model_dump_json()
    assert Reference.model_validate_json(text) == reference
    assert Reference.model_validate(json.loads(text)) == reference
    assert set(json.loads(text)) == {"stage", "run_id", "key", "digest", "uri"}
    assert all(isinstance(value, str) for value in json.loads(text).values())


# A miss


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "output" / "deep" / "text.txt").unlink(),
        lambda folder: os.truncate(folder / "output" / "deep" / "text.txt", 3),
        lambda folder: (folder / "output" / "attempts").write_text("-"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_bytes(b"{}"),
        lambda folder: (folder / "manifest.json").write_bytes(b""),
        lambda folder: (folder / "manifest.json").write_bytes(
            (folder / "manifest.json").read_bytes().replace(b'"size":1', b'"size":2')
        ),
        lambda folder: (folder / "auxiliary" / "speed.txt").unlink(),
        lambda folder: os.truncate(folder / "auxiliary" / "speed.txt", 3),
        lambda folder: (folder / "auxiliary.json").unlink(),
        lambda folder: (folder / "auxiliary.json").write_bytes(b"{"),
        lambda folder: (folder / "auxiliary.json").write_bytes(b"[]"),
        lambda folder: (folder / "auxiliary.json").write_bytes(b"3"),
        lambda folder: shutil.rmtree(folder / "output"),
        lambda folder: shutil.rmtree(folder),
    ],
    ids=[
        "file deleted",
        "file truncated",
        "file altered at the same size",
        "manifest deleted",
        "manifest replaced",
        "manifest emptied",
        "manifest altered",
        "aside deleted",
        "aside truncated",
        "list of asides deleted",
        "list of asides truncated",
        "list of asides a list",
        "list of asides a number",
        "output deleted",
        "everything deleted",
    ],
)
def test_pitfall_25_altered_output_is_a_miss_and_never_a_crash(tracking, config, damage):
    first = execute(tracking, Work(WRITE, config))
    damage(artifacts_of(first))
    assert fault(tracking, first) is not None
    assert find(tracking, Work(WRITE, config)) is None
    second = execute(tracking, Work(WRITE, config))
    assert second.run_id != first.run_id
    assert second.digest == first.digest
    assert find(tracking, Work(WRITE, config)) == second
    assert len(runs_of(config)) == 2


def test_an_older_record_is_found_when_the_newest_is_damaged(tracking, config):
    first = execute(tracking, Work(WRITE, config))
    second = execute(tracking, Work(WRITE, config), refresh=True)
    shutil.rmtree(artifacts_of(second))
    assert execute(tracking, Work(WRITE, config)) == first


@pytest.mark.parametrize("status", ["RUNNING", "SCHEDULED", "FAILED", "KILLED"])
def test_only_a_finished_run_is_a_hit(tracking, config, status):
    reference = execute(tracking, Work(WRITE, config))
    tracking.client.update_run(reference.run_id, status=status)
    assert fault(tracking, reference) is None
    assert find(tracking, Work(WRITE, config)) is None


def test_a_run_deleted_in_mlflow_is_a_miss(tracking, config):
    reference = execute(tracking, Work(WRITE, config))
    tracking.client.delete_run(reference.run_id)
    assert find(tracking, Work(WRITE, config)) is None


def test_a_finished_run_without_a_digest_is_a_miss(tracking, config):
    reference = execute(tracking, Work(WRITE, config))
    tracking.client.delete_tag(reference.run_id, "touchstone.digest")
    assert find(tracking, Work(WRITE, config)) is None


def test_a_higher_version_makes_every_old_record_a_miss(tracking, config):
    first = execute(tracking, Work(WRITE, config))
    second = execute(tracking, Work(Stage("write", 2, WRITE.entry), config))
    assert first.key != second.key
    assert len(runs_of(config)) == 2


def test_an_effect_beyond_the_files_that_is_gone_makes_a_miss(tracking, config):
    stage = Stage("write", 1, WRITE.entry, holds=f"{__name__}:wanted")
    effect = tracking.root / f"effect-{config.text}"
    effect.touch()
    first = execute(tracking, Work(stage, config))
    assert execute(tracking, Work(stage, config)) == first
    effect.unlink()
    assert find(tracking, Work(stage, config)) is None
    assert execute(tracking, Work(stage, config)) != first


def promote(config, run):
    version = run.tracking.client.create_model_version(config.text, source="file:///x").version
    decided = dict.fromkeys(field.name for field in fields(Promotion))
    Promotion(**decided | {"name": config.text, "version": int(version), "files": {}}).write(run.out)


def test_model_version_deleted_from_the_registry_is_made_again(tracking, config):
    stage = Stage("promote", 1, f"{__name__}:promote", holds="tasks.registry.versions:still_registered")
    tracking.client.create_registered_model(config.text)
    first = execute(tracking, Work(stage, config))
    assert execute(tracking, Work(stage, config)) == first
    tracking.client.delete_model_version(config.text, "1")
    second = execute(tracking, Work(stage, config))
    assert second.run_id != first.run_id
    assert tracking.client.get_model_version(config.text, "2").version in ("2", 2)
    tracking.client.delete_registered_model(config.text)
    assert find(tracking, Work(stage, config)) is None


def test_a_damaged_input_is_named_and_the_stage_does_not_run(tracking, config):
    upstream = execute(tracking, Work(WRITE, config))
    (artifacts_of(upstream) / "output" / "attempts").write_text("-")
    with pytest.raises(
        StageError, match=r"the output of write cannot be used: .*attempts was altered.* Run again"
    ):
        execute(tracking, Work(WRITE, config, {"corpus": upstream}))
    assert len(runs_of(config)) == 1


# A stage that fails


@pytest.mark.parametrize(
    ("act", "error", "status", "said"),
    [
        ("explain", StageError, "FAILED", "a.json, row 3: 'output' is empty"),
        ("refuse", RefusedError, "FAILED", "the checks failed"),
        ("raise", ValueError, "FAILED", "something is\nwrong"),
        ("interrupt", KeyboardInterrupt, "KILLED", "interrupted, or cancelled"),
    ],
)
def test_failure_ends_the_run_with_its_reason_and_no_half_output(tracking, config, act, error, status, said):
    with pytest.raises(error):
        execute(tracking, Work(WRITE, config.model_copy(update={"act": act})))
    key = key_of(config)
    (run,) = mlflow_runs(tracking, key)
    assert run.info.status == status
    assert run.data.tags["touchstone.error"] == said
    assert "touchstone.digest" not in run.data.tags
    assert run.data.metrics["curves/loss"] == 0.5  # what was measured until then is kept
    folder = local_folder(run.info.artifact_uri)
    left = list(manifest.files_under(folder)) if folder.exists() else []
    assert left == (["traceback.txt"] if act == "raise" else [])
    if left:
        assert "ValueError: something is\nwrong" in (folder / "traceback.txt").read_text()
    assert find(tracking, Work(WRITE, config)) is None


def test_checkpoint_survives_a_failure_and_is_gone_after_success(tracking, config):
    work = tracking.work / key_of(config)
    for attempts in ("+", "++"):
        with pytest.raises(StageError):
            execute(tracking, Work(WRITE, config.model_copy(update={"act": "explain"})))
        assert (work / "checkpoint" / "attempts").read_text() == attempts
    reference = execute(tracking, Work(WRITE, config))
    assert (artifacts_of(reference) / "output" / "attempts").read_text() == "+++"
    assert not work.exists()


def test_wordless_error_is_named_by_its_kind_and_a_long_one_cut(tracking, config, monkeypatch):
    for error, said in ((ValueError(), "ValueError"), (StageError("x" * 9000), "x" * 5000)):

        def fail(config, run, error=error):
            raise error

        monkeypatch.setattr(sys.modules[__name__], "write", fail)
        with pytest.raises(type(error)):
            execute(tracking, Work(WRITE, config))
        assert mlflow_runs(tracking, key_of(config))[-1].data.tags["touchstone.error"] == said


def test_a_lock_is_given_back_by_a_failure(tracking, config):
    with pytest.raises(ValueError, match="something"):
        execute(tracking, Work(WRITE, config.model_copy(update={"act": "raise"})))
    waited = []
    execute(tracking, Work(WRITE, config), progress=lambda *said: waited.append(said))
    assert waited == []


# A process that is killed


def opened(root):
    """The store of a test, in another process, whose environment may name another one."""
    return open_tracking(root, f"sqlite:///{root / 'mlflow.db'}")


def _execute_and_die(root, config, where):
    if where == "before the manifest":

        def die(path, data):
            if path.name == manifest.MANIFEST:
                os.kill(os.getpid(), signal.SIGKILL)
            path.write_bytes(data)

        manifest.write_atomically = die
    execute(opened(root), Work(WRITE, config))


@pytest.mark.parametrize("where", ["in the stage", "before the manifest"])
def test_killed_process_leaves_no_hit_and_the_next_one_continues(tracking, config, processes, where):
    doomed = config.model_copy(update={"act": "die" if where == "in the stage" else ""})
    process = processes.Process(target=_execute_and_die, args=(tracking.root, doomed, where))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL

    key = key_of(config)
    (dead,) = mlflow_runs(tracking, key)
    assert dead.info.status == "RUNNING"
    folder = local_folder(dead.info.artifact_uri)
    assert not (folder / "manifest.json").exists()
    assert (folder / "output" / "deep" / "text.txt").exists() == (where == "before the manifest")
    assert find(tracking, Work(WRITE, config)) is None

    reference = execute(tracking, Work(WRITE, config))
    dead = tracking.client.get_run(dead.info.run_id)
    assert dead.info.status == "KILLED"
    assert dead.info.end_time is not None
    assert dead.data.tags["touchstone.error"] == "the process was killed"
    assert reference.run_id != dead.info.run_id
    assert (artifacts_of(reference) / "output" / "attempts").read_text() == "++"  # from the checkpoint
    assert find(tracking, Work(WRITE, config)) == reference
    assert not (tracking.work / key).exists()


def test_a_record_that_died_before_it_was_finished_is_no_hit(tracking, config, monkeypatch):
    """Manifest and digest are there; only the end of the run is missing."""
    real = tracking.client.set_terminated

    def die(run_id, status=None):
        raise SystemExit("killed")

    monkeypatch.setattr(tracking.client, "set_terminated", die)
    with pytest.raises(SystemExit):
        execute(tracking, Work(WRITE, config))
    monkeypatch.setattr(tracking.client, "set_terminated", real)
    (run,) = mlflow_runs(tracking, key_of(config))
    assert (local_folder(run.info.artifact_uri) / "manifest.json").exists()
    assert "touchstone.digest" in run.data.tags
    assert find(tracking, Work(WRITE, config)) is None
    execute(tracking, Work(WRITE, config))
    assert len(runs_of(config)) == 2


# Several at once


def _execute_beside(root, config, waiting, answers):
    EVENTS["waiting"] = waiting

    def phase(what):
        if "another process" in what:
            answers.put(("waiting", what))
            waiting.set()  # and only then does the other's stage end

    reference = execute(opened(root), Work(WRITE, config), label="twins", phase=phase)
    answers.put(("reference", reference.model_dump()))


def test_two_processes_at_one_key_run_once_and_get_the_same(tracking, config, processes):
    config = config.model_copy(update={"act": "wait"})
    waiting, answers = processes.Event(), processes.Queue()
    twins = [
        processes.Process(target=_execute_beside, args=(tracking.root, config, waiting, answers))
        for _ in range(2)
    ]
    for process in twins:
        process.start()
    found = [answers.get(timeout=120) for _ in range(3)]
    for process in twins:
        process.join()
    assert [said for kind, said in found if kind == "waiting"] == [
        "twins is being run by another process; waiting for it"
    ]
    one, other = [said for kind, said in found if kind == "reference"]
    assert one == other
    assert len(runs_of(config)) == 1
    (run,) = mlflow_runs(tracking, key_of(config))
    assert run.info.status == "FINISHED"


def test_other_keys_do_not_wait(tracking, config):
    """One stage waits for an event that the other sets when it is done."""
    EVENTS["waiting"] = threading.Event()
    slow = config.model_copy(update={"act": "wait", "times": 2})
    thread = threading.Thread(target=execute, args=(tracking, Work(WRITE, slow)))
    thread.start()
    execute(tracking, Work(WRITE, config))
    EVENTS["waiting"].set()
    thread.join(60)
    assert find(tracking, Work(WRITE, slow)) is not None


# What a stage logs


@pytest.fixture
def logged(tracking, tmp_path):
    """A StageRun with an MLflow run, and a way to read that back."""
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    run = StageRun(tmp_path / "out", tmp_path / "auxiliary", tmp_path / "checkpoint", tracking, run_id)
    return run, lambda: tracking.client.get_run(run_id)


def test_metrics_reach_mlflow_in_few_requests_and_last_counts(logged, monkeypatch):
    run, read = logged
    calls, real = [], run.tracking.client.log_batch
    monkeypatch.setattr(
        run.tracking.client, "log_batch", lambda *args, **named: (calls.append(named), real(*args, **named))
    )
    run._buffer.every = 1e9
    for step in range(400):
        run.log_metrics({"loss": 400 - step}, step)
    run.flush()
    assert len(calls) == 1
    assert run.metrics == {"loss": 1}
    assert read().data.metrics == {"curves/loss": 1}
    run.log_metrics({"best_loss": 1.0})
    run.flush()
    assert read().data.metrics == {"curves/loss": 1, "best_loss": 1}, "a result is no curve"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("gpt2/encoder.json", "gpt2/encoder.json"),
        ("sms+spam (1)?.zip", "sms_spam _1__.zip"),
        ("имя 中文", "имя 中文"),
        ("a//b/", "a/b"),
        ("n" * 300, "n" * (250 - len("touchstone.dataset.source."))),
    ],
)
def test_a_datasets_whole_digest_is_kept_whatever_its_name(logged, name, tag):
    run, read = logged
    run.log_dataset(name, "0123456789abcdef" * 4, "https://x/y?z=1", "source", bytes=5)
    found = read()
    assert found.data.tags[f"touchstone.dataset.source.{tag}"] == "0123456789abcdef" * 4
    (dataset,) = [entry.dataset for entry in found.inputs.dataset_inputs]
    assert dataset.name == name
    assert dataset.digest == "0123456789abcdef0123456789abcdef0123"
    assert json.loads(dataset.source) == {"uri": "https://x/y?z=1", "sha256": "0123456789abcdef" * 4}
    assert json.loads(dataset.profile) == {"bytes": 5}


@pytest.mark.parametrize("words", ["UNIQUE constraint failed: datasets.name", "duplicate key value violates"])
def test_dataset_that_another_run_enters_now_is_still_logged(logged, monkeypatch, words):
    """Regression: MLflow looks whether it is there, and then enters it."""
    run, read = logged
    real, refused = mlflow.MlflowClient.log_inputs, []

    def log_inputs(client, *arguments, **options):
        if not refused:
            refused.append(words)
            raise mlflow.exceptions.MlflowException(words)
        return real(client, *arguments, **options)

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", log_inputs)
    run.log_dataset("name", "0" * 64, "source", "context")
    assert refused
    assert [entry.dataset.name for entry in read().inputs.dataset_inputs] == ["name"]


def test_another_fault_of_a_dataset_is_raised(logged, monkeypatch):
    run, _ = logged

    def log_inputs(client, *arguments, **options):
        raise mlflow.exceptions.MlflowException("no such table")

    monkeypatch.setattr(mlflow.MlflowClient, "log_inputs", log_inputs)
    with pytest.raises(mlflow.exceptions.MlflowException, match="no such table"):
        run.log_dataset("name", "0" * 64, "source", "context")


def test_rows_are_shown_as_a_table(logged):
    run, read = logged
    run.log_table([{"id": 1, "text": "a\u2028ü"}, {"id": 2}], "rows.json")
    folder = local_folder(read().info.artifact_uri)
    assert json.loads((folder / "rows.json").read_text()) == {
        "columns": ["id", "text"],
        "data": [[1, "a\u2028ü"], [2, None]],
    }


def test_a_stage_can_run_without_mlflow(stage_run):
    run = stage_run()
    run.log_metrics({"loss": 1.0}, 1)
    run.log_dataset("name", "0" * 64, "source", "context")
    run.log_table([{"a": 1}], "a.json")
    run.progress(1, 2, "steps", "")
    run.flush()
    assert run.metrics == {"loss": 1.0}


def test_nested_settings_become_dotted_names():
    value = {"a": {"b": [1, {"c": None}]}, "d": (True, "x"), "e": 1.5}
    assert flat(value) == {"a.b.0": 1, "a.b.1.c": None, "d.0": True, "d.1": "x", "e": 1.5}


@pytest.mark.usefixtures("painted")
@pytest.mark.parametrize("also", [None, ("steps", 4)])
def test_curves_are_drawn_even_when_one_has_no_point(tmp_path, also):
    curves = {"training": [(step, 9 / (step + 1)) for step in range(60)], "validation": [(0, 9.0)], "x": []}
    draw_losses(tmp_path / "losses.png", "pretrain", "step", curves, also)
    painted = (tmp_path / "losses.png").read_bytes()
    assert painted[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(painted) > 1000


# A server elsewhere


def _on_server(folder, name):
    (found,) = folder.rglob(name)
    return found


def test_what_was_fetched_tells_when_it_was_used_last(tmp_path, fresh_store):
    tracking = fresh_store(tmp_path / "mlruns")
    fetched = tmp_path / "fetched"
    (fetched / "output").mkdir(parents=True)
    (fetched / "output" / "text.txt").write_text("a")
    listing = manifest.describe_files(fetched, "output")
    (fetched / manifest.MANIFEST).write_bytes(listing)
    digest = manifest.digest_of(listing)
    here = tracking.work / "downloads" / digest
    here.parent.mkdir()
    fetched.rename(here)
    os.utime(here, (0, 0))
    reference = Reference(stage="s", run_id="r", key="k", digest=digest, uri="mlflow-artifacts:/r")
    assert fetch(tracking, reference) == here
    assert here.stat().st_mtime > time.time() - 60


@pytest.mark.slow
def test_server_gets_files_gives_them_once_and_damage_is_remade(mlflow_server, config, tmp_path, monkeypatch):
    uri, folder = mlflow_server
    tracking = open_tracking(tmp_path / "mlruns", uri)
    monkeypatch.setattr(
        mlflow.artifacts, "download_artifacts", _counting(mlflow.artifacts.download_artifacts)
    )
    downloads = mlflow.artifacts.download_artifacts.calls

    # uploaded, and a hit without anything being fetched
    first = execute(tracking, Work(WRITE, config))
    assert local_folder(first.uri) is None
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "manifest.json",
        "auxiliary.json",
        "config.json",
        "speed.txt",
        "attempts",
        "text.txt",
    }
    assert not (tracking.work / first.key).exists()
    assert execute(tracking, Work(WRITE, config)) == first
    assert len(runs_of(config)) == 1
    assert not (tracking.work / "downloads" / first.digest).exists()

    # fetched once, by digest, when something needs it
    downloads.clear()
    second = execute(tracking, Work(WRITE, config, {"corpus": first}))
    assert sorted(name.rpartition("/")[2] for name in downloads) == ["manifest.json", "output"]
    here = tracking.work / "downloads" / first.digest
    assert (here / "output" / "deep" / "text.txt").read_text() == config.text
    downloads.clear()
    assert fetch(tracking, first) == here
    assert downloads == []

    # what was fetched is verified before each use
    (here / "output" / "attempts").write_text("-")
    assert (fetch(tracking, first) / "output" / "attempts").read_text() == "+"

    # a file truncated, one deleted, a manifest altered on the server: misses
    damages = [
        lambda: os.truncate(_on_server(folder, "corpus.txt"), 3),
        lambda: _on_server(folder, "corpus.txt").unlink(),
        lambda: next(
            path for path in folder.rglob("manifest.json") if second.run_id in str(path)
        ).write_bytes(b'{"files":{}}'),
    ]
    for damage in damages:
        damage()
        assert find(tracking, Work(WRITE, config, {"corpus": first})) is None
        shutil.rmtree(next(folder.rglob(second.run_id)))
        remade = execute(tracking, Work(WRITE, config, {"corpus": first}))
        assert remade.digest == second.digest
        second = remade

    # one altered at its size is found when it arrives, and is a miss from then on
    _on_server(folder, "corpus.txt").write_text("?" * len(config.text))
    with pytest.raises(StageError, match=r"the output of write arrived damaged: .*corpus.txt was altered"):
        fetch(tracking, second)
    assert not (tracking.work / "downloads" / second.digest).exists()
    assert find(tracking, Work(WRITE, config, {"corpus": first})) is None
    third = execute(tracking, Work(WRITE, config, {"corpus": first}))
    assert third.run_id != second.run_id
    assert (fetch(tracking, third) / "output" / "corpus.txt").read_text() == config.text


@pytest.mark.slow
def test_record_on_a_server_without_a_readable_effect_is_a_miss(mlflow_server, config, tmp_path):
    uri, folder = mlflow_server
    tracking = open_tracking(tmp_path / "mlruns", uri)
    stage = Stage("write", 1, WRITE.entry, holds=f"{__name__}:wanted")
    (tracking.root / f"effect-{config.text}").touch()
    first = execute(tracking, Work(stage, config))
    _on_server(folder, "text.txt").write_text("?" * len(config.text))
    assert find(tracking, Work(stage, config)) is None
    assert execute(tracking, Work(stage, config)).run_id != first.run_id


def _counting(real):
    def counting(artifact_uri, **options):
        counting.calls.append(artifact_uri)
        return real(artifact_uri, **options)

    counting.calls = []
    return counting
