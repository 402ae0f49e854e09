"""Scoring responses: the reference metrics always, and a judge beside them when one is configured.

The judge never falls back on a metric. A row without a score is missing: counted, shown, and with too
many of them there is no headline.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.config import JudgeConfig
from tasks.json_files import write_json, write_lines
from tasks.judge import prompts
from tasks.judge.behaviour import behaviour, behaviour_metrics
from tasks.judge.journal import Journal, Verdict
from tasks.judge.metrics import METRICS, corpus_bleu, metric_scores, words_of
from tasks.judge.responses import DECIDED, Kind, Row, kind_of, read_rows
from tasks.judge.statistics import category_means, summarise
from tasks.judge.verdicts import verdicts_on
from tasks.record import StageRun

Scores = dict[str, list[float | None]]
"""By scorer name: the score of each row, 0 to 100, or None where it is missing."""


def judge(config: JudgeConfig, run: StageRun, *, responses: Path) -> None:
    """Score every row of `responses/responses.jsonl`.

    Writes `scores.jsonl` (a line a row, in input order) and `scores.json` (the numbers over all rows), and
    with a judge `judge.json` (who judged) and, aside, `calls.jsonl` (every call in full).

    Raises StageError for malformed rows, and when the judge's server or model is not there.
    """
    rows = read_rows(responses / "responses.jsonl")
    kinds = [kind_of(row) for row in rows]
    measured = [metric_scores(row.response, row.reference) for row in rows]
    scores: Scores = {scorer: [own[scorer] for own in measured] for scorer in METRICS}
    words = [len(words_of(row.response)) for row in rows]
    lines = [
        {"id": row.id, "response_kind": kind, **own, "words": length, **_carried(row)}
        for row, kind, own, length in zip(rows, kinds, measured, words, strict=True)
    ]
    if config.scorer in METRICS:
        run.progress(len(rows), len(rows), "rows", "metrics")
    else:
        verdicts = _judged(config, run, rows, kinds)
        scores[config.scorer] = [verdict.score for verdict in verdicts]
        for line, verdict in zip(lines, verdicts, strict=True):
            line[config.scorer] = verdict.score
            line |= {"reason": verdict.reason, "missing_because": verdict.missing_because}
    write_lines(run.out / "scores.jsonl", lines)
    found = behaviour(rows, kinds, words, config.resamples, config.seed)
    _summarise(config, run, rows, scores, found)
    _show(run, rows, lines)


def _carried(row: Row) -> dict[str, Any]:
    """What the response brought along, as far as it did."""
    carried = {"tokens": row.tokens, "cut": row.cut, "reference_perplexity": None}
    if row.reference_loss is not None:
        carried["reference_perplexity"] = math.exp(row.reference_loss)
    return {name: value for name, value in carried.items() if value is not None}


def _judged(config: JudgeConfig, run: StageRun, rows: Sequence[Row], kinds: Sequence[Kind]) -> list[Verdict]:
    """A verdict for every row: decided here for those that need no judge, asked for the others."""
    decided = {
        index: Verdict(DECIDED[kind], f"decided without the judge: the response is {kind}")
        for index, kind in enumerate(kinds)
        if kind in DECIDED
    }
    open_rows = [index for index in range(len(rows)) if index not in decided]
    done, missing = len(decided), 0

    def finished(verdict: Verdict) -> None:
        nonlocal done, missing
        done, missing = done + 1, missing + (verdict.score is None)
        run.progress(done, len(rows), "rows", f"{missing} missing")

    run.progress(done, len(rows), "rows", f"{done} decided without the judge")
    with Journal(run.checkpoint / "judge.jsonl") as journal:
        identity, asked = asyncio.run(verdicts_on(config, [rows[i] for i in open_rows], journal, finished))
        journal.write_calls(run.aside / "calls.jsonl")
    who = {"scorer": config.scorer} | asdict(identity) | {"prompt_version": prompts.prompt_version()}
    write_json(run.out / "judge.json", who)
    by_index = decided | dict(zip(open_rows, asked, strict=True))
    return [by_index[index] for index in range(len(rows))]


def _summarise(
    config: JudgeConfig, run: StageRun, rows: Sequence[Row], scores: Scores, found: Mapping[str, Any]
) -> None:
    """The numbers over all rows: `scores.json`, and the run's metrics."""
    summaries = {
        scorer: summarise(
            scorer,
            "metric" if scorer in METRICS else "judge",
            values,
            max_missing=config.max_missing,
            resamples=config.resamples,
            seed=config.seed,
        )
        for scorer, values in scores.items()
    }
    whole = corpus_bleu([row.response for row in rows], [row.reference for row in rows])
    summaries["metric:bleu"]["corpus_bleu"] = whole
    categories: dict[str, dict[str, Any]] = {}
    for scorer, values in scores.items():
        means = category_means([row.category for row in rows], values, config.max_missing)
        for category, numbers in means.items():
            categories.setdefault(category, {})[scorer] = numbers
    write_json(
        run.out / "scores.json",
        {
            "headline": config.scorer,
            "scores": list(summaries.values()),
            "responses": found,
            "categories": categories,
        },
    )
    for scorer, summary in summaries.items():
        prefix = "judge" if summary["kind"] == "judge" else scorer.partition(":")[2].replace("-", "_")
        numbers = {f"{prefix}_{name}": summary[name] for name in ("mean", "low", "high")}
        run.log_metrics({name: value for name, value in numbers.items() if value is not None})
    headline = summaries[config.scorer]
    run.log_metrics({name: headline[name] for name in ("rows", "scored", "missing")})
    run.log_metrics({"corpus_bleu": whole, **behaviour_metrics(dict(found))})


def _show(run: StageRun, rows: Sequence[Row], lines: Sequence[Mapping[str, Any]]) -> None:
    """The table of MLflow's UI; a column that some rows lack is empty there, as the table needs them all."""
    columns = dict.fromkeys(name for line in lines for name in line)
    table = [
        {"instruction": row.instruction, "input": row.input, "reference": row.reference}
        | {"response": row.response}
        | {name: line.get(name) for name in columns}
        for row, line in zip(rows, lines, strict=True)
    ]
    run.log_table(table, "scores.json")
