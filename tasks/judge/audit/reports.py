"""The audits that were made of judges, as the stages that use the judges read them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.config import on
from tasks.errors import StageError
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.protocol.refusals import TEMPERATURE
from tasks.judge.protocol.replies import Identity


def audits_of(names: Sequence[str], folders: Iterable[Path], mode: str = "scores") -> dict[str, AuditReport]:
    """The audit of each judge's scores or choices, from the outputs of audit stages.

    It is by the scorer's name, with the criterion where the judge is asked about one (`tasks.config.on`).

    Raises StageError when a judge has none: it never counts as passed.
    """
    every = map(AuditReport.read, folders)
    found = {on(audit.scorer, audit.criterion): audit for audit in every if audit.mode == mode}
    for name in names:
        if name not in found:
            asked = "" if mode == "scores" else "as a judge who is shown both, "
            raise StageError(
                f"{name} has not been audited {asked}on these rows; what it says would prove nothing"
            )
    return {name: found[name] for name in names}


def is_believed(audit: AuditReport, *, despite_audit: bool) -> bool:
    """Whether a judge may be asked: it did not fail, or was told to count all the same."""
    return audit.verdict != "fail" or despite_audit


def require_as_audited(audit: AuditReport, judge: Identity) -> None:
    """Raises StageError when the judge was audited at temperature 0, and is asked at another one now."""
    if TEMPERATURE in judge.refusals and TEMPERATURE not in audit.refusals:
        raise StageError(
            f"{judge.scorer} was audited at temperature 0, which its server refuses now "
            f"({judge.refusals[TEMPERATURE]}): it is another judge. Audit it again: --refresh audit"
        )
