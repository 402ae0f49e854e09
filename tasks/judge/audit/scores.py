"""The audit of a judge who gives scores: what the controls are given."""

from collections import Counter
from collections.abc import Sequence

from tasks.config import AuditConfig
from tasks.judge.ask.asking import Judgement
from tasks.judge.audit.controls import KINDS, UNSHOWN, Control
from tasks.judge.audit.findings import Findings, kind_of, line_of, masses
from tasks.judge.audit.gates import Resampling, gates
from tasks.judge.protocol.scoring_protocols import Question


def questions(made: Sequence[Control]) -> list[Question]:
    """Each control; then of each row one once more, with its parts in another order."""
    return [
        *(Question(control.row) for control in made),
        *(Question(control.row, reordered=True) for control in _asked_twice(made)),
    ]


def findings(config: AuditConfig, made: Sequence[Control], verdicts: Sequence[Judgement]) -> Findings:
    """What the answers to the questions show."""
    first = dict(zip(((control.kind, control.row.id) for control in made), verdicts, strict=False))
    scores = {
        kind: {
            row: verdict.score
            for (its_kind, row), verdict in first.items()
            if its_kind == kind and not verdict.not_read
        }
        for kind in KINDS
    }
    again = [
        (first[control.kind, control.row.id].score, verdict.score)
        for control, verdict in zip(_asked_twice(made), verdicts[len(made) :], strict=True)
        if not verdict.not_read
    ]
    not_read = [verdict.not_read for verdict in verdicts]
    how = Resampling(config.resamples, config.seed)
    rows, counts = len({control.row.id for control in made}), Counter(control.kind for control in made)
    unread = [kind for kind in counts if not scores[kind]]
    of_labels = masses(questions(made), verdicts)
    shown = config.reference_shown
    return Findings(
        gates(config.gates, scores, again, how, not_read, unread, of_labels, reference_shown=shown),
        [kind_of(kind, own, rows - counts[kind]) for kind, own in scores.items() if shown or kind in UNSHOWN],
        [
            line_of(control, verdict.score, verdict.reason, verdict.missing_because, [verdict.mass])
            for control, verdict in zip(made, verdicts, strict=False)
        ],
    )


def _asked_twice(made: Sequence[Control]) -> list[Control]:
    """One control of each row, of another kind from row to row; a bad one, about which nobody wavers, only
    where there is no other."""
    by_row: dict[int, list[Control]] = {}
    telling = [control for control in made if control.group != "bad"]
    for control in telling or made:
        by_row.setdefault(control.row.id, []).append(control)
    return [own[place % len(own)] for place, own in enumerate(by_row.values())]
