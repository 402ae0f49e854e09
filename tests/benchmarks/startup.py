"""What the commands that train nothing take, from pressing Enter to the prompt: medians of several runs.

    python -m tests.benchmarks.startup [REPEATS]

The quickstart is run first with as little training as there can be, in a folder of its own: everything is
found from then on. Processor time is that of the command and of the server that it starts. Every command is
run once before it is measured, so that Python has its bytecode.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("touchstone")

SMALL = {
    "pretrain.steps": 2,
    "pretrain.warmup": 1,
    "pretrain.batch_size": 2,
    "pretrain.eval_every": 2,
    "finetune.epochs": 0.02,
    "generate.max_new_tokens": 2,
}


def quickstart(**changes: object) -> list[str]:
    """The command line of a quickstart that trains next to nothing."""
    settings = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    return [
        "run",
        "quickstart",
        *(word for each in settings.items() for word in ("--set", "{}={}".format(*each))),
    ]


def measured(arguments: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor. Exits with what the command said when it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([COMMAND, *arguments], env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"touchstone {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(name: str, arguments: Sequence[str], environment: dict[str, str], repeats: int) -> None:
    measured(arguments, environment)
    times = [measured(arguments, environment) for _ in range(repeats)]
    wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name:<28} {wall:6.2f} s  {processor:6.2f} s of processors", flush=True)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory(prefix="touchstone-startup-") as home:
        (Path(home) / "deployments").symlink_to(CHECKOUT / "deployments")
        foreign = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        environment |= {"TOUCHSTONE_HOME": home, "PREFECT_HOME": f"{home}/prefect"}
        seconds, _ = measured(quickstart(), environment)
        print(f"(the first run, with next to no training: {seconds:.1f} s)", flush=True)
        measured(quickstart(generate__max_new_tokens=3), environment)  # a second run, to compare with
        runs = runs_of(environment)
        for name, arguments in {
            "--help": ("--help",),
            "run --help": ("run", "--help"),
            "profiles": ("profiles",),
            "models": ("models",),
            "report": ("report",),
            "compare of two runs, found": ("compare", *runs),
            "run quickstart, all found": quickstart(),
        }.items():
            report(name, arguments, environment, repeats)


def runs_of(environment: dict[str, str]) -> list[str]:
    """The MLflow runs of the two pipelines."""
    program = (
        "from tasks.record.tracking import open_tracking\n"
        "tracking = open_tracking()\n"
        "ours = [tracking.experiment_id], \"tags.`touchstone.kind` = 'pipeline'\"\n"
        "print(*(run.info.run_id for run in tracking.client.search_runs(*ours)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=CHECKOUT, capture_output=True, text=True
    )
    return done.stdout.split()


if __name__ == "__main__":
    main()
