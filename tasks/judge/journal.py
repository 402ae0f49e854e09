"""What was asked and answered so far, in a file that survives the process: a killed run continues."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Verdict:
    """The judge's score of one row, 0 to 100, or why there is none."""

    score: float | None
    reason: str | None = None
    missing_because: str | None = None


class Journal:
    """Append-only JSON Lines: every call, and the verdict on every row by what was asked of which model.

    A line that a dying process left torn is cut off, with whatever follows it, and asked again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._verdicts: dict[str, Verdict] = {}
        whole = 0
        for line, record in _whole_lines(path):
            whole += len(line)
            if record["kind"] == "verdict":
                self._verdicts[record["asked"]] = Verdict(**record["verdict"])
        self._file = path.open("ab")
        self._file.truncate(whole)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def verdict(self, asked: str) -> Verdict | None:
        return self._verdicts.get(asked)

    def add_verdict(self, asked: str, verdict: Verdict) -> None:
        self._verdicts[asked] = verdict
        self._append({"kind": "verdict", "asked": asked, "verdict": asdict(verdict)})

    def add_call(self, call: dict[str, Any]) -> None:
        self._append({"kind": "call", "call": call})

    def _append(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()

    def write_calls(self, path: Path) -> None:
        """Every call of this run and of the attempts before it, in the order in which they ended."""
        with path.open("w", encoding="utf-8") as file:  # in ASCII: raw answers may hold what UTF-8 cannot
            for _, record in _whole_lines(self._path):
                if record["kind"] == "call":
                    file.write(json.dumps(record["call"]) + "\n")


def _whole_lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                return
            if not line.endswith(b"\n"):
                return
            yield line, record
