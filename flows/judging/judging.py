"""Judges outside a pipeline: audited on rows, asked about responses of any tool, or about two models'."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.judging.comparison import compared
from flows.judging.inputs import ComparisonInput
from flows.judging.judged import audited, judged
from flows.process.console import console
from flows.process.flow_body import flow_body
from flows.server.reaper import CRASH_HOOKS
from tasks.config import (
    AskConfig,
    AuditConfig,
    CompareConfig,
    Criterion,
    DownloadConfig,
    JudgeConfig,
    ResponsesConfig,
)
from tasks.judge.ask.identities import made_ready

JUDGED = "judge"  # the value of the tag touchstone.kind on the run of a file that was judged
Refresh = Annotated[
    Sequence[str],
    Field(title="Refresh", description="stages to do again though they were done"),
]


def find_judges(config: AskConfig, label: str = "find judges", what: str = "judges") -> None:
    """See that every judge is there before anything takes time; one that may be pulled is pulled first.

    Raises StageError when one is not there.
    """
    if not config.judges:
        return
    started = time.monotonic()
    console.begin(label)
    outcome, style = "failed", "red"
    try:
        found = made_ready(config, lambda *progress: console.progress(label, *progress))
        told = ", ".join(f"{identity.scorer} {identity.digest[:12]}" for identity in found)
        console.progress(label, len(found), len(found), what, told)
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
@flow_body
def judging(
    name: Annotated[str, Field(title="Name", description="what the responses are called in the scores")],
    source: Annotated[DownloadConfig, Field(title="File", description="where the responses are")],
    responses: Annotated[ResponsesConfig, Field(title="Reading", description="what its columns are called")],
    config: Annotated[JudgeConfig, Field(title="Judge", description="who judges, and how it is asked")],
    refresh: Refresh = (),
) -> State | dict[str, Any]:
    """Score a file of responses; returns what `touchstone judge --json` prints, or a failed state."""
    settings = {"source": source, "responses": responses, "judge": config}
    with pipeline_run(f"judge {name}", settings, refresh, JUDGED) as run:
        return finished(run, *judged(run, name, source, responses, config))


@flow(
    name="touchstone-audit",
    flow_run_name="audit {config.scorer}",
    description="Ask a judge about answers of known worth: is it to be believed?",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
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
    settings = {"source": source, "audit": config, "criteria": criteria}
    with pipeline_run(f"audit {config.scorer}", settings, refresh, "audit") as run:
        return finished(run, *audited(run, source, columns, config, criteria))


@flow(
    name="touchstone-compare",
    flow_run_name="compare {name_a} with {name_b}",
    description="Two models' responses to the same rows: scored alike, and compared row by row",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def comparing(
    name_a: str,
    name_b: str,
    a: ComparisonInput,
    b: ComparisonInput,
    responses: ResponsesConfig,
    judge: JudgeConfig,
    config: CompareConfig,
    refresh: Sequence[str] = (),
) -> State | dict[str, Any]:
    """Compare A with B; returns what `touchstone compare --json` prints, or a failed state."""
    settings = {"a": name_a, "b": name_b, "judge": judge, "compare": config}
    with pipeline_run(f"compare {name_a} with {name_b}", settings, refresh, "compare") as run:
        told, error = compared(run, name_a, name_b, (a, b), responses, judge, config)
        return finished(run, told, error)
