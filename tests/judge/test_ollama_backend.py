"""Ollama's wire as a judge's client must use it, and who answers there."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from tasks.config import JudgeConfig
from tasks.errors import StageError, UsageError
from tasks.judge.ask.answers import AnswerStore
from tasks.judge.ask.asking import ask
from tasks.judge.ask.identities import digests_of, made_ready
from tasks.judge.backends.ollama import FIRST_IN_FLIGHT, base_url
from tasks.judge.protocol.scoring_protocols import ANCHORED, Question
from tests.chat_server import Fault
from tests.commands import heed_interruptions
from tests.judge.judging import DIGEST, OLLAMA, as_row, on, rows_of
from tests.ollama_server import PULL_STEPS, OllamaServer


def test_every_call_guards_the_context(trial):
    """Pitfall 22: the prompt cut by the server's context."""
    with OllamaServer(faults=[Fault("garbage"), Fault("503")]) as server:
        trial(rows_of(4), **on(server, context=2048, max_tokens=99))()
    assert len(server.chats) == 6
    for chat in server.chats:
        for name in ("truncate", "shift", "stream", "think"):
            assert chat.body[name] is False
        assert chat.body["options"] | {"seed": 0} == {
            "num_ctx": 2048,
            "num_predict": 99,
            "temperature": 0,
            "seed": 0,
        }
        assert list(chat.body["format"]["properties"]) == ["reason", "score"]


# Who answers


def test_a_model_that_is_not_pulled(trial):
    not_pulled = pytest.raises(StageError, match=r"ollama pull llama3\.2, or let this do it: --pull")
    with OllamaServer(models=("qwen3:8b",)) as server, not_pulled:
        trial(rows_of(1), **on(server))()
    assert server.chats == []


def test_another_kind_of_server(trial):
    with OllamaServer() as server, pytest.raises(StageError, match="not an Ollama server"):
        trial(rows_of(1), **on(server, host=f"http://{server.address}/elsewhere"))()


def test_the_host_may_come_from_the_environment(trial, monkeypatch):
    with OllamaServer() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.address)
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # no proxy reaches this machine's loopback
        assert trial(rows_of(1), scorer=OLLAMA)().judged["scored"] == 1


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, "http://127.0.0.1:11434"),
        ("gpu", "http://gpu:11434"),
        ("http://gpu", "http://gpu:80"),
        ("https://gpu", "https://gpu:443"),
        ("gpu:99", "http://gpu:99"),
        (":99", "http://127.0.0.1:99"),
        ("http://gpu:99/ollama/", "http://gpu:99/ollama"),
        ("[::1]:99", "http://[::1]:99"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        ("http://[::1]", "http://[::1]:80"),
        (' "gpu" ', "http://gpu:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
    ],
)
def test_hosts_are_read_as_ollama_reads_them(host, url):
    assert base_url(host) == url


@pytest.mark.parametrize("host", ["gpu:x", "gpu:99999", "ftp://gpu", "two words", "gpu:11434:8"])
def test_what_is_no_host(host):
    with pytest.raises(UsageError, match=r"judge\.host or OLLAMA_HOST"):
        base_url(host)


@pytest.mark.parametrize("host", ["::1", "gpu:11434:8"])
def test_ollama_library_does_not_read_a_host_that_it_cannot(host):
    """Regression: importing it raised ValueError, before anything could name what is wrong."""
    program = "from tasks.judge.backends import ollama; print(ollama._library('http://127.0.0.1:1').__name__)"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; import os; print(os.environ['OLLAMA_HOST'])"],
        env=os.environ | {"OLLAMA_HOST": host},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["ollama", host], "")


@pytest.mark.parametrize("name", ["llama3.2", "llama3.2:latest", "LLAMA3.2"])
def test_the_digest_is_that_of_the_model_that_the_name_means_now(name):
    with OllamaServer(models=("llama3.2:1b", "llama3.2:latest")) as server:
        found = digests_of(JudgeConfig(scorer=f"ollama:{name}", host=server.address))
    assert found[f"ollama:{name}"] == DIGEST


# Pulling


