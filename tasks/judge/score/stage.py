"""The judge stage: scores for one file of responses.

A judge never falls back on a metric. A row without a score is missing: counted, shown, and with too many of
them there is no headline. A judge that failed its audit is not asked, unless the configuration says to ask it
despite that.
"""

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.config import PANEL, Criterion, JudgeConfig, on, parts_of
from tasks.errors import UnreachableError
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Judgement, ask, reasons
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.audit.reports import audits_of, is_believed, require_as_audited
from tasks.judge.protocol.criteria import behind, overall
from tasks.judge.protocol.responses import DECIDED, Kind, ResponseRow, has_text, kind_of, read_rows
from tasks.judge.protocol.scoring_protocols import Question, protocol_of
from tasks.judge.score.behaviour import behaviour, behaviour_metrics
from tasks.judge.score.metrics import corpus_bleu, metric_scores, metrics_beside, words_of
from tasks.judge.score.outputs import Judges, ScoreSummary, write_score_lines
from tasks.judge.score.panel import agreement, panel_scores
from tasks.judge.score.summary import category_means, summarise
from tasks.judge.score.traces import log_traces
from tasks.machine.json_files import Json, write_lines
from tasks.record.stage import StageRun

CHRF, BLEU = "metric:chrf", "metric:bleu"
NOT_BELIEVED = "the judge failed its audit"
WHO = ("scorer", "criterion", "digest", "version", "form", "prompt_version")  # of a judge
BESIDE = ("verdict", "rows", "of", "gates", "falsifiable")  # of its audit, beside the scores


@dataclass
class Scored:
    """The rows with everything that is found of them, by scorer and in their order."""

    rows: list[ResponseRow]
    kinds: list[Kind]
    words: list[int]
    scores: dict[str, list[float | None]]
    verdicts: dict[str, list[Judgement]] = field(default_factory=dict)
    """Of the judges, on each criterion where they are asked about some."""
    judges: list[Json] = field(default_factory=list)
    """Who they are, each with its audit."""

    def believes(self, scorer: str) -> bool:
        """Whether a scorer's scores count: where they are made of several, those of each must."""
        return all(judge["believed"] for judge in behind(self.judges, scorer))

    def verdicts_behind(self, scorer: str) -> list[Judgement]:
        """What judges said of which a scorer's scores are made."""
        names = [on(judge["scorer"], judge["criterion"]) for judge in behind(self.judges, scorer)]
        return [verdict for name in names for verdict in self.verdicts[name]]


def judge(config: JudgeConfig, run: StageRun, *, responses: Path, **audits: Path) -> None:
    """Score every row of `responses/responses.jsonl`; `audits` hold the audit of each judge.

    Writes `scores.jsonl` (a line a row, in input order) and `scores.json` (the numbers over all rows), and
    with judges `judge.json` (who judged, by which criteria, and what their audits said) and, aside,
    `calls.jsonl` (every call in full). Rows without a reference have no metric.

    Raises StageError for malformed rows, for a judge without an audit, and when it is not there.
    """
    rows = read_rows(responses)
    run.phase(f"metrics of {len(rows):,} responses")
    metrics = metrics_beside(config.scorers)
    measured = [metric_scores(row.response, row.reference, metrics) for row in rows]
    scored = Scored(
        rows,
        kinds=[kind_of(row) for row in rows],
        words=[len(words_of(row.response)) for row in rows],
        scores={scorer: [own.get(scorer) for own in measured] for scorer in metrics if any(measured)},
    )
    if config.judges:
        names = [on(scorer, criterion and criterion.name) for scorer, criterion in config.asked]
        _ask_judges(config, run, scored, audits_of(names, audits.values()))
    else:
        run.progress(len(rows), len(rows), "rows", "metrics")
    lines = [_line(scored, place) for place in range(len(rows))]
    write_score_lines(run.out, lines)
    run.phase("intervals of the scores")
    _summarise(config, run, scored)
    _show(run, rows, lines)
    if scored.verdicts:
        shown = {scorer: own[: config.traces] for scorer, own in scored.verdicts.items()}
        log_traces(run, rows[: config.traces], shown)


