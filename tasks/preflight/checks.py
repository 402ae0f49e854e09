"""The checks of a preflight, one after another: of a large model each may take a minute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.preflight.report import Proof


@dataclass(frozen=True)
class Check:
    """One check, which has not been made yet; it may have several results."""

    name: str
    prove: Callable[[], Proof | Sequence[Proof]]


def run_checks(checks: Sequence[Check], phase: Callable[[str], None]) -> list[Proof]:
    """Make each check, and tell its name and number before it begins."""
    proofs: list[Proof] = []
    for number, check in enumerate(checks, 1):
        phase(f"check {number} of {len(checks)}: {check.name}")
        found = check.prove()
        proofs += [found] if isinstance(found, Proof) else found
    return proofs