def ready(server, progress=lambda *_: None, model="llama3.2", **config):
    """What becomes of a judge that the server may lack."""
    return made_ready(JudgeConfig(scorer=f"ollama:{model}", host=server.address, **config), progress)


def test_a_model_is_pulled_with_progress_in_bytes(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # no proxy reaches this machine's loopback
    told = []
    with OllamaServer(models=()) as server:
        (identity,) = ready(server, lambda *report: told.append(report), pull=True)
        assert (identity.scorer, identity.digest, identity.version) == (OLLAMA, DIGEST, "0.32.15")
        steps = [server.size * step // PULL_STEPS for step in range(PULL_STEPS + 1)]
        assert told == [(done, server.size, "bytes", "pulling llama3.2") for done in steps]
        ready(server, pull=True)
        assert len([request for request in server.requests if request.path == "/api/pull"]) == 1


def test_nothing_is_pulled_unasked():
    with OllamaServer(models=()) as server, pytest.raises(StageError, match="--pull"):
        ready(server)
    assert not [request for request in server.requests if request.path == "/api/pull"]


@pytest.mark.parametrize(
    ("options", "model", "told"),
    [
        ({}, "missing", "pull model manifest: file does not exist"),
        ({"pull_error": "no space left on device"}, "llama3.2", "no space left on device"),
    ],
)
def test_a_model_that_cannot_be_pulled(options, model, told):
    with OllamaServer(models=(), **options) as server, pytest.raises(StageError) as raised:
        ready(server, model=model, pull=True)
    assert f"cannot pull {model!r}: {told}" in str(raised.value)


# As many in flight as are answered at once


def seconds_for(server, folder, count):
    """Seconds to ask `count` questions, with as many in flight as the server is found to answer."""
    config = JudgeConfig(scorer=OLLAMA, host=server.address)
    questions = [
        Question(as_row(id=index, instruction=f"Name capital number {index}.")) for index in range(count)
    ]
    with AnswerStore(folder / f"{time.monotonic_ns()}.db") as answers:
        started = time.monotonic()
        asyncio.run(ask(config, OLLAMA, ANCHORED, questions, answers, lambda _: None))
        return time.monotonic() - started


def test_the_slots_of_a_server_are_found_and_used(tmp_path):
    """Once of three times: other work on this machine can only slow it down."""
    ideal = 120 / 6 * 0.03
    took = []
    for _ in range(3):
        with OllamaServer(slots=6, latency=0.03) as server:
            took.append(seconds_for(server, tmp_path, 120))
        assert 6 <= server.most_in_flight <= 16
        if took[-1] <= 1.25 * ideal:
            return
    raise AssertionError(took)


def test_server_of_one_slot_is_sent_only_the_first_few(tmp_path):
    with OllamaServer(slots=1, latency=0.03) as server:
        seconds_for(server, tmp_path, 20)
    assert server.most_in_flight == FIRST_IN_FLIGHT


def test_a_number_in_flight_that_is_told_is_kept(trial):
    with OllamaServer(slots=8, latency=0.005) as server:
        trial(rows_of(30), **on(server, concurrency=3))()
    assert server.most_in_flight == 3


# Ctrl-C

PROGRAM = """
import sys
from pathlib import Path
from tasks.config import JudgeConfig
from tasks.judge.score.stage import judge
from tasks.record.stage import StageRun
folder, scorer = Path(sys.argv[1]), sys.argv[2]
run = StageRun(out=folder / "out", auxiliary=folder / "auxiliary", checkpoint=folder / "checkpoint")
judge(JudgeConfig(scorer=scorer), run, responses=folder / "responses", audit_0=folder / "audit_0")
"""


def test_an_interruption_stops_at_once(trial, tmp_path):
    trial(rows_of(2), scorer=OLLAMA)
    with OllamaServer(faults=[Fault("stall", times=None)]) as server:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path), OLLAMA],
            env=os.environ | {"OLLAMA_HOST": server.address},
            stderr=subprocess.PIPE,
            preexec_fn=heed_interruptions,
        )
        deadline = time.monotonic() + 60
        while len(server.chats) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        sent = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=20)
    assert b"KeyboardInterrupt" in error
    assert time.monotonic() - sent < 5
