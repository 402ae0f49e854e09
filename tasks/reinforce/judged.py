"""Judges among the rewards: asked as the judge stage asks, and only once they have passed their audit."""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from tasks.config import AskConfig, GrpoConfig
from tasks.errors import RefusedError, StageError
from tasks.judge.ask import identities
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Judgement, ask
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.audit.reports import require_as_audited
from tasks.judge.audit.wording import failures
from tasks.judge.protocol.responses import DECIDED, ResponseRow, kind_of, turns_of
from tasks.judge.protocol.scoring_protocols import Question, protocol_of
from tasks.record.stage import StageRun
from tasks.reinforce import rewards
from tasks.reinforce.rewards import Score
from tasks.rows import Row

MAX_MISSING = 0.05
"""The share of responses that a judge may give no score; each of those is worth nothing."""


def fingerprints(config: GrpoConfig) -> dict[str, str]:
    """What rewards come from that is no stage's output: Python files, folders, the judges that answer now."""
    asked = config.asked
    judges = identities.fingerprints(asked) if asked else {}
    return rewards.fingerprints(config) | judges


def judge_scores(config: GrpoConfig, run: StageRun, audits: Iterable[Path]) -> dict[str, Score]:
    """By the names of the rewards, what their judges give, from 0 to 1.

    Raises RefusedError for a judge that failed its audit, or has none.
    """
    if (asked := config.asked) is None:
        return {}
    found = {report.scorer: report for report in map(AuditReport.read, audits) if report.mode == "scores"}
    scores = {}
    for reward in config.rewards:
        if (scorer := reward.judge) is None:
            continue
        if (audit := found.get(scorer)) is None:
            raise RefusedError(
                f"{scorer} has not been audited on these rows, and a model would learn what "
                "it mistakes for good. Run the profile, which audits it first"
            )
        if audit.verdict == "fail":
            raise RefusedError(
                f"{scorer} failed its audit ({failures(audit.as_json())}): it is no reward, because the "
                "model would learn what the judge mistakes for good. Choose another judge, or a metric"
            )
        scores[reward.name] = partial(_asked, asked, run, audit)
    return scores


def _asked(
    config: AskConfig, run: StageRun, audit: AuditReport, responses: Sequence[str], rows: Sequence[Row]
) -> list[float]:
    """The judge's score of every response, or that which needs no judge; kept answers are not asked again.

    Raises StageError when too many have none.
    """
    asked = [
        _response_row(place, response, row)
        for place, (response, row) in enumerate(zip(responses, rows, strict=True))
    ]
    decided = {own.id: DECIDED[kind] for own in asked if (kind := kind_of(own)) in DECIDED}
    questions = [Question(own) for own in asked if own.id not in decided]
    form = protocol_of(audit.scorer, config.prompt)
    with answers_for(config, run) as answers:
        identity, verdicts = asyncio.run(
            ask(config, audit.scorer, form, questions, answers, _nobody_listens, audited=audit.digest)
        )
    require_as_audited(audit, identity)
    _require_scores(audit.scorer, verdicts)
    scores = decided | {
        question.id: verdict.score or 0.0 for question, verdict in zip(questions, verdicts, strict=True)
    }
    return [scores[own.id] / 100 for own in asked]


def _response_row(place: int, response: str, row: Row) -> ResponseRow:
    """Numbered by its place: a group has several responses to one row."""
    before = turns_of(row, f"row {row['id']}")
    fields = row["instruction"], row["input"], row["output"], row["instruction"], response
    return ResponseRow(place, *fields, before=before)


def _require_scores(scorer: str, verdicts: Sequence[Judgement]) -> None:
    missing = [verdict for verdict in verdicts if verdict.score is None]
    if len(missing) > MAX_MISSING * len(verdicts):
        raise StageError(
            f"{scorer} gave {len(missing)} of {len(verdicts)} responses no score: "
            f"{missing[0].missing_because}. What was answered is kept; run again to continue"
        )


def _nobody_listens(_verdict: Judgement) -> None:
    """Scores are told by the step."""
