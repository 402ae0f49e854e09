"""Starting commands from the board: each is what a person would type, in a process that outlives the page."""

import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import psutil
from mlflow.entities import Run

from flows.board.commands import BoardCommand
from flows.board.context import Board
from flows.board.errors import require_store
from flows.board.run_state import name_of, profile_text
from flows.process.detached import LOG_TAG, start_detached
from flows.profiles.load import load_profile, profile_names
from flows.server.live_runs import present_server
from flows.server.servers import logs_folder
from tasks.errors import StageError, UsageError
from tasks.machine.json_files import Json
from tasks.record.manifest import write_atomically

BEGINS_WITHIN = 120.0  # seconds until a run has opened its MLflow run, or was handed over
LOOK = 0.3  # seconds between two looks at whether it has
UPLOADS = "uploads"  # in mlruns/: files of people, each set with its profile
CONTINUED = "continued"  # in mlruns/work/: profiles of runs that are continued
HANDED_OVER = "flow run "  # begins what `touchstone run --pools` says once a pool has it
ERROR = "error: "  # before what a command ends with

Found = TypeVar("Found")


@dataclass(frozen=True)
class Started:
    """A command that was started."""

    process: int
    log: Path


def uploads_folder(board: Board) -> Path:
    return board.tracking.root / UPLOADS


def offered_profiles(board: Board) -> list[tuple[str, str]]:
    """What a person may choose: the name that is shown, and what `touchstone run` takes."""
    own = [*board.profiles, *sorted(uploads_folder(board).glob("*/*.yaml"))]
    return [*((name, name) for name in profile_names()), *((path.name, str(path)) for path in own)]


def require_offered(board: Board, profile: str | None) -> str:
    """The profile. Raises UsageError for none, and for a file that the board does not offer."""
    if profile is None:
        raise UsageError("choose a profile first")
    if profile not in [value for _, value in offered_profiles(board)]:
        raise UsageError(f"{profile} is not among the profiles of this board; open the page again")
    return profile


def run_arguments(profile: str, overrides: Sequence[str], *, pools: bool = False) -> list[str]:
    """What stands after `touchstone`."""
    return ["run", profile, *_sets(overrides), *(["--pools"] if pools else [])]


def command_line(arguments: Sequence[str]) -> str:
    """The command as a person types it."""
    return shlex.join(["touchstone", *arguments])


def _sets(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def start_run(board: Board, profile: str, overrides: Sequence[str], *, pools: bool = False) -> Started:
    """Start a run here, or on the work pools.

    Raises UsageError when the profile is wrong or there is no server with pools, and StoreAwayError while
    MLflow's server is away, before anything is started.
    """
    load_profile(profile, overrides)
    if pools and present_server() is None:
        raise UsageError("no Prefect server answers: start one with touchstone up, or set PREFECT_API_URL")
    return _start(board, run_arguments(profile, overrides, pools=pools))


def continue_run(board: Board, run: Run) -> Started:
    """Run the settings of a run that stopped again: finished stages are reused, and the last goes on.

    Raises UsageError for a run that runs, or does not keep its settings.
    """
    if run.info.status == "RUNNING":
        raise UsageError(f"run {name_of(run)} is running; there is nothing to continue")
    text = profile_text(run)
    path = board.tracking.work / CONTINUED / f"{run.info.run_id}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return _start(board, run_arguments(str(path), []))


def _start(board: Board, arguments: Sequence[str]) -> Started:
    require_store()
    log = logs_folder() / f"run-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}.log"
    return Started(start_detached(arguments, board.environment, Path.cwd(), log), log)


def wait_for_run(board: Board, started: Started, within: float = BEGINS_WITHIN) -> Run | None:
    """The MLflow run that a started command has opened; None when it has opened none yet.

    Raises StageError with the command's own words when it ends before that.
    """

    def opened() -> Run | None:
        found = board.tracking.client.search_runs(
            [board.tracking.experiment_id], f"tags.`{LOG_TAG}` = '{started.log.name}'", max_results=1
        )
        return found[0] if found else None

    return _wait_for(opened, started, within)


def wait_for_hand_over(started: Started, within: float = BEGINS_WITHIN) -> str | None:
    """The line in which a command that was started tells which flow run it has handed to the work pools.

    None when it has not yet; raises StageError as `wait_for_run` does.
    """

    def handed_over() -> str | None:
        lines = started.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in lines if line.startswith(HANDED_OVER)), None)

    return _wait_for(handed_over, started, within)


def _wait_for(find: Callable[[], Found | None], started: Started, within: float) -> Found | None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        is_alive = _is_alive(started.process)  # first: what is waited for may be its last act
        if (found := find()) is not None:
            return found
        if not is_alive:
            raise StageError(_last_words(started.log))
        time.sleep(LOOK)
    return None


def _is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _last_words(log: Path) -> str:
    """What a command said of its end, or the end of what it said."""
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    _, error, told = text.rpartition(ERROR)
    return told if error else text[-1000:] or f"the command ended without a word; its log is {log}"


def check_profile(board: Board, profile: str, overrides: Sequence[str]) -> Json:
    """What `touchstone preflight --json` tells of a profile: its checks, whether they passed or not.

    Raises UsageError when the profile is wrong, and what the command told when it comes to no checks.
    """
    load_profile(profile, overrides)
    with BoardCommand(board, "preflight", profile, *_sets(overrides), "--json") as command:
        return command.outcome()
