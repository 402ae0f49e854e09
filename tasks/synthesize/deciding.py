"""What a metric or an audited judge decides on rows: which of two answers is better, and what is grounded."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.config import SynthesizeConfig
from tasks.errors import RefusedError, UnreachableError
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Judgement, ask
from tasks.judge.audit.reports import audits_of, require_as_audited
from tasks.judge.audit.wording import failures
from tasks.judge.protocol.responses import ResponseRow
from tasks.judge.protocol.scoring_protocols import Question, protocol_of
from tasks.judge.score.metrics import METRICS
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.synthesize.filters import Candidate, Filter
from tasks.synthesize.making import Source

TOP = 100.0


class Decider:
    """The judge that decides, if one does; its audit is looked at before anything is asked."""

    def __init__(self, config: SynthesizeConfig, run: StageRun, audits: Mapping[str, Path]) -> None:
        """Raises StageError for a judge without an audit, RefusedError for one that failed it."""
        self.calls: list[Json] = []
        self.told: Json | None = None
        self._config, self._run = config, run
        self._audit = None
        for name, audit in audits_of(config.judges, audits.values()).items():
            if audit.verdict == "fail":
                raise RefusedError(
                    f"{name} failed its audit ({failures(audit.as_json())}), so it decides on no row. Name "
                    "another judge, or a rule: synthesize.order_by=metric:chrf, synthesize.grounded_by=words"
                )
            self._audit = audit
            self.told = {"judge": name, "digest": audit.digest, "verdict": audit.verdict, "rows": audit.rows}

    def filters(self, sources: Sequence[Source]) -> dict[str, Filter]:
        config = self._config
        if config.kind == "preferences":
            return {"order": lambda left: self._order(left, sources)}
        if config.kind == "questions" and config.judges:
            return {"grounded": self._grounded}
        return {}

    def _order(self, left: Sequence[Candidate], sources: Sequence[Source]) -> Mapping[int, str]:
        """Make the better answer of each row the chosen one."""
        rows = [sources[one.task.source] for one in left]
        asked = [
            ResponseRow(2 * place + number, row.instruction, row.input, row.reference, "", answer)
            for place, (one, row) in enumerate(zip(left, rows, strict=True))
            for number, answer in enumerate(one.answers)
        ]
        scores = self._scores(asked, self._config.order_by)
        reasons = {}
        for place, one in enumerate(left):
            (first, why), (second, other) = scores[2 * place : 2 * place + 2]
            if first is None or second is None:
                reasons[place] = f"no score of an answer: {why or other}"
                continue
            if second > first:
                one.row = one.row | {"chosen": one.row["rejected"], "rejected": one.row["chosen"]}
            one.scores = {
                "chosen": round(max(first, second), 2),
                "rejected": round(min(first, second), 2),
                "first_is_chosen": float(first >= second),
            }
            if one.row["chosen"].strip() == one.row["rejected"].strip():
                reasons[place] = "both answers are the same"
            elif abs(first - second) < self._config.margin or first == second:
                apart = f"{abs(first - second):.1f} points apart"
                reasons[place] = f"the answers are {apart}, less than {self._config.margin:g}"
        return reasons

    def _grounded(self, left: Sequence[Candidate]) -> Mapping[int, str]:
        """By what the judge says of an answer when it is shown the passage as what is known to be right."""
        asked = [
            ResponseRow(one.task.id, one.row["instruction"], "", one.passage, "", one.row["output"])
            for one in left
        ]
        reasons = {}
        for place, (score, why) in enumerate(self._scores(asked, self._config.grounded_by)):
            if score is None:
                reasons[place] = f"no score of the answer: {why}"
                continue
            left[place].scores = {"grounded": round(score / TOP, 4)}
            if score < TOP * self._config.grounded:
                reasons[place] = f"the judge gives the answer {score:.0f} of 100 by its passage"
        return reasons

    def _scores(self, rows: Sequence[ResponseRow], scorer: str) -> list[tuple[float | None, str]]:
        if scorer in METRICS:
            return [(METRICS[scorer](row.response, row.reference), "") for row in rows]
        verdicts = self._judged(rows, scorer)
        return [(verdict.score, verdict.missing_because or "") for verdict in verdicts]

    def _judged(self, rows: Sequence[ResponseRow], scorer: str) -> list[Judgement]:
        """Raises UnreachableError when the judge's server fails."""
        config, run, audit = self._config.judging(), self._run, self._audit
        done = 0

        def finished(_: Judgement) -> None:
            nonlocal done
            done += 1
            run.progress(done, len(rows), "answers", f"judged by {scorer}")

        with answers_for(config, run) as answers:
            identity, verdicts = asyncio.run(
                ask(
                    config,
                    scorer,
                    protocol_of(scorer, config.prompt),
                    [Question(row) for row in rows],
                    answers,
                    finished,
                    audited=audit.digest,
                    say=run.say,
                )
            )
        require_as_audited(audit, identity)
        self.calls += [call for verdict in verdicts for call in verdict.calls]
        if failed := [verdict for verdict in verdicts if verdict.server_failed]:
            raise UnreachableError(
                f"the server of {scorer} failed on {len(failed)} of {len(rows)} answers: "
                f"{failed[0].missing_because}. What was answered is kept; run again to continue."
            )
        return verdicts
