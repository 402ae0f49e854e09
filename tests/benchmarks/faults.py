"""What goes wrong around a small pipeline: how each fault ends, after how long, and whether the work goes on.

    python -m tests.benchmarks.faults [--output docs/faults.md]

Every fault is real: a file system of a few megabytes or one that is read-only, limits of the system,
processes that are killed or stopped. Afterwards the same command is run without the fault. To mount needs
root; what cannot be tried on a machine is said to be so.
"""

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.server.servers import answers
from tests.commands import COMMAND
from tests.orchestration.sites import Site, furnish, started_up, stop, until

RUN = ("run", "only.yaml", "--set", "pretrain.steps=400", "--json")
BIG = ("--set", "pretrain.size=4x4x256", "--set", "pretrain.steps=4")  # a model of 13 MB
LONG = 6_000  # steps: a training that outlasts a fault
AT_LAST = 300.0  # seconds
TABLE = ("fault", "what happens", "after", "then")


class CannotTryError(Exception):
    """This machine does not let the fault be made."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    told: str
    seconds: float

    @property
    def line(self) -> str:
        return f"status {self.status}: {self.told}"


def run(home: Path, *more: str, limits: Callable[[], None] | None = None, **environment: str) -> Outcome:
    """The small pipeline, to its end. Raises AssertionError for a traceback."""
    started = time.monotonic()
    process = subprocess.run(
        [COMMAND, *RUN, *more],
        cwd=home,
        env=furnish(home) | environment if os.access(home, os.W_OK) else os.environ | environment,
        capture_output=True,
        text=True,
        timeout=AT_LAST,
        preexec_fn=limits,
    )
    assert "Traceback" not in process.stderr + process.stdout, process.stderr
    seconds = time.monotonic() - started
    if process.returncode < 0:
        return Outcome(process.returncode, process.stderr.strip().splitlines()[-1], seconds)
    told = json.loads(process.stdout)
    return Outcome(process.returncode, told.get("error") or told["status"], seconds)


@contextmanager
def small_file_system(place: Path, size: str) -> Iterator[Path]:
    """A file system in memory. Raises CannotTryError without the right to mount one."""
    place.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(asked, capture_output=True).returncode:
        raise CannotTryError("needs the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


# Faults of a command; each gives how it ended, and how the next one did


def full_disk(folder: Path) -> tuple[Outcome, Outcome]:
    """The disk is full"""
    with small_file_system(folder / "full", "16m") as home:
        failed = run(home, *BIG)
        remount(home, "size=200m")
        return failed, run(home, *BIG)


def read_only(folder: Path) -> tuple[Outcome, Outcome]:
    """The home is read-only"""
    with small_file_system(folder / "readonly", "200m") as home:
        environment = furnish(home)
        remount(home, "ro")
        failed = run(home, **environment)
        remount(home, "rw")
        return failed, run(home)


def few_handles(folder: Path) -> tuple[Outcome, Outcome]:
    """40 file handles"""
    home = folder / "handles"
    home.mkdir()
    failed = run(home, limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    return failed, run(home)


def little_memory(folder: Path) -> tuple[Outcome, Outcome]:
    """1 GB of address space"""
    home = folder / "memory"
    home.mkdir()
    most = 1_000_000_000
    failed = run(home, *BIG, limits=lambda: resource.setrlimit(resource.RLIMIT_AS, (most, most)))
    return failed, run(home, *BIG)


def strange_path(folder: Path) -> tuple[Outcome, Outcome]:
    """A path with spaces, quotes and other scripts"""
    home = folder / "Ünser 'home' of 数据 & مجلد"
    home.mkdir()
    return run(home), run(home)


def twice_at_once(folder: Path) -> tuple[Outcome, Outcome]:
    """The same command twice at once"""
    home = folder / "twice"
    home.mkdir()
    environment = furnish(home)
    other = subprocess.Popen(
        [COMMAND, *RUN], cwd=home, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    first = run(home)
    assert other.wait(AT_LAST) == 0
    return first, run(home)


COMMANDS = (full_disk, read_only, few_handles, little_memory, strange_path, twice_at_once)

# Faults around `touchstone up`, in the middle of a training on its pool


def worker_killed(site: Site) -> None:
    """The worker is killed"""
    site.process("worker_app", "gpu-pool").kill()


def prefect_killed(site: Site) -> None:
    """Prefect's server is killed"""
    site.process("prefect_app").kill()


def mlflow_killed(site: Site) -> None:
    """MLflow's server is killed"""
    site.process("mlflow", "server").kill()


def both_silent(site: Site) -> None:
    """Both servers are silent for 45 s"""
    silent = [site.process("prefect_app"), site.process("mlflow", "server")]
    silent += [child for server in silent for child in server.children(recursive=True)]
    for server in silent:
        server.send_signal(signal.SIGSTOP)
    time.sleep(45)
    for server in silent:
        server.send_signal(signal.SIGCONT)


def training_killed(site: Site) -> None:
    """The training is killed"""
    (run,) = [
        each
        for each in site.ask("POST", "flow_runs/filter")
        if each["name"] == "pretrain" and each["state_type"] == "RUNNING"
    ]
    os.kill(site.pid(run), signal.SIGKILL)


SERVERS = (worker_killed, prefect_killed, mlflow_killed, both_silent, training_killed)


def around_up(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """A training for each fault, undisturbed first."""
    home = folder / "up"
    home.mkdir()
    site = started_up(home)
    try:
        site("deploy")
        for number, fault in enumerate((None, *SERVERS)):
            run = site.train(steps=LONG, seed=number)
            child = site.child(run)
            until(lambda child=child: site.checkpoints(child["id"]), 120)
            began = time.monotonic()
            if fault:
                fault(site)
                until(lambda: answers(f"{site.prefect}/api/health") and answers(f"{site.mlflow}/health"), 120)
            end = site.end_of(run, AT_LAST)
            seconds = time.monotonic() - began
            left = site.running_in_mlflow()
            then = "no MLflow run is left running" if not left else f"LEFT RUNNING: {left}"
            yield (_name(fault) if fault else "(none)"), end["type"].capitalize(), f"{seconds:.0f} s", then
        again = subprocess.run(
            [COMMAND, "up"], cwd=home, env=site.environment, capture_output=True, text=True, timeout=60
        )
        told = again.stderr.strip().replace(str(folder), "...")
        yield "`up` a second time", f"status {again.returncode}: {told}", "", "the first goes on"
    finally:
        stop(site.processes[0])


def _name(fault: Callable[..., object]) -> str:
    return str(fault.__doc__)


def rows(folder: Path, only: str | None) -> Iterator[tuple[str, str, str, str]]:
    for fault in COMMANDS if only != "up" else ():
        try:
            ended, then = fault(folder)
        except CannotTryError as error:
            yield _name(fault), f"not tried: {error}", "", ""
            continue
        told = ended.line.replace(str(folder), "...")
        yield _name(fault), told, f"{ended.seconds:.0f} s", f"run again: {then.told}, {then.seconds:.0f} s"
    if only != "commands":
        yield from around_up(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", choices=("commands", "up"), help="a part of the table")
    options = parser.parse_args()
    lines = [f"| {' | '.join(TABLE)} |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory(prefix="touchstone-faults-") as name:
        for row in rows(Path(name), options.only):
            lines.append(
                "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
            )
            print(lines[-1], flush=True)
    if options.output:
        machine = f"{os.cpu_count()} cores, {platform.system()} on {platform.machine()}"
        head = (
            f"# What goes wrong, and how it ends\n\nBy `python -m tests.benchmarks.faults` ({machine}).\n\n"
        )
        options.output.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
