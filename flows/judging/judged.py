"""The stages of a judging and of an audit, for flows that make them, and for commands that find them all."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows.dispatch.lookup import Found, NotFoundError, Runs, told_at_the_end
from flows.dispatch.runs import read_output
from flows.judging.audits import audit_reports, audits, refusal, score_entries, unread
from tasks.config import AuditConfig, Criterion, DownloadConfig, JudgeConfig, ResponsesConfig
from tasks.errors import RefusedError, StageError
from tasks.judge.audit.wording import audit_name, failures, judge_name
from tasks.judge.score.outputs import ScoreSummary
from tasks.record.tracking import open_tracking

Told = tuple[dict[str, Any], str | None]
"""What a command tells, and why the scores do not count, if they do not."""


def judged(
    run: Runs, name: str, source: DownloadConfig, responses: ResponsesConfig, config: JudgeConfig
) -> Told:
    """A file of responses, scored by a judge that is audited first."""
    answered = run.stage("download", source, "download responses")
    rows = run.stage("responses", responses, source=answered)
    audited = audits(run, config, rows)
    scores = run.stage("judge", config, responses=rows, **audited)
    summary = read_output(run.tracking, scores, ScoreSummary.read)
    told = {
        "scores": score_entries(name, summary),
        "summary": summary.as_json(),
        "despite_audit": config.despite_audit,
        "audits": audit_reports(run, audited),
    }
    return told, refusal(run, audited, config) or unread(summary)


def audited(
    run: Runs,
    source: DownloadConfig,
    columns: Mapping[str, str],
    config: AuditConfig,
    criteria: Sequence[Criterion],
) -> Told:
    """A judge, audited; on each criterion of several."""
    configs = [config.model_copy(update={"criterion": own.unweighted}) for own in criteria] or [config]
    downloaded = run.stage("download", source, "download rows")
    needs_reference = any(own.reference_shown for own in configs)
    questions = ResponsesConfig(columns=columns, needs_response=False, needs_reference=needs_reference)
    rows = run.stage("responses", questions, "rows", source=downloaded)
    made = {}
    for own in configs:
        label = f"audit {own.criterion.name}" if own.criterion else "audit"
        made[label] = run.stage("audit", own, label, rows=rows)
    reports = audit_reports(run, made)
    error = "; ".join(
        f"{judge_name(report)} failed {audit_name(report)}: {failures(report)}"
        for report in reports
        if report["verdict"] == "fail"
    )
    return (_on_all(config.scorer, reports) if criteria else reports[0]), error or None


def found_outcome(stages: Callable[..., Told], *asked: Any) -> dict[str, Any] | None:
    """What a command tells whose stages were all done before; None where one is left to do.

    `asked` is what `stages` takes after the run. No run is recorded: it is one that was. A judge that does
    not answer is for the command itself to tell, once it has read the keys that Prefect keeps.
    """
    started, run = time.monotonic(), Found(open_tracking())
    try:
        told, error = stages(run, *asked)
    except (NotFoundError, StageError):
        return None
    last = run.tracking.client.get_run(run.outcomes[-1].run_id)
    run_id = last.data.tags.get("mlflow.parentRunId", last.info.run_id)
    return told_at_the_end(run_id, run.outcomes, started, told, RefusedError(error) if error else None)


def _on_all(scorer: str, reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The audits on several criteria, with the worst of their verdicts."""
    worst = max((report["verdict"] for report in reports), key=("pass", "warn", "fail").index)
    return {"scorer": scorer, "verdict": worst, "audits": list(reports)}
