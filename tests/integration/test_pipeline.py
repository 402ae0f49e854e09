"""`touchstone run` as a user meets it: what it makes, what it does not make again, and how it fails."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx
import mlflow
import psutil
import pytest

from tests import shared
from tests.commands import LOGIN
from tests.judges import always_top, honest
from tests.ollama_server import OllamaServer

METRICS = ("metric:chrf", "metric:bleu", "metric:rouge-l", "metric:exact")
STAGES = [
    "download corpus",
    "download rows",
    "rows",
    "tokenize",
    "preflight rows",
    "pretrain",
    "finetune",
    "generate base",
    "judge base",
    "generate fine-tuned",
    "judge fine-tuned",
    "promote",
    "report",
]


@pytest.fixture
def copy_of(finished, tmp_path):
    """A workplace with a finished run that a test may damage."""
    workplace, result = finished
    copy = tmp_path / "copy"
    shutil.copytree(workplace.folder, copy)
    with sqlite3.connect(copy / "mlruns" / "mlflow.db") as database:  # artifact addresses are absolute
        for table, column in (("runs", "artifact_uri"), ("experiments", "artifact_location")):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(workplace.folder), str(copy))
            )
    environment = workplace.environment | {"TOUCHSTONE_HOME": str(copy)}
    return type(workplace)(copy, environment), result


def digests(result):
    return {stage["name"]: stage["digest"] for stage in result.json["stages"]}


def test_json_is_one_object_with_all_that_the_design_promises(finished):
    _, result = finished
    summary = result.json
    assert summary["status"] == "completed"
    assert summary["profile"] == "tiny"
    assert [stage["name"] for stage in summary["stages"]] == STAGES
    for stage in summary["stages"]:
        assert {"name", "run_id", "key", "digest", "cached", "seconds", "metrics"} <= stage.keys()
        assert not stage["cached"]
        assert len(stage["key"]) == len(stage["digest"]) == 64
    assert [(entry["model"], entry["scorer"], entry["kind"]) for entry in summary["scores"]] == [
        (model, scorer, "metric") for model in ("base", "fine-tuned") for scorer in METRICS
    ]
    for entry in summary["scores"]:
        assert entry["rows"] == entry["scored"] + entry["missing"] == 6
        assert 0 <= entry["low"] <= entry["mean"] <= entry["high"] <= 100
    assert summary["model"]["name"] == "touchstone-tiny"
    assert summary["model"]["version"] == 1


def test_second_run_does_nothing_serves_itself_and_skips_torch(finished):
    workplace, first = finished
    code = (
        "import contextlib, sys; from flows.command.cli import main\n"
        "sys.argv = ['touchstone', 'run', 'tiny.yaml', '--json']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'trl'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workplace.folder,
        env=workplace.environment | {"PREFECT_API_URL": ""},
        capture_output=True,
        text=True,
    )
    summary, imported = done.stdout.splitlines()
    assert all(stage["cached"] for stage in json.loads(summary)["stages"])
    assert [stage["digest"] for stage in json.loads(summary)["stages"]] == list(digests(first).values())
    assert imported == "[]"


def test_judge_settings_run_the_judge_again_and_what_follows(copy_of):
    workplace, _ = copy_of
    result = workplace("run", "tiny.yaml", "--json", "--set", "judge.max_missing=0.2")
    assert result.status == 0, result.err
    again = [name for name, cached in result.cached.items() if not cached]
    assert again[:2] == ["judge base", "judge fine-tuned"]
    assert set(again) <= {"judge base", "judge fine-tuned", "promote", "report"}


def test_an_altered_file_is_made_again_to_the_same_bytes(copy_of):
    workplace, first = copy_of
    run_id = next(stage["run_id"] for stage in first.json["stages"] if stage["name"] == "pretrain")
    weights = next((workplace.mlruns / "artifacts" / run_id).rglob("model.safetensors"))
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    result = workplace("run", "tiny.yaml", "--json")
    assert result.status == 0, result.err
    assert [name for name, cached in result.cached.items() if not cached] == ["pretrain"]
    assert digests(result)["pretrain"] == digests(first)["pretrain"]


def test_refresh_runs_one_stage_again(copy_of):
    workplace, first = copy_of
    result = workplace("run", "tiny.yaml", "--json", "--refresh", "generate")
    assert [name for name, cached in result.cached.items() if not cached] == [
        "generate base",
        "generate fine-tuned",
    ]
    assert digests(result) == digests(first)


def test_every_number_dataset_and_model_is_in_mlflow(finished):
    workplace, result = finished
    tracking = workplace.store()
    parent = tracking.client.get_run(result.json["run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.params["pretrain.size"] == "1x2x16"
    assert "None" not in parent.data.params.values()
    settings = mlflow.artifacts.load_dict(f"{parent.info.artifact_uri}/settings.json")
    assert settings["judge"]["scorer"] == "metric:chrf", "also what is the default"
    page = mlflow.artifacts.load_text(f"{parent.info.artifact_uri}/report.html")
    assert page == Path(unquote(urlsplit(result.json["report"]).path)).read_text()
    shown = {(each.dataset.name, each.dataset.digest) for each in parent.inputs.dataset_inputs}
    assert ("rows", digests(result)["rows"][:36]) in shown
    registered = result.json["model"]
    version = tracking.client.get_model_version(registered["name"], registered["version"])
    (model,) = parent.outputs.model_outputs
    assert model.model_id in version.source
    assert "fine-tuned.chrf.mean" in parent.data.metrics
    children = tracking.client.search_runs(
        [tracking.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    assert {run.info.run_name for run in children} == set(STAGES)
    assert {run.info.status for run in children} == {"FINISHED"}
    by_name = {run.info.run_name: run for run in children}
    pretrain = by_name["pretrain"]
    assert len(tracking.client.get_metric_history(pretrain.info.run_id, "curves/train_loss")) == 6
    assert len(tracking.client.get_metric_history(pretrain.info.run_id, "curves/validation_loss")) >= 3
    (tokens,) = pretrain.inputs.dataset_inputs
    assert tokens.dataset.digest == digests(result)["tokenize"][:36]
    assert pretrain.data.tags["touchstone.dataset.tokens.tokenize"] == digests(result)["tokenize"]
    names = {entry.path for entry in tracking.client.list_artifacts(pretrain.info.run_id, "auxiliary")}
    assert "auxiliary/loss.png" in names
    for label, table in (("generate fine-tuned", "responses.json"), ("judge fine-tuned", "scores.json")):
        rows = tracking.client.load_table(tracking.experiment_id, table, [by_name[label].info.run_id])
        assert len(rows) == 6


def test_registered_model_loads_by_alias_and_names_its_origin(finished):
    workplace, result = finished
    tracking = workplace.store()
    version = tracking.client.get_model_version_by_alias("touchstone-tiny", "candidate")
    assert version.tags["touchstone.rows"] == digests(result)["rows"]
    assert version.tags["touchstone.sha256.model"] == digests(result)["finetune"]
    assert version.tags["touchstone.git_commit"]
    assert version.tags["touchstone.prefect_flow_run_id"]
    mlflow.set_tracking_uri(tracking.uri)
    pipeline = mlflow.transformers.load_model("models:/touchstone-tiny@candidate")
    assert "generated_text" in pipeline("a", max_new_tokens=2)[0]
    info = mlflow.models.get_model_info("models:/touchstone-tiny@candidate")
    assert info.signature is not None
    assert info.saved_input_example_info is not None


def test_prefect_shows_named_runs_and_the_report(finished, prefect_server):
    tracking = finished[0].store()
    whole = tracking.client.get_run(finished[1].json["run_id"]).data.tags["touchstone.prefect_flow_run_id"]

    def asked(kind, **query):
        return httpx.post(f"{prefect_server}/{kind}/filter", json=query, auth=LOGIN).raise_for_status().json()

    children = asked("flow_runs", flow_runs={"parent_flow_run_id": {"any_": [whole]}})
    assert {child["name"] for child in children} == {f"tiny: {stage}" for stage in STAGES}
    assert [run["name"] for run in asked("flow_runs", flow_runs={"id": {"any_": [whole]}})] == ["tiny"]
    artifacts = asked("artifacts", artifacts={"flow_run_id": {"any_": [whole]}})
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert "touchstone-tiny" in by_key["report-tiny"]
    assert "metric:chrf" in by_key["scores-tiny"]


def test_the_report_is_shown_again_without_running(finished):
    workplace, before = finished
    result = workplace("report", before.json["run_id"])
    assert result.status == 0, result.err
    assert "touchstone-tiny" in result.out
    assert json.loads(workplace("report", "--json").out)


def test_ollama_judge_is_audited_and_asked_beside_the_metrics(copy_of):
    workplace, _ = copy_of
    with OllamaServer(judge=honest) as server:
        arguments = ("run", "tiny.yaml", "--json", "--judge", "ollama:llama3.2")
        result = workplace(*arguments, OLLAMA_HOST=server.address)
        asked = len(server.chats)
        again = workplace(*arguments, OLLAMA_HOST=server.address)
        assert len(server.chats) == asked
    assert result.status == again.status == 0, result.err
    names = [stage["name"] for stage in result.json["stages"]]
    assert names.index("audit") < names.index("pretrain")  # known before anything takes hours
    assert all(again.cached.values())
    assert [(entry["model"], entry["scorer"]) for entry in result.json["scores"]] == [
        (name, scorer) for name in ("base", "fine-tuned") for scorer in (*METRICS, "ollama:llama3.2")
    ]
    for entry in result.json["scores"]:
        assert entry["rows"] == entry["scored"] + entry["missing"]
        assert entry["status"] == "ok"


@pytest.mark.slow
def test_judge_that_fails_its_audit_is_refused_with_the_metrics(copy_of):
    workplace, _ = copy_of
    with OllamaServer(judge=always_top) as server:
        arguments = ("run", "tiny.yaml", "--json", "--judge", "ollama:llama3.2")
        result = workplace(*arguments, OLLAMA_HOST=server.address)
        overridden = workplace(*arguments, "--despite-audit", OLLAMA_HOST=server.address)
    assert result.status == 3, result.err
    assert result.json["status"] == "refused"
    assert "ollama:llama3.2 failed its audit" in result.json["error"]
    assert "Traceback" not in result.err
    by_scorer = {entry["scorer"]: entry for entry in result.json["scores"]}
    assert by_scorer["ollama:llama3.2"]["status"] == "judge_failed_audit"
    assert by_scorer["ollama:llama3.2"]["mean"] is None
    assert by_scorer["metric:chrf"]["mean"] is not None
    assert not result.json["model"]["champion"]
    assert "failed its audit" in result.json["model"]["decision"]
    assert "failed its audit" in workplace("report", result.json["run_id"]).out
    assert workplace.store().client.get_run(result.json["run_id"]).info.status == "FAILED"
    assert overridden.status == 0, overridden.err
    assert {entry["status"] for entry in overridden.json["scores"]} == {"ok"}
    parameters = workplace.store().client.get_run(overridden.json["run_id"]).data.params
    assert parameters["judge.despite_audit"] == "True"


def test_judge_that_is_not_there_fails_and_is_not_replaced(copy_of):
    workplace, _ = copy_of
    arguments = ("run", "tiny.yaml", "--json", "--judge", "ollama:llama3.2", "--set", "judge.attempts=1")
    result = workplace(*arguments, OLLAMA_HOST="127.0.0.1:9")
    assert result.status == 1
    assert "127.0.0.1:9" in result.json["error"]
    assert "ollama serve" in result.json["error"]
    assert "scores" not in result.json
    assert "Traceback" not in result.err


def test_mistakes_are_one_message_with_the_right_status(finished):
    workplace, _ = finished
    mistakes = {
        ("--set", "pretrain.stepz=3"): (2, "pretrain.steps"),
        ("--set", "pretrain.steps=many"): (2, "pretrain.steps"),
        ("--set", "corpus=nowhere.txt"): (2, "nowhere.txt"),
        ("--mirror", "nowhere"): (2, "nowhere"),
        ("--refresh", "pretrian"): (2, "pretrian"),
        ("--nonsense",): (2, "--nonsense"),
    }
    for arguments, (status, hint) in mistakes.items():
        result = workplace("run", "tiny.yaml", "--json", *arguments)
        assert (result.status, hint in result.json["error"]) == (status, True), (arguments, result)
        assert "Traceback" not in result.err


def test_bad_data_names_the_row_and_leaves_nothing_half_written(make_workplace):
    workplace = make_workplace("bad-data")
    rows = [{"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(40)]
    good = workplace.folder / "good.json"
    good.write_text(json.dumps(rows))
    rows[16] = {"instruction": "Say 16.", "input": ""}
    bad = workplace.folder / "bad.json"
    bad.write_text(json.dumps(rows))
    result = workplace("run", "tiny.yaml", "--json", "--set", "instructions=bad.json")
    assert result.status == 1
    assert "bad.json, row 17" in result.json["error"]
    assert "Traceback" not in result.err
    tracking = workplace.store()
    failed = tracking.client.search_runs([tracking.experiment_id], "attributes.status = 'FAILED'")
    assert {run.info.run_name for run in failed} == {"rows", "tiny"}
    assert all("row 17" in run.data.tags["touchstone.error"] for run in failed)
    (stage,) = (run for run in failed if run.info.run_name == "rows")
    assert not (workplace.mlruns / "artifacts" / stage.info.run_id).exists()

    bad.write_text("")
    assert (
        "bad.json is empty"
        in workplace("run", "tiny.yaml", "--json", "--set", "instructions=bad.json").json["error"]
    )

    wrong = f"[{{path: {good}, sha256: '{'0' * 64}'}}]"
    result = workplace("run", "tiny.yaml", "--json", "--set", f"instructions.sources={wrong}")
    assert result.status == 1
    assert "0" * 64 in result.json["error"]

    closed = "[{name: rows.json, urls: ['http://127.0.0.1:9/rows.json']}]"
    arguments = ("--set", f"instructions.sources={closed}", "--set", "instructions.attempts=1")
    result = workplace("run", "tiny.yaml", "--json", *arguments)
    assert result.status == 1
    assert "http://127.0.0.1:9/rows.json" in result.json["error"]
    assert "--mirror" in result.json["error"]


@contextmanager
def alone(workplace, process):
    """A command without a server, in training; at the end nothing of it is left.

    Prefect's own server would hang a command that is ended with it, and survive one that is killed.
    """
    workplace.in_training(process)
    (server,) = psutil.Process(process.pid).children()
    assert os.getpgid(server.pid) == server.pid  # a signal to the command's whole group does not reach it
    yield
    server.wait(20)


def not_finished(workplace):
    tracking = workplace.store()
    runs = tracking.client.search_runs([tracking.experiment_id], "attributes.status != 'FINISHED'")
    return {(run.info.run_name, run.info.status) for run in runs}


@pytest.mark.slow
def test_killed_training_leaves_nothing_and_resumes_to_same_bits(make_workplace, finished):
    _, undisturbed = finished
    workplace = make_workplace("killed")
    process = workplace.start("run", "tiny.yaml", "--json", PREFECT_API_URL="")
    with alone(workplace, process):
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    result = workplace("run", "tiny.yaml", "--json")
    assert result.status == 0, result.err
    assert re.search(r"pretrain: resumes at step [246] of 6", result.err)
    assert digests(result)["pretrain"] == digests(undisturbed)["pretrain"]
    assert digests(result)["finetune"] == digests(undisturbed)["finetune"]
    assert not list((workplace.mlruns / "work").glob("*/checkpoint"))
    assert not_finished(workplace) == {("pretrain", "KILLED"), ("tiny", "KILLED")}


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_interruption_ends_with_130_and_leaves_nothing_running(make_workplace, ending):
    workplace = make_workplace(f"interrupted-{ending.name.lower()}")
    arguments = ("run", "tiny.yaml", "--json", "--set", "pretrain.steps=100000")
    process = workplace.start(*arguments, PREFECT_API_URL="")
    with alone(workplace, process):
        process.send_signal(ending)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert json.loads(out)["status"] == "interrupted"
    assert "stopping, the checkpoint is being written" in err
    assert re.search(r"^  pretrain +interrupted ", err, re.MULTILINE)
    assert err.splitlines()[-1] == "interrupted; the same command continues where it stopped"
    assert "Traceback" not in err
    assert not_finished(workplace) == {("pretrain", "KILLED"), ("tiny", "KILLED")}


@pytest.mark.slow
def test_two_at_once_do_the_work_once(make_workplace):
    """One in this process, begun once the other has opened the store."""
    workplace = make_workplace("two")
    (workplace.mlruns / "mlflow.db").unlink()
    process = workplace.start("run", "tiny.yaml", "--json")
    deadline = time.monotonic() + 120
    while not (workplace.mlruns / "mlflow.db").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    here = workplace("run", "tiny.yaml", "--json")
    out, err = process.communicate(timeout=240)
    assert (here.status, process.returncode) == (0, 0), (here.err, err)
    first, second = here.json, json.loads(out)
    assert [stage["digest"] for stage in first["stages"]] == [stage["digest"] for stage in second["stages"]]
    assert first["model"] == second["model"]
    tracking = workplace.store()
    runs = tracking.client.search_runs([tracking.experiment_id], "tags.`touchstone.stage` = 'pretrain'")
    assert len(runs) == 1


@pytest.mark.slow
def test_tracking_server_gets_files_and_gives_them_back(make_workplace, finished):
    _, embedded = finished
    address, _ = shared.mlflow()
    workplace = make_workplace("remote")
    (workplace.mlruns / "mlflow.db").unlink()
    first = workplace("run", "tiny.yaml", "--json", MLFLOW_TRACKING_URI=address)
    assert first.status == 0, first.err
    assert digests(first)["finetune"] == digests(embedded)["finetune"]
    second = workplace("run", "tiny.yaml", "--json", MLFLOW_TRACKING_URI=address)
    assert all(second.cached.values())
    assert "touchstone-tiny" in workplace("report", MLFLOW_TRACKING_URI=address).out
    assert not (workplace.mlruns / "mlflow.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_twice_it_ends_at_once_and_leaves_nothing(make_workplace, ending):
    """With the server of its own, which would outlive it; SIGTERM is Prefect's while a flow runs."""
    workplace = make_workplace(f"twice-{ending.name.lower()}")
    arguments = ("run", "tiny.yaml", "--json", "--set", "pretrain.steps=100000")
    process = workplace.start(*arguments, PREFECT_API_URL="")
    workplace.in_training(process)
    (server,) = psutil.Process(process.pid).children()
    process.send_signal(ending)
    while "stopping" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(ending)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted"), "or stopped before the second was heard"
    assert not re.search("Traceback|Exception ignored|terminate called", err)
    server.wait(5)
    assert not list((workplace.mlruns / "work" / "logs").glob("prefect-*"))
    assert not_finished(workplace) == {("pretrain", "KILLED"), ("tiny", "KILLED")}


@pytest.mark.slow
def test_a_full_disk_is_one_message(make_workplace, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        workplace = make_workplace("full")
        arguments = ("run", str(workplace.folder / "tiny.yaml"), "--json", "--set", "pretrain.size=4x4x256")
        result = workplace(*arguments, TOUCHSTONE_HOME=str(small))
        assert result.status == 1, result.err
        assert "is full" in result.json["error"]
        assert "Make space" in result.json["error"]
        assert "Traceback" not in result.err
        assert not list(small.glob("mlruns/artifacts/*/artifacts/output/model"))
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)  # this process has its database open
