"""A Prefect server of the tests' own, and the command as a user starts it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.commands import COMMAND, start

TINY = """
description: as little of everything as there can be
corpus:
  sources:
    - path: corpus.txt
instructions:
  sources:
    - made: skills
      count: 60
tokenize: {kind: bpe, vocab_size: 400, include_rows: true}
pretrain: {size: 1x2x16, context: 128, steps: 6, batch_size: 2, warmup: 1, eval_every: 2}
finetune: {template: phi3, epochs: 2, learning_rate: 2.0e-2, batch_size: 8, max_length: 128}
generate: {max_new_tokens: 4}
judge: {resamples: 200}
promote: {resamples: 200}
"""


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def cached(self) -> dict[str, bool]:
        return {stage["name"]: stage["cached"] for stage in self.json["stages"]}


@dataclass(frozen=True)
class Workplace:
    """A folder with a home of its own and a tiny profile, in which the command is started."""

    folder: Path
    environment: dict[str, str]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return start(self.folder, self.environment | environment, *arguments)

    def __call__(self, *arguments: str, **environment: str) -> Result:
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=480)
        return Result(process.returncode, out, err)

    @property
    def mlruns(self) -> Path:
        return self.folder / "mlruns"


@pytest.fixture(scope="session")
def command() -> list[str]:
    return [COMMAND]


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A server that all tests share: each command would else start and stop one, in seven seconds."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("prefect")), "server", "start"]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
            env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}/api"
    try:
        _wait_for(server, f"{address}/health", home / "server.log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _wait_for(server: subprocess.Popen, address: str, log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(address, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    raise AssertionError(f"no Prefect server at {address} after a minute: {log.read_text()}")


@pytest.fixture(scope="session")
def make_workplace(tmp_path_factory, prefect_server):
    def make(name: str) -> Workplace:
        folder = tmp_path_factory.mktemp(name)
        text = " ".join(
            f"The {word} of line {line} is long." for line in range(90) for word in ("end", "start")
        )
        (folder / "corpus.txt").write_text(text, encoding="utf-8")
        (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
        environment = os.environ | {"TOUCHSTONE_HOME": str(folder), "PREFECT_API_URL": prefect_server}
        return Workplace(folder, environment)

    return make


@pytest.fixture(scope="session")
def finished(make_workplace) -> tuple[Workplace, Result]:
    """A workplace in which the tiny profile has run once; tests may add to it, and alter nothing."""
    workplace = make_workplace("finished")
    result = workplace("run", "tiny.yaml", "--json")
    assert result.status == 0, result.err
    return workplace, result
