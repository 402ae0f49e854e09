"""Every answer of every judge, kept by what was asked of which model.

A killed run continues from here, and a later one that asks the same makes no call. What is kept is the raw
reply: another way of reading it needs no new call either.

A monitor is to find out whether a judge still answers as it did, so it reads none of these: its answers have
a file of their own, in which each occasion finds what it has asked itself and nothing else.
"""

import json
import sqlite3
import uuid
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tasks.config import AskConfig
from tasks.errors import StageError
from tasks.judge.protocol.replies import Identity
from tasks.machine.locks import holding
from tasks.record.manifest import canonical_json, digest_of
from tasks.record.stage import StageRun
from tasks.servers.replies import Reply

ANSWERS = "answers.db"
ANEW = "answers-anew.db"  # of monitors
OCCASION = "touchstone.prefect_pipeline_run_id"  # in a run's lineage: the same when a stage is tried again
KEPT_ANEW = "-7 days"  # how long a monitor that was cut short may find what it has asked
WAIT = 60.0  # seconds for another process that is writing

_TABLES = (
    """
CREATE TABLE IF NOT EXISTS answers (
    asked TEXT PRIMARY KEY, scorer TEXT NOT NULL, reply TEXT NOT NULL, at TEXT DEFAULT CURRENT_TIMESTAMP
)
""",
    """
CREATE TABLE IF NOT EXISTS refusals (
    judge TEXT NOT NULL, part TEXT NOT NULL, words TEXT NOT NULL, at TEXT DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (judge, part)
)
""",
)
LASTING = "-1 day"  # how long it is believed that a server still refuses what it refused


class AnswerStore:
    """A SQLite file that several processes may use at once; use as `with`.

    With an `occasion`, only what was asked on it is found, and what other occasions left long ago is removed.
    """

    def __init__(self, path: Path, occasion: str | None = None) -> None:
        """Raises StageError when the file is no database."""
        self.path = path
        self._before = "" if occasion is None else f"{occasion} "
        path.parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
        try:
            with holding(f"{path}.lock"):  # SQLite does not wait for another process that sets up the file
                self._base.execute("PRAGMA journal_mode=WAL")
                self._base.execute("PRAGMA synchronous=NORMAL")  # a killed process loses nothing
                for table in _TABLES:
                    self._base.execute(table)
            if occasion is not None:
                self._base.execute("DELETE FROM answers WHERE at <= datetime('now', ?)", (KEPT_ANEW,))
        except sqlite3.DatabaseError as error:
            self._base.close()
            self._explain(error)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def find(self, asked: str, max_age_days: float | None = None) -> Reply | None:
        """What was answered, of no greater age where one is given. Raises StageError for a damaged file."""
        age = None if max_age_days is None else f"-{86_400 * max_age_days:.0f} seconds"
        try:
            row = self._base.execute(
                "SELECT reply FROM answers WHERE asked = ? AND (? IS NULL OR at > datetime('now', ?))",
                (self._before + asked, age, age),
            ).fetchone()
            return Reply(**json.loads(row[0])) if row else None
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            self._explain(error)
            raise

    def add(self, asked: str, scorer: str, reply: Reply) -> None:
        """Raises StageError when it cannot be kept; a full disk keeps SQLite's own words."""
        try:  # in ASCII: raw answers may hold what UTF-8 cannot
            self._base.execute(
                "INSERT OR REPLACE INTO answers (asked, scorer, reply) VALUES (?, ?, ?)",
                (self._before + asked, scorer, json.dumps(asdict(reply), allow_nan=False)),
            )
        except sqlite3.DatabaseError as error:
            self._explain(error)
            raise

    def count_before(self, before: float) -> tuple[int, int]:
        """Of the answers that were given before a time, in seconds since 1970: how many, and their bytes."""
        count, total = self._base.execute(
            "SELECT count(*), total(length(asked) + length(scorer) + length(reply)) FROM answers "
            "WHERE at < datetime(?, 'unixepoch')",
            (before,),
        ).fetchone()
        return count, int(total)

    def forget_before(self, before: float) -> None:
        """Remove them, and give their room back to the disk."""
        self._base.execute("DELETE FROM answers WHERE at < datetime(?, 'unixepoch')", (before,))
        self._base.execute("VACUUM")

    def refusals(self, identity: Identity) -> dict[str, str]:
        """What a judge's server was lately found to refuse of a request, with its words."""
        try:
            rows = self._base.execute(
                "SELECT part, words FROM refusals WHERE judge = ? AND at > datetime('now', ?) ORDER BY part",
                (identity.digest, LASTING),
            )
            return dict(rows.fetchall())
        except sqlite3.DatabaseError as error:
            self._explain(error)
            raise

    def add_refusal(self, identity: Identity, part: str, words: str) -> None:
        """Raises StageError as `add` does."""
        try:
            self._base.execute(
                "INSERT OR REPLACE INTO refusals (judge, part, words) VALUES (?, ?, ?)",
                (identity.digest, part, words),
            )
        except sqlite3.DatabaseError as error:
            self._explain(error)
            raise

    def _explain(self, error: Exception) -> None:
        """Raise StageError for damage; a lock held for too long or a full disk keep SQLite's own words."""
        if not isinstance(error, sqlite3.OperationalError):
            raise StageError(
                f"{self.path}, which keeps the judges' answers, cannot be read ({error}). Move it away and "
                "run again: what it held is asked anew."
            ) from error


def old_answers(path: Path, before: float) -> tuple[int, int]:
    """How many answers a file keeps that were given before a time (seconds since 1970), and their bytes.

    Raises StageError when the file is no database.
    """
    with AnswerStore(path) as store:
        return store.count_before(before)


def forget_answers(path: Path, before: float) -> None:
    """Remove these answers: who asks the same again waits for the judge. Raises StageError as above."""
    with AnswerStore(path) as store:
        store.forget_before(before)


def answers_for(config: AskConfig, run: StageRun) -> AnswerStore:
    """Where a stage finds and keeps answers: with those of all runs, or apart where all is asked anew."""
    if not config.anew:
        return AnswerStore(run.shared / ANSWERS)
    return AnswerStore(run.shared / ANEW, run.lineage.get(OCCASION) or run.run_id or uuid.uuid4().hex)


def asked_of(identity: Identity, request: dict[str, Any]) -> str:
    """What an answer is kept by: the model's digest and the whole request, the seed included."""
    return digest_of(canonical_json([identity.digest, request]))
