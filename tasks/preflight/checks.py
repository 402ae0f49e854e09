"""The checks of a preflight, one after another: of a large model each may take a minute."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.preflight.report import CheckResult


@dataclass(frozen=True)
class Check:
    """One check, which has not been made yet; it may have several results."""

    name: str
    check: Callable[[], CheckResult | Sequence[CheckResult]]


def run_checks(checks: Sequence[Check], phase: Callable[[str], None]) -> list[CheckResult]:
    """Make each check, and tell its name and number before it begins."""
    results: list[CheckResult] = []
    for number, check in enumerate(checks, 1):
        phase(f"check {number} of {len(checks)}: {check.name}")
        found = check.check()
        results += [found] if isinstance(found, CheckResult) else found
    return results
