"""Scoring responses: the reference metric always, and a judge beside it when one is configured.

The judge never falls back on the metric. A row without a score is missing: counted, shown, and with too
many of them there is no headline.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.config import JudgeConfig
from tasks.judge import prompts
from tasks.judge.journal import Journal, Verdict
from tasks.judge.metric import SCORER as METRIC
from tasks.judge.metric import chrf
from tasks.judge.responses import DECIDED, Kind, Row, kind_of, read_rows
from tasks.judge.statistics import category_means, summarise
from tasks.judge.verdicts import verdicts_on
from tasks.record import StageRun


def judge(config: JudgeConfig, run: StageRun, *, responses: Path) -> None:
    """Score every row of `responses/responses.jsonl`.

    Writes `scores.jsonl` (a line a row, in input order) and `scores.json` (the numbers over all rows), and
    with a judge `judge.json` (who judged) and, aside, `calls.jsonl` (every call in full).

    Raises StageError for malformed rows, and when the judge's server or model is not there.
    """
    rows = read_rows(responses / "responses.jsonl")
    kinds = [kind_of(row) for row in rows]
    scores: dict[str, list[float | None]] = {METRIC: [chrf(row.response, row.reference) for row in rows]}
    lines: list[dict[str, Any]] = [
        {"id": row.id, "response_kind": kind, METRIC: score}
        for row, kind, score in zip(rows, kinds, scores[METRIC], strict=True)
    ]
    if config.scorer == METRIC:
        run.progress(len(rows), len(rows), "rows", "chrF++")
    else:
        verdicts = _judged(config, run, rows, kinds)
        scores[config.scorer] = [verdict.score for verdict in verdicts]
        for line, verdict in zip(lines, verdicts, strict=True):
            line[config.scorer] = verdict.score
            line |= {"reason": verdict.reason, "missing_because": verdict.missing_because}
    _write_lines(run.out / "scores.jsonl", lines)
    _report(config, run, rows, scores, lines)


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
    _write_json(run.out / "judge.json", who)
    by_index = decided | dict(zip(open_rows, asked, strict=True))
    return [by_index[index] for index in range(len(rows))]


def _report(
    config: JudgeConfig,
    run: StageRun,
    rows: Sequence[Row],
    scores: Mapping[str, list[float | None]],
    lines: Sequence[Mapping[str, Any]],
) -> None:
    """The numbers over all rows: `scores.json`, the run's metrics, and the table of the UI."""
    summaries = [
        summarise(
            scorer,
            "metric" if scorer == METRIC else "judge",
            values,
            max_missing=config.max_missing,
            resamples=config.resamples,
            seed=config.seed,
        )
        for scorer, values in scores.items()
    ]
    categories: dict[str, dict[str, Any]] = {}
    for scorer, values in scores.items():
        means = category_means([row.category for row in rows], values, config.max_missing)
        for category, numbers in means.items():
            categories.setdefault(category, {})[scorer] = numbers
    _write_json(
        run.out / "scores.json",
        {"headline": config.scorer, "scores": summaries, "categories": categories},
    )
    for summary in summaries:
        prefix = "chrf" if summary["kind"] == "metric" else "judge"
        numbers = {f"{prefix}_{name}": summary[name] for name in ("mean", "low", "high")}
        run.log_metrics({name: value for name, value in numbers.items() if value is not None})
    headline = summaries[-1]  # the metric stands first, a judge after it
    run.log_metrics({name: headline[name] for name in ("rows", "scored", "missing")})
    table = [
        {"instruction": row.instruction, "input": row.input, "reference": row.reference}
        | {"response": row.response}
        | dict(line)
        for row, line in zip(rows, lines, strict=True)
    ]
    run.log_table(table, "scores.json")


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_lines(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
