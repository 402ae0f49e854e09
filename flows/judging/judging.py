"""Judges outside a pipeline: audited on rows, and asked about responses that any tool wrote."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.crash_hooks import AT_A_DEATH
from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.judging.audits import audit_reports, audits, refusal, score_entries, unread
from flows.process.console import console
from flows.process.states import failed
from tasks.config import AskConfig, AuditConfig, DownloadConfig, JudgeConfig, ResponsesConfig
from tasks.errors import TouchstoneError
from tasks.judge.ask.identities import made_ready
from tasks.judge.audit.wording import failures

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
    **AT_A_DEATH,
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
    **AT_A_DEATH,
)
def auditing(
    source: Annotated[
        DownloadConfig, Field(title="Rows", description="instructions with their right answers")
    ],
    columns: Annotated[
        dict[str, str], Field(title="Columns", description="what its columns are called: output: answer")
    ],
    config: Annotated[AuditConfig, Field(title="Judge", description="who is audited, and by which gates")],
    refresh: Refresh = (),
) -> State | dict[str, Any]:
    """Audit a judge on rows with references; returns what `touchstone audit --json` prints."""
    started = time.monotonic()
    settings = {"source": source.model_dump(mode="json"), "audit": config.model_dump(mode="json")}
    try:
        with pipeline_run(f"audit {config.scorer}", settings, refresh, "audit") as chain:
            downloaded = chain.run("download", source, "download rows")
            questions = ResponsesConfig(columns=columns, needs_response=False)
            rows = chain.run("responses", questions, "rows", source=downloaded)
            (report,) = audit_reports(chain, {"audit": chain.run("audit", config, rows=rows)})
            error = None
            if report["verdict"] == "fail":
                error = f"{config.scorer} failed its audit: {failures(report)}"
            return finished(chain, started, report, error)
    except TouchstoneError as error:
        return failed(error)
