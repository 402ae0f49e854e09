"""Commands that the board runs as processes of their own: what they tell while they run, and what came of it.

Such a command goes on when the page, or the board, is closed; whatever it makes is found in MLflow.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Self

from flows.board.context import Board
from flows.board.errors import require_store
from flows.process.detached import COMMAND
from tasks.errors import RefusedError, StageError, TouchstoneError, UsageError
from tasks.machine.json_files import Json

LOOK = 0.3  # seconds between two looks at what it tells
ERRORS: dict[str, type[TouchstoneError]] = {"usage": UsageError, "refused": RefusedError}


class BoardCommand:
    """`touchstone ... --json`, begun when it is made."""

    def __init__(self, board: Board, *arguments: str) -> None:
        """Raises StoreAwayError without beginning it while MLflow's server is away."""
        require_store()
        with ExitStack() as stack:
            folder = board.tracking.work
            self._out, self._told = (
                stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in ("out", "err")
            )  # without names: nothing is left of them when the process has ended
            self._process = subprocess.Popen(
                [COMMAND, *arguments],
                cwd=board.home,
                env=dict(board.environment),
                stdin=subprocess.DEVNULL,
                stdout=self._out,
                stderr=self._told,
                start_new_session=True,
            )
            self._files = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Look no longer; the process is not ended."""
        self._files.close()

    def lines(self) -> Iterator[str]:
        """Each line that it tells people, as it comes, until it has ended."""
        place, ended = 0, False
        while not ended:
            ended = self._process.poll() is not None
            data = os.pread(self._told.fileno(), os.fstat(self._told.fileno()).st_size - place, place)
            whole = data if ended else data[: data.rfind(b"\n") + 1]
            place += len(whole)
            yield from (line.strip() for line in whole.decode(errors="replace").splitlines() if line.strip())
            if not ended:
                time.sleep(LOOK)

    def outcome(self) -> Json:
        """What `--json` printed, once it has ended.

        Raises the error that it told, unless it told more than that: a comparison may be refused and shown.
        """
        status = self._process.wait()
        self._out.seek(0)
        try:
            told = json.load(self._out)
        except ValueError as error:
            raise StageError(f"the command ended with status {status} and told nothing") from error
        if told.keys() == {"status", "error"}:
            raise ERRORS.get(told["status"], StageError)(told["error"])
        return told
