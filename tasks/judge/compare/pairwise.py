"""A judge who is shown both responses, in both orders, and says which is better.

A judge who prefers a place contradicts itself when the places are exchanged. Such a row is a tie, and
counted.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from tasks.config import CompareConfig
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Judgement, ask
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.audit.reports import require_as_audited
from tasks.judge.compare.pairs import Pair
from tasks.judge.compare.scores import shown_by, sources_of
from tasks.judge.protocol.responses import DECIDED, kind_of
from tasks.judge.protocol.scoring_protocols import (
    EVEN,
    TOP,
    Question,
    choice_protocol_of,
    contradict,
    over_both_orders,
)
from tasks.judge.score.summary import too_many_missing
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.statistics.intervals import share_of


def choices(
    config: CompareConfig, run: StageRun, pairs: Sequence[Pair], audit: AuditReport
) -> tuple[Json, list[Json], list[Json]]:
    """What the judge of that audit prefers: the numbers over all rows, a line a row, and every call.

    A row's points are 100 where A wins in both orders, 0 where B does, 50 for a tie.
    """
    (scorer,) = config.judges
    form = choice_protocol_of(scorer)
    decided = [_decided(pair) for pair in pairs]
    open_rows = [place for place, points in enumerate(decided) if points is None]
    questions = []  # both orders of a row ask about the row as A has it
    for place in open_rows:
        first, second = pairs[place].a.response, pairs[place].b.response
        questions += [
            Question(replace(pairs[place].a, response=first), second),
            Question(replace(pairs[place].a, response=second), first),
        ]
    done = 0

    def finished(_: Judgement) -> None:
        nonlocal done
        done += 1
        run.progress(done, len(questions), "answers", "both orders")

    with answers_for(config, run) as answers:
        identity, verdicts = asyncio.run(
            ask(config, scorer, form, questions, answers, finished, audited=audit.digest, say=run.say)
        )
    require_as_audited(audit, identity)
    both = {place: (verdicts[2 * at], verdicts[2 * at + 1]) for at, place in enumerate(open_rows)}
    lines = [_line(pair, decided[place], both.get(place)) for place, pair in enumerate(pairs)]
    points = [line["points"] for line in lines]
    asked = [line for line in lines if line["first"] is not None and line["second"] is not None]
    apart = share_of(sum(line["contradicts"] for line in asked), len(asked))
    status = "too_many_missing" if too_many_missing(points, config.max_missing) else "ok"
    if (apart["share"] or 0.0) > config.max_contradictions:
        status = "judge_contradicts_itself"
    chose_first = sum(answer > EVEN for line in asked for answer in (line["first"], TOP - line["second"]))
    others = [None if one is None else TOP - one for one in points]
    summary = {
        "scorer": scorer,
        "kind": "judge",
        "digest": identity.digest,
        "refusals": sorted(identity.refusals),
        "form": form.name,
        "prompt_version": form.version(),
        "decided_in_code": len(pairs) - len(open_rows),
        "contradictions": apart,
        "chose_the_first": share_of(chose_first, 2 * len(asked)),
        **shown_by(config, points, others, status, sources_of(pairs)),
    }
    return summary, lines, [call for verdict in verdicts for call in verdict.calls]


def _decided(pair: Pair) -> float | None:
    """The points of a row that needs no judge: equal responses, and those of which one is worth nothing.

    A response that is the reference itself does not win by that alone: the other may say the same.
    """
    ours, theirs = (DECIDED.get(kind_of(row)) == 0 for row in (pair.a, pair.b))
    if (ours and theirs) or pair.a.response.strip() == pair.b.response.strip():
        return EVEN
    return TOP * theirs if ours or theirs else None


def _line(pair: Pair, decided: float | None, verdicts: tuple[Judgement, Judgement] | None) -> Json:
    """`first` and `second` are A's points in either order; None where the judge was not asked, or failed."""
    first = second = None
    reasons: list[str | None] = [None, None]
    missing = None
    points = decided
    if verdicts:
        forth, back = verdicts
        first = forth.score
        second = None if back.score is None else TOP - back.score
        reasons = [forth.reason, back.reason]
        missing = forth.missing_because or back.missing_because
        if first is not None and second is not None:
            points = over_both_orders(first, second)
    contradicts = first is not None and second is not None and contradict(first, second)
    return {
        "id_a": pair.a.id,
        "id_b": pair.b.id,
        "points": points,
        "first": first,
        "second": second,
        "contradicts": contradicts,
        "reasons": reasons,
        "missing_because": missing,
    }
