"""The audit of one judge on rows whose right answers are known."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from tasks.config import AuditConfig
from tasks.errors import StageError, UnreachableError
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Judgement, ask, reasons
from tasks.judge.audit import choices, scores
from tasks.judge.audit.controls import controls
from tasks.judge.audit.document import document
from tasks.judge.audit.gates import verdict_of
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.audit.wording import judge_name
from tasks.judge.protocol.responses import ResponseRow, read_rows, turns_of
from tasks.judge.protocol.scoring_protocols import choice_protocol_of, protocol_of
from tasks.machine.json_files import read_lines, write_lines
from tasks.record.stage import StageRun
from tasks.rows.responses import has_responses


def audit(config: AuditConfig, run: StageRun, *, rows: Path) -> None:
    """Ask the judge about controls made from `test.jsonl` of a rows stage, or from a file of responses.

    The judge is asked about all of them, also about those that the judge stage would decide by itself; and
    of each row about one once more, with the parts in another order and the rule in other words. One who
    chooses is shown them beside the reference instead, in both orders. On a criterion without a reference
    the controls are those that answer nothing, or another question.

    Writes `audit.json` (the verdict, every gate, every kind of control) and `controls.jsonl` (each control
    with its score); aside, `calls.jsonl` and the page `audit.html`.

    Raises StageError when no row has a reference, and when the judge is not there; UnreachableError when
    its server fails on some of the controls, since that says nothing about the judge.
    """
    (scorer,) = config.judges
    known = _rows(rows)
    made = controls(known, config.sample, config.seed, reference_shown=config.reference_shown)
    if not made:
        raise StageError("a judge is audited on rows with a reference answer, and none of these has one")
    if config.mode == "pairwise":
        made, kind, form = choices.shown_beside(made), choices, choice_protocol_of(scorer)
    else:
        kind, form = scores, protocol_of(scorer, config.prompt, config.criterion)
    asked = len({control.row.id for control in made})
    questions = kind.questions(made)
    done = 0

    def finished(_: Judgement) -> None:
        nonlocal done
        done += 1
        run.progress(done, len(questions), "answers", f"{asked} rows")

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
    found = kind.findings(config, made, verdicts)
    verdict = verdict_of(found.gates)
    report = AuditReport(
        scorer=scorer,
        mode=config.mode,
        criterion=config.criterion and config.criterion.name,
        falsifiable=config.reference_shown,
        digest=identity.digest,
        version=identity.version,
        known_by="name" if identity.by_name else "digest",
        form=form.name,
        prompt_version=form.version(),
        refusals=sorted(identity.refusals),
        verdict=verdict,
        rows=asked,
        of=len(known),
        answers=len(questions),
        missing_because=reasons(verdicts),
        gates=found.gates,
        controls=found.kinds,
    )
    report.write(run.out)
    write_lines(run.out / "controls.jsonl", found.lines)
    calls = [call for verdict in verdicts for call in verdict.calls]
    write_lines(run.auxiliary / "calls.jsonl", calls)
    run.log_table(found.lines, "controls.json")
    told = report.as_json()
    run.log_document("audit", document(told), f"{judge_name(told)}: {verdict}")
    measured = {gate["name"]: gate["value"] for gate in found.gates if gate["value"] is not None}
    run.log_metrics({_metric(name): value for name, value in measured.items()})
    run.log_metrics(
        {
            "passed": float(verdict == "pass"),
            "failed": float(verdict == "fail"),
            "rows": asked,
            "calls": sum(not call["cached"] for call in calls),
        }
    )
    run.progress(len(questions), len(questions), "answers", f"{verdict} on {asked} rows")


def _rows(folder: Path) -> list[ResponseRow]:
    """Questions with their references, from either kind of output."""
    if has_responses(folder):
        return read_rows(folder)
    return [
        ResponseRow(
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


def _require_answers(scorer: str, verdicts: Sequence[Judgement]) -> None:
    failed = [verdict for verdict in verdicts if verdict.server_failed]
    if failed:
        raise UnreachableError(
            f"the server of {scorer} failed on {len(failed)} of {len(verdicts)} questions of its audit: "
            f"{failed[0].missing_because}. What was answered is kept; run again to continue."
        )


def _metric(name: str) -> str:
    return name.lower().replace(": ", "_").replace(" ", "_").replace("-", "_")
