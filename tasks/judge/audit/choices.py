"""The audit of a judge who is shown two responses: does it prefer the reference to its own weakened forms?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tasks.config import AuditConfig
from tasks.judge.ask.asking import Judgement
from tasks.judge.audit.controls import KINDS, LIKE_ANSWER, SMALL, WRONG, WRONG_INJECTION, Control
from tasks.judge.audit.findings import Findings, kind_of, line_of, masses
from tasks.judge.audit.gates import Resampling, counted, failed_unread, gate_of, mass_gates, measured_kinds
from tasks.judge.protocol.scoring_protocols import EVEN, TOP, Question, over_both_orders

BESIDE = (WRONG, WRONG_INJECTION, *SMALL, LIKE_ANSWER, "first-half", "shuffled")
"""Kinds of controls that are shown beside the reference; of absurd ones no two responses consist."""


def shown_beside(made: Sequence[Control]) -> list[Control]:
    """The controls that a judge is shown beside the reference."""
    return [control for control in made if control.kind in BESIDE]


def questions(made: Sequence[Control]) -> list[Question]:
    """Each control beside the reference, which is shown first, and then second."""
    asked = []
    for control in made:
        right, response = replace(control.row, response=control.row.reference), control.row.response
        asked += [Question(right, response), Question(control.row, control.row.reference)]
    return asked


def findings(config: AuditConfig, made: Sequence[Control], verdicts: Sequence[Judgement]) -> Findings:
    """What the answers to the questions show: the points of the reference over both orders, kind by kind."""
    scores: dict[str, dict[int, float | None]] = {kind: {} for kind in BESIDE}
    lines = []
    for place, control in enumerate(made):
        forth, back = verdicts[2 * place : 2 * place + 2]
        points = _points(forth, back)
        if not (forth.not_read or back.not_read):
            scores[control.kind][control.row.id] = points
        because = forth.missing_because or back.missing_because
        lines.append(line_of(control, points, forth.reason, because, [forth.mass, back.mass]))
    rows, counts = len({control.row.id for control in made}), Counter(control.kind for control in made)
    kinds = [kind_of(kind, own, rows - counts[kind]) for kind, own in scores.items()]
    how = Resampling(config.resamples, config.seed)
    of_labels = mass_gates(config.choice_gates.mass, masses(questions(made), verdicts), how)
    return Findings([*_gates(config, scores, counts, rows, verdicts), *of_labels], kinds, lines)


def _points(forth: Judgement, back: Judgement) -> float | None:
    """Those of the reference; None where it was not chosen in both orders."""
    if forth.score is None or back.score is None:
        return None
    return over_both_orders(forth.score, TOP - back.score)


def _gates(
    config: AuditConfig,
    scores: Mapping[str, Mapping[int, float | None]],
    counts: Mapping[str, int],
    rows: int,
    verdicts: Sequence[Judgement],
) -> list[dict[str, Any]]:
    limits = config.choice_gates
    by_group = {"bad": limits.wrong, "plausible": limits.plausible, "weakened": limits.weakened}
    not_won = {}
    for kind, own in scores.items():
        found = counted([points <= EVEN for points in own.values() if points is not None], asked=len(own))
        needed = kind == WRONG or len(own) == rows
        name, gate = f"does not win against {kind}", by_group[KINDS[kind]]
        not_won[kind] = gate_of(name, gate, found, "share", fails_from=True, needed=needed)
    unread = [kind for kind in counts if not scores[kind]]
    not_read = [verdict.not_read for verdict in verdicts]
    without = [verdict.score is None for verdict in verdicts if not verdict.not_read]
    return [
        *(failed_unread(gate, unread) for gate in not_won.values()),
        measured_kinds(limits.small_kinds, (not_won[kind] for kind in SMALL)),
        gate_of("answers without a choice", limits.unparsed, counted(without, asked=len(verdicts)), "share"),
        gate_of("prompts that did not fit", limits.unparsed, counted(not_read), "share"),
    ]
