"""The audits that were made of judges, as the stages that use the judges read them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import StageError
from tasks.judge.protocol.refusals import TEMPERATURE
from tasks.judge.protocol.replies import Identity
from tasks.machine.json_files import read_json

Json = dict[str, Any]


def audits_of(judges: Sequence[str], folders: Iterable[Path]) -> dict[str, Json]:
    """The audit of each judge, by its scorer, from the outputs of audit stages.

    Raises StageError when a judge has none: it never counts as passed.
    """
    found = {audit["scorer"]: audit for audit in (read_json(folder / "audit.json") for folder in folders)}
    for scorer in judges:
        if scorer not in found:
            raise StageError(f"{scorer} has not been audited on these rows; what it says would prove nothing")
    return {scorer: found[scorer] for scorer in judges}


def is_believed(audit: Json, *, despite_audit: bool) -> bool:
    """Whether a judge may be asked: it did not fail, or was told to count all the same."""
    return audit["verdict"] != "fail" or despite_audit


def require_as_audited(audit: Json, judge: Identity) -> None:
    """Raises StageError when the judge was audited at temperature 0, and is asked at another one now."""
    if TEMPERATURE in judge.refusals and TEMPERATURE not in audit["refusals"]:
        raise StageError(
            f"{judge.scorer} was audited at temperature 0, which its server refuses now "
            f"({judge.refusals[TEMPERATURE]}): it is another judge. Audit it again: --refresh audit"
        )
