"""The command in a folder of its own, with the Prefect server of the whole run."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.record.tracking import Tracking, open_tracking
from tests import shared
from tests.commands import Result, entered, run_here, start

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
promote: {}
"""


@dataclass(frozen=True)
class Workplace:
    """A folder with a home of its own and a tiny profile, in which the command is run."""

    folder: Path
    environment: dict[str, str]

    def __call__(self, *arguments: str, **environment: str) -> Result:
        """The command in this process."""
        told = self.environment | environment
        return run_here(self.folder, told, told["PREFECT_API_URL"], *arguments)

    @contextlib.contextmanager
    def entered(self, **environment: str) -> Iterator[None]:
        """This process in the folder and environment that a command would have."""
        told = self.environment | environment
        with entered(self.folder, told, told["PREFECT_API_URL"]):
            yield

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """The command as a user starts it."""
        return start(self.folder, self.environment | environment, *arguments)

    def process(self, *arguments: str, **environment: str) -> Result:
        """The same, once it has ended."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=480)
        return Result(process.returncode, out, err)

    def in_training(self, process: subprocess.Popen[str]) -> None:
        """Wait until a command has kept a checkpoint."""
        deadline = time.monotonic() + 180
        while not list((self.mlruns / "work").glob("*/checkpoint/step-*.pt")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def killed_in_training(self, *arguments: str, after: str) -> None:
        """The command, ended by SIGKILL in the training that follows a line which begins so."""
        process = self.start(*arguments)
        assert any(line.startswith(after) for line in process.stderr), process.communicate()
        self.in_training(process)
        process.kill()
        process.communicate(timeout=30)

    @property
    def mlruns(self) -> Path:
        return self.folder / "mlruns"

    def store(self) -> Tracking:
        """Open the store of its runs."""
        return open_tracking(self.mlruns, f"sqlite:///{self.mlruns / 'mlflow.db'}")


@pytest.fixture(scope="session")
def prefect_server() -> str:
    """The address of the Prefect server of the whole run; a command would else start and stop its own."""
    return shared.prefect()


def workplace_in(folder: Path) -> Workplace:
    text = " ".join(f"The {word} of line {line} is long." for line in range(90) for word in ("end", "start"))
    (folder / "corpus.txt").write_text(text, encoding="utf-8")
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    (folder / "mlruns").mkdir()
    shutil.copyfile(shared.database(), folder / "mlruns" / "mlflow.db")
    return Workplace(
        folder, os.environ | {"TOUCHSTONE_HOME": str(folder), "PREFECT_API_URL": shared.prefect()}
    )


@pytest.fixture(scope="session")
def make_workplace(tmp_path_factory) -> Callable[[str], Workplace]:
    return lambda name: workplace_in(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def finished() -> tuple[Workplace, Result]:
    """A workplace in which the tiny profile has run once; tests may add to it, and alter nothing."""

    def run(folder: Path) -> dict[str, Any]:
        workplace = workplace_in(folder)
        result = workplace("run", "tiny.yaml", "--json")
        assert result.status == 0, result.err
        return {"folder": str(folder), "environment": workplace.environment, "result": asdict(result)}

    told = shared.once("finished", run)
    return Workplace(Path(told["folder"]), told["environment"]), Result(**told["result"])