def _ask_judges(
    config: JudgeConfig, run: StageRun, scored: Scored, audits: Mapping[str, AuditReport]
) -> None:
    """Fill in the verdicts of every judge whose scores may count, on every criterion, and their means."""
    for (name, audit), (_, criterion) in zip(audits.items(), config.asked, strict=True):
        believed = is_believed(audit, despite_audit=config.despite_audit)
        verdicts = [Judgement(None, missing_because=NOT_BELIEVED) for _ in scored.rows]
        refusals = audit.refusals
        if believed:
            verdicts, found = _judged(config, run, audit, criterion, scored)
            refusals = sorted({*refusals, *found})
        scored.judges.append(
            {name: getattr(audit, name) for name in WHO}
            | {"refusals": refusals, "believed": believed}
            | {"audit": {name: getattr(audit, name) for name in BESIDE}}
        )
        scored.verdicts[name] = verdicts
        scored.scores[name] = [verdict.score for verdict in verdicts]
    _mean_over_criteria(config, scored)
    Judges(
        despite_audit=config.despite_audit,
        criteria=[criterion.model_dump(mode="json") for criterion in config.criteria],
        judges=scored.judges,
    ).write(run.out)
    calls = [
        {"scorer": name} | call
        for name, own in scored.verdicts.items()
        for verdict in own
        for call in verdict.calls
    ]
    write_lines(run.auxiliary / "calls.jsonl", calls)
    cached = sum(call["cached"] for call in calls)
    run.log_metrics({"calls": len(calls) - cached, "calls_cached": cached})
    if config.headline == PANEL:
        for criterion in (None, *(criterion.name for criterion in config.criteria)):
            names = [on(scorer, criterion) for scorer in config.judges]
            scored.scores[on(PANEL, criterion)] = panel_scores({name: scored.scores[name] for name in names})


def _mean_over_criteria(config: JudgeConfig, scored: Scored) -> None:
    """Fill in the overall scores of every judge that is asked about several things."""
    for scorer in config.judges if config.criteria else ():
        points = {criterion.name: scored.scores[on(scorer, criterion.name)] for criterion in config.criteria}
        scored.scores[scorer] = overall(config.criteria, points)


def _judged(
    config: JudgeConfig, run: StageRun, audit: AuditReport, criterion: Criterion | None, scored: Scored
) -> tuple[list[Judgement], Mapping[str, str]]:
    """A verdict of the audited judge for every row, decided here for those that need no judge.

    With them, what the judge's server refuses. That a response is the reference decides nothing where no
    reference is shown.
    """
    scorer = audit.scorer
    shown = audit.falsifiable
    decided = {
        place: Judgement(DECIDED[kind], f"decided without the judge: the response is {kind}")
        for place, kind in enumerate(scored.kinds)
        if kind in DECIDED and (shown or kind != "identical")
    }
    count = len(scored.rows)
    done, missing = len(decided), 0
    name = f"{on(scorer, audit.criterion)}: " if len(config.asked) > 1 else ""

    def finished(verdict: Judgement) -> None:
        nonlocal done, missing
        done, missing = done + 1, missing + (verdict.score is None)
        run.progress(done, count, "rows", f"{name}{missing} missing")

    run.progress(done, count, "rows", f"{name}{done} decided without the judge")
    questions = [Question(row) for place, row in enumerate(scored.rows) if place not in decided]
    form = protocol_of(scorer, config.prompt, criterion)
    with answers_for(config, run) as answers:
        identity, asked = asyncio.run(
            ask(config, scorer, form, questions, answers, finished, audited=audit.digest, say=run.say)
        )
    require_as_audited(audit, identity)
    _require_server(config, scorer, asked, count)
    replies = iter(asked)
    verdicts = [decided[place] if place in decided else next(replies) for place in range(count)]
    return verdicts, identity.refusals


def _require_server(config: JudgeConfig, scorer: str, asked: Sequence[Judgement], count: int) -> None:
    """Too many rows that a server failed on leave no result, and none may be kept for good.

    Raises UnreachableError.
    """
    failed = [verdict for verdict in asked if verdict.server_failed]
    if failed and len(failed) > config.max_missing * count:
        raise UnreachableError(
            f"the server of {scorer} failed on {len(failed)} of {count} rows: {failed[0].missing_because}. "
            "What was answered is kept; run again to continue."
        )


def _line(scored: Scored, place: int) -> Json:
    """What is known of one row."""
    row = scored.rows[place]
    line = {"id": row.id, "response_kind": scored.kinds[place]}
    line |= {scorer: own[place] for scorer, own in scored.scores.items()}
    line |= {"words": scored.words[place]} | _carried(row)
    own = {scorer: verdicts[place] for scorer, verdicts in scored.verdicts.items()}
    if own:
        line["reason"] = _joined({scorer: verdict.reason for scorer, verdict in own.items()})
        line["missing_because"] = _joined(
            {scorer: verdict.missing_because for scorer, verdict in own.items()}
        )
    return line


