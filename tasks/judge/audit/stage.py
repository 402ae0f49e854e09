"""The audit of one judge on rows whose right answers are known."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.config import AuditConfig
from tasks.errors import StageError, UnreachableError
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Verdict, ask, reasons
from tasks.judge.audit.controls import KINDS, Control, controls
from tasks.judge.audit.gates import Resampling, gates, verdict_of
from tasks.judge.audit.page import as_markdown
from tasks.judge.protocol.forms import Question, form_of
from tasks.judge.protocol.responses import RESPONSES, Row, read_rows, turns_of
from tasks.machine.json_files import read_lines, write_json, write_lines
from tasks.record.stage import StageRun

Json = dict[str, Any]


def audit(config: AuditConfig, run: StageRun, *, rows: Path) -> None:
    """Ask the judge about controls made from `test.jsonl` of a rows stage, or from a file of responses.

    The judge is asked about all of them, also about those that the judge stage would decide by itself.
    Writes `audit.json` (the verdict, every gate, every kind of control) and `controls.jsonl` (each control
    with its score); aside, `calls.jsonl`.

    Raises StageError when no row has a reference, and when the judge is not there; UnreachableError when
    its server fails on some of the controls, since that says nothing about the judge.
    """
    (scorer,) = config.judges
    known = _rows(rows)
    asked = controls(known, config.sample, config.seed)
    if not asked:
        raise StageError("a judge is audited on rows with a reference answer, and none of these has one")
    chosen = list(dict.fromkeys(control.row.id for control in asked))
    twice = _asked_twice(asked, chosen)
    questions = [Question(control.row) for control in asked]
    questions += [Question(control.row, again=1) for control in twice]
    done = 0

    def finished(_: Verdict) -> None:
        nonlocal done
        done += 1
        run.progress(done, len(questions), "answers", f"{len(chosen)} rows")

    form = form_of(scorer, config.prompt)
    with answers_for(config, run) as answers:
        identity, verdicts = asyncio.run(
            ask(
                config,
                scorer,
                form,
                questions,
                answers,
                finished,
                expected=run.fingerprints.get(scorer),
                say=run.say,
            )
        )
    _require_answers(scorer, verdicts)
    first = dict(zip(((control.kind, control.row.id) for control in asked), verdicts, strict=False))
    second = verdicts[len(asked) :]
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
        for control, verdict in zip(twice, second, strict=True)
        if not verdict.not_read
    ]
    not_read = [verdict.not_read for verdict in verdicts]
    how = Resampling(config.resamples, config.seed)
    found = gates(config.gates, scores, again, how, not_read, _masses(questions, verdicts))
    verdict = verdict_of(found)
    report = {
        "scorer": scorer,
        "digest": identity.digest,
        "version": identity.version,
        "known_by": "name" if identity.by_name else "digest",
        "form": form.name,
        "prompt_version": form.version(),
        "refusals": sorted(identity.refusals),
        "verdict": verdict,
        "rows": len(chosen),
        "of": len(known),
        "answers": len(questions),
        "missing_because": reasons(verdicts),
        "gates": found,
        "controls": [_kind(kind, own) for kind, own in scores.items() if own],
    }
    write_json(run.out / "audit.json", report)
    write_lines(run.out / "controls.jsonl", map(_line, asked, verdicts))
    calls = [call for verdict in verdicts for call in verdict.calls]
    write_lines(run.aside / "calls.jsonl", calls)
    run.log_table([_line(*pair) for pair in zip(asked, verdicts, strict=False)], "controls.json")
    run.log_page("audit", as_markdown(report), f"{scorer}: {verdict}")
    run.log_metrics({_metric(gate["name"]): gate["value"] for gate in found if gate["value"] is not None})
    run.log_metrics(
        {
            "passed": float(verdict == "pass"),
            "failed": float(verdict == "fail"),
            "rows": len(chosen),
            "calls": sum(not call["cached"] for call in calls),
        }
    )
    run.progress(len(questions), len(questions), "answers", f"{verdict} on {len(chosen)} rows")


def _rows(folder: Path) -> list[Row]:
    """Questions with their references, from either kind of output."""
    if (folder / RESPONSES).is_file():
        return read_rows(folder / RESPONSES)
    return [
        Row(
            id=row["id"],
            instruction=row["instruction"],
            input=row["input"],
            reference=row["output"],
            prompt="",
            response="",
            category=row.get("category"),
            source=row.get("source"),
            before=turns_of(row, f"test.jsonl, row {row['id']}"),
        )
        for row in read_lines(folder / "test.jsonl")
    ]


def _asked_twice(asked: Sequence[Control], rows: Sequence[int]) -> list[Control]:
    """One control of each row, of another kind from row to row."""
    by_row: dict[int, list[Control]] = {}
    for control in asked:
        by_row.setdefault(control.row.id, []).append(control)
    return [by_row[row][place % len(by_row[row])] for place, row in enumerate(rows)]


def _masses(questions: Sequence[Question], verdicts: Sequence[Verdict]) -> list[float]:
    """What the labels have of a judge's probability, the mean of each row's answers; of some judges none."""
    by_row: dict[int, list[float]] = {}
    for question, verdict in zip(questions, verdicts, strict=True):
        if verdict.mass is not None:
            by_row.setdefault(question.row.id, []).append(verdict.mass)
    return [float(np.mean(own)) for own in by_row.values()]


def _require_answers(scorer: str, verdicts: Sequence[Verdict]) -> None:
    failed = [verdict for verdict in verdicts if verdict.server_failed]
    if failed:
        raise UnreachableError(
            f"the server of {scorer} failed on {len(failed)} of {len(verdicts)} questions of its audit: "
            f"{failed[0].missing_because}. What was answered is kept; run again to continue."
        )


def _kind(kind: str, scores: Mapping[int, float | None]) -> Json:
    present = [score for score in scores.values() if score is not None]
    return {
        "kind": kind,
        "group": KINDS[kind],
        "count": len(scores),
        "missing": len(scores) - len(present),
        "mean": float(np.mean(present)) if present else None,
        "lowest": min(present, default=None),
        "highest": max(present, default=None),
    }


def _line(control: Control, verdict: Verdict) -> Json:
    row = control.row
    return {
        "id": row.id,
        "kind": control.kind,
        "group": control.group,
        "instruction": row.instruction,
        "input": row.input,
        "reference": row.reference,
        "response": row.response,
        "score": verdict.score,
        "reason": verdict.reason,
        "missing_because": verdict.missing_because,
        **({} if verdict.mass is None else {"mass": verdict.mass}),
    }


def _metric(name: str) -> str:
    return name.lower().replace(": ", "_").replace(" ", "_").replace("-", "_")
