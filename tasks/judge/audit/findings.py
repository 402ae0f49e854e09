"""What an audit found, as it stands in its outputs: gates, kinds of controls, and a line a control."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.judge.ask.asking import Judgement
from tasks.judge.audit.controls import KINDS, Control
from tasks.judge.protocol.scoring_protocols import Question
from tasks.machine.json_files import Json


@dataclass(frozen=True)
class Findings:
    gates: list[Json]
    kinds: list[Json]
    lines: list[Json]


def kind_of(kind: str, scores: Mapping[int, float | None], left_out: int) -> Json:
    """What a kind was given, and of how many rows it could not be made."""
    present = [score for score in scores.values() if score is not None]
    return {
        "kind": kind,
        "group": KINDS[kind],
        "count": len(scores),
        "missing": len(scores) - len(present),
        "left_out": left_out,
        "mean": float(np.mean(present)) if present else None,
        "lowest": min(present, default=None),
        "highest": max(present, default=None),
    }


def masses(questions: Sequence[Question], verdicts: Sequence[Judgement]) -> list[float]:
    """What the labels have of a judge's probability, the mean of each row's answers; of some judges none."""
    by_row: dict[int, list[float]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        if verdict.mass is not None:
            by_row.setdefault(question.row.id, []).append(verdict.mass)
    return [float(np.mean(own)) for own in by_row.values()]


def line_of(
    control: Control,
    score: float | None,
    reason: str | None,
    missing_because: str | None,
    masses: Sequence[float | None] = (),
) -> Json:
    """A control with its score; of two that were shown, the reference's points over both orders.

    `masses` are, of every answer, what its labels have of the judge's probability; the least is told.
    """
    known = [mass for mass in masses if mass is not None]
    row = control.row
    return {
        "id": row.id,
        "kind": control.kind,
        "group": control.group,
        "instruction": row.instruction,
        "input": row.input,
        "reference": row.reference,
        "response": row.response,
        "score": score,
        "reason": reason,
        "missing_because": missing_because,
        **({"mass": min(known)} if known else {}),
    }
