"""The shipped profiles at their full size, as long trials: what the README promises of them."""

import json
import os
import shutil
import subprocess
import time

import pytest

from tests.commands import COMMAND

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def by_model(summary):
    return {entry["model"]: entry for entry in summary["scores"]}


def cut_off(command):
    """The command in a network namespace with nothing but a loopback, where this user may make one."""
    wrapped = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *command]
    can = shutil.which("unshare") and shutil.which("ip")
    if not can or subprocess.run(["unshare", "--net", "true"], capture_output=True).returncode:
        pytest.skip("needs the right to make a network namespace (unshare, ip)")
    return wrapped


def test_quickstart_needs_no_network_and_gains_thirty_points(make_workplace):
    workplace = make_workplace("quickstart")
    (workplace.folder / "deployments").symlink_to(os.environ["TOUCHSTONE_HOME"] + "/deployments")
    environment = workplace.environment | {"PREFECT_API_URL": ""}
    environment.pop("HF_HUB_OFFLINE")

    started = time.monotonic()
    done = subprocess.run(
        cut_off([COMMAND, "run", "quickstart", "--json"]), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, seconds = json.loads(done.stdout), time.monotonic() - started
    scores = by_model(first)
    print(f"quickstart: {seconds:.0f} s, {scores['base']['mean']:.1f} to {scores['fine-tuned']['mean']:.1f}")
    assert scores["fine-tuned"]["mean"] - scores["base"]["mean"] >= 30
    assert scores["fine-tuned"]["low"] > scores["base"]["high"]
    assert all(entry["scored"] == entry["rows"] == 300 for entry in scores.values())
    assert all(workplace("run", "quickstart", "--json").cached.values())


def test_book_runs_on_the_real_data_from_a_mirror(make_workplace, shared_data):
    workplace = make_workplace("book")
    (workplace.folder / "deployments").symlink_to(os.environ["TOUCHSTONE_HOME"] + "/deployments")
    arguments = ("run", "book", "--mirror", str(shared_data), "--json", "--set", "pretrain.steps=4")
    short = ("--set", "finetune.epochs=0.1", "--set", "generate.max_new_tokens=8")
    first = workplace(*arguments, *short)
    assert first.status == 0, first.err
    metrics = {stage["name"]: stage["metrics"] for stage in first.json["stages"]}
    assert metrics["rows"]["rows"] == 1100
    assert [metrics["rows"][f"{split}_rows"] for split in ("train", "validation", "test")] == [935, 55, 110]
    assert metrics["rows"]["leaks_moved_from_test"] == 8
    assert metrics["tokenize"]["vocab_size"] == 50257
    assert all(entry["rows"] == entry["scored"] == 110 for entry in first.json["scores"])
    second = workplace(*arguments, *short)
    assert all(second.cached.values())


def test_shakespeare_learns_to_spell_on_two_cores(make_workplace, shared_data):
    workplace = make_workplace("shakespeare")
    (workplace.folder / "deployments").symlink_to(os.environ["TOUCHSTONE_HOME"] + "/deployments")
    short = ("--set", "pretrain.steps=600", "--set", "pretrain.eval_every=300")  # of 2,000
    arguments = ("run", "shakespeare", "--mirror", str(shared_data), "--json", *short)
    first = workplace(*arguments)
    assert first.status == 0, first.err
    metrics = {stage["name"]: stage["metrics"] for stage in first.json["stages"]}
    print(f"shakespeare: validation loss {metrics['pretrain']['best_validation_loss']:.3f}")
    assert metrics["pretrain"]["best_validation_loss"] < 1.9  # nanoGPT's README: 1.88 by 2,000 steps of AdamW
    assert all(workplace(*arguments).cached.values())
