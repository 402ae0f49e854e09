"""What the proofs found, kept as JSON, and refused when a proof failed."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from tasks.errors import RefusedError
from tasks.machine.json_files import Json, as_text, read_json
from tasks.record.manifest import write_atomically

ProofVerdict = Literal["passed", "failed", "noted", "skipped"]
FILE = "preflight.json"
COLUMNS = ("training", "proof", "verdict", "found", "expected", "where")


@dataclass(frozen=True)
class Proof:
    """One proof's result. `noted` states a number that nobody has to act on; `skipped` says why in `found`.

    `where` names the row, token or layer at fault.
    """

    proof: str
    verdict: ProofVerdict
    found: str
    expected: str
    where: str = ""
    training: str = ""
    """Which kind of training it was proved for."""


@dataclass(frozen=True)
class Report:
    """The proofs of a training or of two, and for each a decoded example, by training."""

    proofs: tuple[Proof, ...]
    examples: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, training: str, proofs: Iterable[Proof], example: str | None = None) -> "Report":
        examples = {} if example is None else {training: example}
        return cls(tuple(replace(proof, training=training) for proof in proofs), examples)

    @classmethod
    def from_json(cls, value: Json) -> Self:
        """What `as_json` gave."""
        return cls(tuple(Proof(**proof) for proof in value["proofs"]), value["examples"])

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The proofs that stand beside a model, or in the output of a preflight."""
        return cls.from_json(read_json(folder / FILE))

    @classmethod
    def find(cls, folder: Path) -> Self | None:
        """As `read`; None where the folder has none."""
        return cls.read(folder) if (folder / FILE).is_file() else None

    def write(self, folder: Path) -> None:
        """So that it is there whole or not at all: a later attempt goes by what this one proved."""
        write_atomically(folder / FILE, as_text(self.as_json()).encode())

    def __add__(self, other: "Report") -> "Report":
        return Report(self.proofs + other.proofs, self.examples | other.examples)

    @property
    def failed(self) -> list[Proof]:
        return [proof for proof in self.proofs if proof.verdict == "failed"]

    @property
    def verdict(self) -> Literal["passed", "failed"]:
        return "failed" if self.failed else "passed"

    def rows(self) -> list[dict[str, str]]:
        """The table, a row a proof, columns in reading order."""
        return [{column: asdict(proof)[column] for column in COLUMNS} for proof in self.proofs]

    def as_json(self) -> Json:
        return {"verdict": self.verdict, "proofs": self.rows(), "examples": self.examples}


def refuse(report: Report, mode: Literal["refuse", "warn"]) -> None:
    """Raise RefusedError naming every proof that failed, unless the mode is only to warn of it."""
    if not report.failed or mode == "warn":
        return
    told = "; ".join(
        f"{proof.training}, {proof.proof}{f' ({proof.where})' if proof.where else ''}: "
        f"found {proof.found}, expected {proof.expected}"
        for proof in report.failed
    )
    raise RefusedError(
        f"{len(report.failed)} of {len(report.proofs)} proofs failed. {told}. Mend it, or train all the same "
        "with the stage's preflight=warn"
    )
