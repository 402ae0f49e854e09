"""Kills at random moments: is all that a command started gone, and does the next run end with the same bits?

    python -m tests.benchmarks.kills [--kills 100] [--postgres] [--seed 1]

A small pipeline is killed by SIGKILL: its process alone, its process group, or everything at once as when
the machine goes down. A `fresh` one has all its work to do (`--refresh all`), a `cached` one finds it done,
one in a `new` home makes its databases too. Then the command runs to its end: it must complete with the
digests of a run that nobody disturbed, and no MLflow run may be left RUNNING. With `--postgres` both stores
are in a PostgreSQL server of this script's own, and there are no new homes.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy

from flows.server.postgres import databases
from tests.commands import COMMAND
from tests.orchestration.sites import furnish
from tests.postgres import postgres_server

KINDS = ("the process", "its group", "everything")
RUN = ("run", "only.yaml", "--set", "pretrain.steps=400", "--json")
GONE_WITHIN = 30.0  # seconds
PASSWORD = "kills-kills-kills"


@dataclass(frozen=True)
class Kill:
    """One kill and what followed; times in seconds."""

    kind: str
    state: str
    after: float
    gone: float
    """Until nothing that it had started was left."""
    again: float
    """That the next run took."""


@dataclass
class Home:
    """A home in which the small pipeline runs."""

    folder: Path
    environment: dict[str, str]

    def start(self, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *RUN, *more],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def complete(self, *more: str) -> tuple[dict[str, Any], float]:
        """What a run that nobody disturbs prints, and the seconds that it took. Raises AssertionError."""
        started = time.monotonic()
        process = self.start(*more)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"status {process.returncode}: {err}\n{out}"
        return json.loads(out), time.monotonic() - started

    def processes(self) -> list[psutil.Process]:
        """All that belong to this home."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if process.environ().get("TOUCHSTONE_HOME") == str(self.folder):
                    found.append(process)
        return found

    def running(self) -> int:
        """MLflow runs that have no end."""
        uri = (
            self.environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.folder / 'mlruns' / 'mlflow.db'}"
        )
        engine = sqlalchemy.create_engine(uri)
        with engine.connect() as connection:
            asked = sqlalchemy.text("SELECT count(*) FROM runs WHERE status = 'RUNNING'")
            count = int(connection.execute(asked).scalar_one())
        engine.dispose()
        return count


def home_in(folder: Path, stores: Mapping[str, str]) -> Home:
    folder.mkdir()
    return Home(folder, furnish(folder) | dict(stores))


def digests(outcome: Mapping[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["digest"] for stage in outcome["stages"]}


def kill(process: subprocess.Popen[str], kind: str) -> None:
    """End it in one of three ways; nobody is told."""
    if kind == "the process":
        process.kill()
    elif kind == "its group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        top = psutil.Process(process.pid)
        for each in (top, *top.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def trial(home: Home, expected: Mapping[str, str], kind: str, state: str, after: float) -> Kill:
    """Kill a run after so many seconds, and run it to its end. Raises AssertionError for what is wrong."""
    process = home.start(*(["--refresh=all"] if state == "fresh" else []))
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after)
    killed = time.monotonic()
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it had ended
        kill(process, kind)
    process.communicate()
    while left := home.processes():
        assert time.monotonic() - killed < GONE_WITHIN, [each.cmdline() for each in left]
        time.sleep(0.05)
    gone = time.monotonic() - killed
    outcome, again = home.complete()
    assert outcome["status"] == "completed"
    assert digests(outcome) == expected, (digests(outcome), expected)
    assert home.running() == 0
    return Kill(kind, state, after, gone, again)


def trials(folder: Path, count: int, seed: int, stores: Mapping[str, str]) -> Iterator[Kill]:
    """As many kills, of each kind and state in turn, at moments spread evenly over a run."""
    chance = random.Random(seed)
    undisturbed = home_in(folder / "undisturbed", stores)
    first, new_takes = undisturbed.complete()
    _, fresh_takes = undisturbed.complete("--refresh=all")
    _, cached_takes = undisturbed.complete()
    takes = {"fresh": fresh_takes, "cached": cached_takes} | ({} if stores else {"new": new_takes})
    for number in range(count):
        kind, state = KINDS[number % 3], [*takes][number // 3 % len(takes)]
        home = home_in(folder / str(number), stores) if state == "new" else undisturbed
        yield trial(home, digests(first), kind, state, chance.uniform(0.0, takes[state]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found: dict[tuple[str, str], list[Kill]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="touchstone-kills-") as name, contextlib.ExitStack() as servers:
        stores: dict[str, str] = {}
        if options.postgres:
            port = servers.enter_context(postgres_server(PASSWORD))
            os.environ["PGPASSWORD"] = PASSWORD
            made = databases(f"postgresql://touchstone@127.0.0.1:{port}/kills")
            stores = {
                "MLFLOW_TRACKING_URI": made.mlflow,
                "PREFECT_API_DATABASE_CONNECTION_URL": made.prefect,
            }
        for number, each in enumerate(trials(Path(name), options.kills, options.seed, stores), start=1):
            found[each.kind, each.state].append(each)
            print(
                f"{number:4} {each.kind:12} {each.state:7} after {each.after:5.1f} s: "
                f"gone in {each.gone:4.1f} s, again {each.again:5.1f} s",
                flush=True,
            )
    print(f"{'killed':12} {'state':7} {'kills':>5} {'gone in, at most':>17} {'again, median':>14}")
    for (kind, state), kills in sorted(found.items()):
        gone, again = max(each.gone for each in kills), statistics.median(each.again for each in kills)
        print(f"{kind:12} {state:7} {len(kills):5} {gone:15.1f} s {again:12.1f} s")


if __name__ == "__main__":
    main()
