"""Judges outside a pipeline: audited on rows, and asked about responses that any tool wrote."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.crash_hooks import CRASH_HOOKS
from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.judging.audits import audit_reports, audits, refusal, score_entries, unread
from flows.process.console import console
from flows.process.states import failed
from tasks.config import AskConfig, AuditConfig, Criterion, DownloadConfig, JudgeConfig, ResponsesConfig
from tasks.errors import TouchstoneError
from tasks.judge.ask.identities import made_ready
from tasks.judge.audit.wording import audit_name, failures, judge_name

JUDGED = "judge"  # the value of the tag touchstone.kind on the run of a file that was judged
Refresh = Annotated[
    Sequence[str],
    Field(title="Refresh", description="stages to do again though they were done"),
]


def find_judges(config: AskConfig) -> None:
    """See that every judge is there before anything takes time; one that may be pulled is pulled first.

    Raises StageError when one is not there.
    """
    if not config.judges:
        return
    label, started = "find judges", time.monotonic()
    console.begin(label)
    outcome, style = "failed", "red"
    try:
        found = made_ready(config, lambda *progress: console.progress(label, *progress))
        told = ", ".join(f"{identity.scorer} {identity.digest[:12]}" for identity in found)
        console.progress(label, len(found), len(found), "judges", told)
        outcome, style = "done", "green"
    finally:
        console.end(label, outcome, time.monotonic() - started, style)


@flow(
    name="touchstone-judge",
    flow_run_name="judge {name}",
    description="Audit the judges, then score responses that any tool wrote",
    persist_result=False,
    **CRASH_HOOKS,
)
def judging(
    name: Annotated[str, Field(title="Name", description="what the responses are called in the scores")],
    source: Annotated[DownloadConfig, Field(title="File", description="where the responses are")],
    responses: Annotated[ResponsesConfig, Field(title="Reading", description="what its columns are called")],
    config: Annotated[JudgeConfig, Field(title="Judge", description="who judges, and how it is asked")],
    refresh: Refresh = (),
) -> State | dict[str, Any]:
    """Score a file of responses; returns what `touchstone judge --json` prints, or a failed state."""
    started = time.monotonic()
    settings = {
        part: value.model_dump(mode="json")
        for part, value in {"source": source, "responses": responses, "judge": config}.items()
    }
    try:
        with pipeline_run(f"judge {name}", settings, refresh, JUDGED) as chain:
            answered = chain.run("download", source, "download responses")
            rows = chain.run("responses", responses, source=answered)
            audited = audits(chain, config, rows)
            scores = chain.run("judge", config, responses=rows, **audited)
            summary = read_output(chain.tracking, scores, "scores.json")
            told = {
                "scores": score_entries(name, summary),
                "summary": summary,
                "despite_audit": config.despite_audit,
                "audits": audit_reports(chain, audited),
            }
            return finished(chain, started, told, refusal(chain, audited, config) or unread(summary))
    except TouchstoneError as error:
        return failed(error)


@flow(
    name="touchstone-audit",
    flow_run_name="audit {config.scorer}",
    description="Ask a judge about answers of known worth: is it to be believed?",
    persist_result=False,
    **CRASH_HOOKS,
)
def auditing(
    source: Annotated[
        DownloadConfig, Field(title="Rows", description="instructions with their right answers")
    ],
    columns: Annotated[
        dict[str, str], Field(title="Columns", description="what its columns are called: output: answer")
    ],
    config: Annotated[AuditConfig, Field(title="Judge", description="who is audited, and by which gates")],
    criteria: Annotated[
        Sequence[Criterion],
        Field(title="Criteria", description="what it is asked, an audit each; none: what the reference says"),
    ] = (),
    refresh: Refresh = (),
) -> State | dict[str, Any]:
    """Audit a judge, on each criterion of several; returns what `touchstone audit --json` prints."""
    started = time.monotonic()
    configs = [config.model_copy(update={"criterion": own.unweighted}) for own in criteria] or [config]
    settings = {
        "source": source.model_dump(mode="json"),
        "audit": config.model_dump(mode="json"),
        "criteria": [own.model_dump(mode="json") for own in criteria],
    }
    try:
        with pipeline_run(f"audit {config.scorer}", settings, refresh, "audit") as chain:
            downloaded = chain.run("download", source, "download rows")
            needs_reference = any(own.reference_shown for own in configs)
            questions = ResponsesConfig(
                columns=columns, needs_response=False, needs_reference=needs_reference
            )
            rows = chain.run("responses", questions, "rows", source=downloaded)
            made = {}
            for own in configs:
                label = f"audit {own.criterion.name}" if own.criterion else "audit"
                made[label] = chain.run("audit", own, label, rows=rows)
            reports = audit_reports(chain, made)
            error = "; ".join(
                f"{judge_name(report)} failed {audit_name(report)}: {failures(report)}"
                for report in reports
                if report["verdict"] == "fail"
            )
            told = _on_all(config.scorer, reports) if criteria else reports[0]
            return finished(chain, started, told, error or None)
    except TouchstoneError as error:
        return failed(error)


def _on_all(scorer: str, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The audits on several criteria, with the worst of their verdicts."""
    worst = max((report["verdict"] for report in reports), key=("pass", "warn", "fail").index)
    return {"scorer": scorer, "verdict": worst, "audits": list(reports)}
