"""A stage's run in a folder, what it leaves there, and how it is killed."""

import json
import os
import signal

from safetensors.torch import load_file

from tasks.record.stage import StageRun


def stage_run_in(folder, **watching):
    return StageRun(
        out=folder / "output", auxiliary=folder / "auxiliary", checkpoint=folder / "checkpoint", **watching
    )


def weights_in(run):
    return load_file(run.out / "model" / "model.safetensors")


def summary_of(run):
    return json.loads((run.out / "summary.json").read_text())


def die(*_):
    """What a power cut does to this process."""
    os.kill(os.getpid(), signal.SIGKILL)
