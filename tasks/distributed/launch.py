"""A training in one process or several: torchrun starts those, and what the first tells is passed on."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tasks import errors
from tasks.compat.training import FIRST_SIGNAL
from tasks.distributed.part import Alone
from tasks.errors import StageError, StoppedError
from tasks.machine.device import pick_device
from tasks.machine.json_files import write_json
from tasks.machine.stopping import begin, is_stoppable, run_stoppable
from tasks.preflight import require
from tasks.preflight.report import Report
from tasks.record.stage import StageRun

WORKER = "tasks.distributed.worker"

MARK = "\x1e"  # before a line of ours among what workers print
LAST_LINES = 30


Train = Callable[..., None]
"""A training: called with its configuration, run and part, and the folder of each input by name."""


def run_training(train: Train, config: Any, run: StageRun, **inputs: Path | None) -> None:
    """Run `train` in this process, or in `config.processes` of them that torchrun starts.

    Several processes find the checks made, by a process of its own that is gone before they are started.
    Raises the error that a worker raised; StageError with the last lines printed when one died.
    """
    if config.processes == 1:
        train(config, run, Alone(run), **inputs)
        return
    _require_devices(config)
    job = {
        "train": f"{train.__module__}:{train.__qualname__}",
        "settings": f"{type(config).__module__}:{type(config).__qualname__}",
        "config": config.model_dump(mode="json"),
        "out": str(run.out),
        "auxiliary": str(run.auxiliary),
        "checkpoint": str(run.checkpoint),
        "fingerprints": dict(run.fingerprints),
        "inputs": {name: str(folder) for name, folder in inputs.items() if folder},
        "report": str(run.checkpoint / "checks.json"),
    }
    path = run.checkpoint / "job.json"
    write_json(path, job)
    require(run, config.preflight, lambda: _checked(job, path, run))
    _work("train", path, config.processes, run)


def _require_devices(config: Any) -> None:
    """Raise StageError where a process would have to share its GPU with another."""
    if pick_device(config.device).type == "cuda" and torch.cuda.device_count() < config.processes:
        raise StageError(
            f"processes is {config.processes}, and torch sees {torch.cuda.device_count()} CUDA devices; each "
            "process takes one. Lower processes, or make more devices visible"
        )


def _checked(job: Mapping[str, Any], path: Path, run: StageRun) -> Report:
    _work("check", path, 1, run)
    return Report.from_json(json.loads(Path(job["report"]).read_bytes()))


def _work(task: str, job: Path, count: int, run: StageRun) -> None:
    """Start the workers for a task ("check" or "train") and wait until they have ended."""
    told = Told()
    run_stoppable(
        lambda: _run(_command(task, job, count), _environment(count), run, told), run.stop, begun=False
    )
    if told.status < 0 or (found := FIRST_SIGNAL.search("\n".join(told.printed))):
        killed = signal.Signals(-told.status).name if told.status < 0 else found[1]
        raise StageError(
            f"a training process was ended by {killed}. The kernel sends SIGKILL when memory runs out: if "
            "nobody did, lower batch_size"
        ) from told.failure  # what the others told of is that it was gone
    if told.failure is not None:
        raise told.failure
    if told.status:
        raise StageError(
            f"a training process ended with status {told.status}; the last it printed: "
            + " | ".join(told.printed)
        )


def _command(task: str, job: Path, count: int) -> list[str]:
    """One process is started as it is, so that it belongs to no group."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(count), "-m"]
    started = torchrun if task == "train" else []
    return [sys.executable, "-m", *started, WORKER, str(job), task]


def _environment(count: int) -> dict[str, str]:
    root = Path(__file__).resolve().parents[2]
    paths = [str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment


@dataclass
class Told:
    """What the workers have told so far, and how they ended."""

    failure: Exception | None = None
    printed: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    """The last lines that were for nobody."""
    status: int = 0


def _run(command: Sequence[str], environment: Mapping[str, str], run: StageRun, told: Told) -> None:
    """Start the workers and listen until they have ended. Raises StoppedError when asked to stop."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # a byte asks the workers to stop; its end tells that this process is gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",  # libraries may print anything
        env=environment,
        start_new_session=True,  # the terminal's Ctrl-C is for this process
    ) as process:
        threading.Thread(target=_pass_on, args=(run.stop, process), daemon=True).start()
        try:
            _listen(process, run, told)
        except BaseException:
            process.terminate()  # torchrun ends those it started
            raise
    told.status = process.returncode
    if run.stop.is_set() and told.failure is None and told.status:
        raise StoppedError("stopped before its first step")


def _pass_on(stop: threading.Event, process: subprocess.Popen[str]) -> None:
    """Ask the workers to stop when this process is asked to; before they train there is nothing to keep."""
    while not stop.wait(0.2):
        if process.poll() is not None:
            return
    if not is_stoppable():
        process.terminate()
        return
    with suppress(BrokenPipeError, ValueError):  # they have just ended, and the pipe is closed
        process.stdin.write("\n")
        process.stdin.flush()


def _listen(process: subprocess.Popen[str], run: StageRun, told: Told) -> None:
    """Pass numbers and progress on to the run, until the workers have ended."""
    for line in process.stdout or ():
        noise, event = _parsed(line)
        if noise:
            told.printed.append(noise)
        kind = event.get("kind")
        if kind == "metrics":
            run.log_metrics(event["values"], event["step"])
        elif kind == "progress":
            run.progress(event["done"], event["total"], event["unit"], event["note"])
        elif kind == "page":
            run.log_page(event["key"], event["markdown"], event["description"])
        elif kind == "phase":
            run.phase(event["what"])
        elif kind == "text":
            run.say(event["text"])
        elif kind == "fit":
            begin()
        elif kind == "table":
            run.log_table(event["rows"], event["name"])
        elif kind == "error":
            told.failure = told.failure or getattr(errors, event["type"])(event["message"])
        elif kind == "defect" and told.failure is None:
            told.failure = RuntimeError(event["message"])
            told.failure.__cause__ = WorkerTraceback("\n" + event["traceback"])


def _parsed(line: str) -> tuple[str, dict[str, Any]]:
    """What a library printed, and what a worker told after it.

    All of it is noise when another process wrote into the middle, as it may beyond the pipe's 4 KiB.
    """
    noise, _, told = line.partition(MARK)
    try:
        return noise.strip(), json.loads(told) if told else {}
    except json.JSONDecodeError:
        return line.replace(MARK, "").strip(), {}


class WorkerTraceback(Exception):  # noqa: N818 - it is text, shown as the cause of what it is the trace of
    """Where a worker's error was raised."""


class RelayedRun(StageRun):
    """A run in a worker: files are written here, numbers and progress go to the process that launched it."""

    def log_metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        tell("metrics", values=dict(values), step=step)

    def log_table(self, rows: list[dict[str, Any]], name: str) -> None:
        tell("table", rows=rows, name=name)

    def log_page(self, key: str, markdown: str, description: str) -> None:
        tell("page", key=key, markdown=markdown, description=description)


def tell(kind: str, **event: Any) -> None:
    """One line to the launching process; in one write, since processes share the pipe."""
    sys.stdout.write(f"{MARK}{json.dumps({'kind': kind, **event})}\n")
    sys.stdout.flush()