def _joined(texts: Mapping[str, str | None]) -> str | None:
    """One judge's words as they are; of several, each under its name."""
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{scorer}: {text}" for scorer, text in texts.items() if text) or None


def _carried(row: ResponseRow) -> Json:
    """What the response brought along, as far as it did."""
    carried = {"source": row.source, "tokens": row.tokens, "cut": row.cut, "reference_perplexity": None}
    if row.reference_loss is not None:
        carried["reference_perplexity"] = math.exp(row.reference_loss)
    return {name: value for name, value in carried.items() if value is not None}


def _summarise(config: JudgeConfig, run: StageRun, scored: Scored) -> None:
    """The numbers over all rows: `scores.json`, and the run's metrics."""
    rows = scored.rows
    entries = {}
    for scorer, values in scored.scores.items():
        judged = not scorer.startswith("metric:")
        entries[scorer] = summarise(
            scorer,
            "judge" if judged else "metric",
            values,
            max_missing=config.max_missing,
            believed=scored.believes(scorer) if judged else True,
            sources=[row.source for row in rows],
            missing_because=reasons(scored.verdicts_behind(scorer)) if judged else _without_reference(rows),
            beside={"words": scored.words}
            | ({CHRF: scored.scores[CHRF]} if judged and CHRF in scored.scores else {}),
        )
    if BLEU in entries:
        known = [row for row in rows if has_text(row.reference)]
        whole = corpus_bleu([row.response for row in known], [row.reference for row in known])
        entries[BLEU]["corpus_bleu"] = whole
        run.log_metrics({"corpus_bleu": whole})
    categories: dict[str, Json] = {}
    for scorer, values in scored.scores.items():
        means = category_means([row.category for row in rows], values, config.max_missing)
        for category, numbers in means.items():
            categories.setdefault(category, {})[scorer] = numbers
    found = behaviour(rows, scored.kinds, scored.words)
    judged = {scorer: scored.scores[scorer] for scorer in config.judges}
    several = len(judged) > 1 and scored.believes(PANEL)
    ids, sources = [row.id for row in rows], [row.source for row in rows]
    agreed = agreement(judged, ids, sources) if several else None
    weights = {criterion.name: criterion.weight for criterion in config.criteria}
    ScoreSummary(
        headline=config.headline,
        scores=list(entries.values()),
        responses=found,
        categories=categories,
        agreement=agreed,
        criteria=weights,
    ).write(run.out)
    for scorer, entry in entries.items():
        prefix = _metric_name(scorer, config.headline)
        numbers = {f"{prefix}_{name}": entry[name] for name in ("mean", "low", "high")}
        run.log_metrics({name: value for name, value in numbers.items() if value is not None})
    headline = entries[config.headline]
    run.log_metrics({name: headline[name] for name in ("rows", "scored", "missing")})
    run.log_metrics(behaviour_metrics(dict(found)))


def _without_reference(rows: Sequence[ResponseRow]) -> list[Json]:
    count = sum(not has_text(row.reference) for row in rows)
    return [{"reason": "the row has no reference", "count": count}] if count else []


def _metric_name(scorer: str, headline: str) -> str:
    """A scorer in the names of MLflow's metrics: the judge that is the headline is `judge`."""
    kind, _, name = scorer.partition(":")
    if kind == "metric":
        return name.replace("-", "_")
    who, criterion = parts_of(scorer)
    name = "judge" if who == headline else "judge_" + re.sub(r"[^\w.-]", "_", who)
    return name if criterion is None else f"{name}_{criterion}"


def _show(run: StageRun, rows: Sequence[ResponseRow], lines: Sequence[Mapping[str, Any]]) -> None:
    """The table of MLflow's UI; a column that some rows lack is empty there, as the table needs them all."""
    columns = dict.fromkeys(name for line in lines for name in line)
    conversations = any(row.before for row in rows)
    table = [
        ({"before": [turn._asdict() for turn in row.before]} if conversations else {})
        | {"instruction": row.instruction, "input": row.input, "reference": row.reference}
        | {"response": row.response}
        | {name: line.get(name) for name in columns}
        for row, line in zip(rows, lines, strict=True)
    ]
    run.log_table(table, "scores.json")
