"""What the checks found, kept as JSON, and refused when a check failed."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from tasks.errors import RefusedError
from tasks.machine.json_files import Json, as_text, read_json
from tasks.record.manifest import write_atomically

CheckVerdict = Literal["passed", "failed", "warning", "info", "skipped"]
FILE = "preflight.json"
PRETRAINING = "pretraining"
COLUMNS = ("training", "check", "verdict", "found", "expected", "where")


@dataclass(frozen=True)
class CheckResult:
    """One check's result; `skipped` says why in `found`.

    `info` states a number that nobody has to act on, a `warning` one that somebody should look at.

    `where` names the row, token or layer at fault.
    """

    check: str
    verdict: CheckVerdict
    found: str
    expected: str
    where: str = ""
    training: str = ""
    """Which kind of training it was made for."""


@dataclass(frozen=True)
class Report:
    """The checks of a training or of two, and for each a decoded example, by training."""

    results: tuple[CheckResult, ...]
    examples: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, training: str, results: Iterable[CheckResult], example: str | None = None) -> "Report":
        examples = {} if example is None else {training: example}
        return cls(tuple(replace(result, training=training) for result in results), examples)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """What `as_json` gave."""
        return cls(tuple(CheckResult(**result) for result in value["checks"]), value["examples"])

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The checks that stand beside a model, or in the output of a preflight."""
        return cls.from_json(read_json(folder / FILE))

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """As `read`; None where the folder has none."""
        return cls.read(folder) if (folder / FILE).is_file() else None

    def write(self, folder: Path) -> None:
        """So that it is there whole or not at all: a later attempt goes by what this one checked."""
        write_atomically(folder / FILE, as_text(self.as_json()).encode())

    def __add__(self, other: "Report") -> "Report":
        return Report(self.results + other.results, self.examples | other.examples)

    @property
    def failed(self) -> list[CheckResult]:
        return [result for result in self.results if result.verdict == "failed"]

    @property
    def warnings(self) -> list[CheckResult]:
        return [result for result in self.results if result.verdict == "warning"]

    @property
    def verdict(self) -> Literal["passed", "failed"]:
        return "failed" if self.failed else "passed"

    def rows(self) -> list[dict[str, str]]:
        """The table, a row a check, columns in reading order."""
        return [{column: asdict(result)[column] for column in COLUMNS} for result in self.results]

    def as_json(self) -> Json:
        return {"verdict": self.verdict, "checks": self.rows(), "examples": self.examples}


def refuse(report: Report, mode: Literal["refuse", "warn"]) -> None:
    """Raise RefusedError naming every check that failed, unless the mode is only to warn of it."""
    if not report.failed or mode == "warn":
        return
    told = "; ".join(
        f"{result.training}, {result.check}{f' ({result.where})' if result.where else ''}: "
        f"found {result.found}, expected {result.expected}"
        for result in report.failed
    )
    raise RefusedError(
        f"{len(report.failed)} of {len(report.results)} checks failed. {told}. Fix what they found, "
        "or train all the same with the stage's preflight=warn"
    )
