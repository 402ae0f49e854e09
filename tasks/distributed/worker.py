"""A process of a training on several: `torchrun -m tasks.distributed.worker JOB TASK` (see launch.py)."""

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch

from tasks import errors
from tasks.distributed.launch import RelayedRun, tell
from tasks.distributed.part import Checking, ChecksDone, ProcessRole, Share
from tasks.errors import StoppedError, TouchstoneError
from tasks.machine.device import pick_device
from tasks.record.stage import StageRun, no_progress, say_nothing


def main(job_file: str, task: str) -> None:
    """Make the checks of the job, or train as this process's part of it; only the first tells how it goes."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    stop = threading.Event()
    threading.Thread(target=_heed_the_launcher, args=(stop,), daemon=True).start()
    first = task == "check" or os.environ["RANK"] == "0"
    run = (RelayedRun if first else StageRun)(
        out=Path(job["out"]),
        auxiliary=Path(job["auxiliary"]),
        checkpoint=Path(job["checkpoint"]),
        progress=_tell_progress if first else no_progress,
        phase=_tell_phase if first else say_nothing,
        say=_tell_text if first else say_nothing,
        stop=stop,
        fingerprints=job["fingerprints"],
    )
    try:
        work(job, task, run, first)
    except TouchstoneError as error:
        tell("error", type=_known_type(error), message=str(error))
        sys.exit(
            0 if isinstance(error, StoppedError) else error.exit_status
        )  # torchrun would kill the others
    except Exception as error:
        reason = f"{type(error).__name__} in a training process: {error}"
        tell("defect", message=reason, traceback=traceback.format_exc())
        sys.exit(1)


def work(job: dict[str, Any], task: str, run: StageRun, first: bool) -> None:
    """Do a task of the job, as this process's part of it. Raises what the training raises."""
    config = resolve_name(job["settings"]).model_validate(job["config"])
    inputs = {name: Path(folder) for name, folder in job["inputs"].items()}
    if task == "check":
        config = config.model_copy(update={"processes": 1})
        part: ProcessRole = Checking(Path(job["report"]))
    else:
        if pick_device(config.device).type == "cuda":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # what a device without a number means here
        part = Share(first, lambda: tell("fit"))
    try:
        resolve_name(job["train"])(config, run, part, **inputs)
    except ChecksDone:
        return


def _known_type(error: TouchstoneError) -> str:
    """The name of the nearest class of `tasks.errors` that the error is of; the launcher raises that one."""
    return next(kind.__name__ for kind in type(error).__mro__ if getattr(errors, kind.__name__, None) is kind)


def _tell_text(text: str) -> None:
    tell("text", text=text)


def _tell_phase(what: str) -> None:
    tell("phase", what=what)


def _tell_progress(done: float, total: float, unit: str, note: str) -> None:
    tell("progress", done=done, total=total, unit=unit, note=note)


def _heed_the_launcher(stop: threading.Event) -> None:
    """A byte on standard input asks to stop; one process that reads it is enough, as they stop together.

    Standard input ends when the process that launched the training is gone, however that died.
    """
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would hold when Python ends
        stop.set()
    os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
