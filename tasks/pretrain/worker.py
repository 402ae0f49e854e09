"""One of several training processes: `torchrun -m tasks.pretrain.worker JOB` (see launch.py)."""

import json
import os
import sys
import threading
import traceback
from pathlib import Path

from tasks.config import PretrainConfig
from tasks.errors import StoppedError, TouchstoneError
from tasks.pretrain.launch import RelayedRun, tell
from tasks.pretrain.loop import Trainer, train
from tasks.record import StageRun, no_progress, say_nothing


def main(job_file: str) -> None:
    """Train as this process's part of the job; only the first one tells how it goes."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    stop = threading.Event()
    threading.Thread(target=_heed_the_launcher, args=(stop,), daemon=True).start()
    first = os.environ["RANK"] == "0"
    run = (RelayedRun if first else StageRun)(
        out=Path(job["out"]),
        aside=Path(job["aside"]),
        checkpoint=Path(job["checkpoint"]),
        progress=_tell_progress if first else no_progress,
        phase=_tell_phase if first else say_nothing,
        say=_tell_text if first else say_nothing,
        stop=stop,
        fingerprints=job["fingerprints"],
    )
    try:
        train(PretrainConfig.model_validate(job["config"]), run, Path(job["tokens"]), _fit)
    except TouchstoneError as error:
        tell("error", type=type(error).__name__, message=str(error))
        sys.exit(
            0 if isinstance(error, StoppedError) else error.exit_status
        )  # torchrun would kill the others
    except Exception as error:
        reason = f"{type(error).__name__} in a training process: {error}"
        tell("defect", message=reason, traceback=traceback.format_exc())
        sys.exit(1)


def _fit(trainer: Trainer) -> None:
    tell("fit")  # from now on it can be stopped
    trainer.fit()


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
    main(sys.argv[1])
