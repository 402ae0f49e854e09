"""The judging of a row as a trace of MLflow: what was asked, what was answered, and the score as feedback."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
from mlflow.entities import AssessmentSource, AssessmentSourceType, SpanType

from tasks.judge.asking import Verdict
from tasks.judge.responses import Row
from tasks.record import StageRun

SECOND = 10**9  # nanoseconds


def log_traces(run: StageRun, rows: Sequence[Row], verdicts: Mapping[str, Sequence[Verdict]]) -> None:
    """One trace a row, with a span for every call; `verdicts` are by judge, each in the order of `rows`."""
    if not (run.tracking and run.run_id):
        return
    ids = [
        _trace(run, row, {scorer: own[place] for scorer, own in verdicts.items()})
        for place, row in enumerate(rows)
    ]
    mlflow.flush_trace_async_logging()
    for place, trace_id in enumerate(ids):
        for scorer, own in verdicts.items():
            if own[place].score is not None:
                mlflow.log_feedback(
                    trace_id=trace_id,
                    name=scorer,
                    value=own[place].score,
                    rationale=own[place].reason,
                    source=AssessmentSource(AssessmentSourceType.LLM_JUDGE, scorer),
                )


def _trace(run: StageRun, row: Row, verdicts: Mapping[str, Verdict]) -> str:
    client, ended = run.tracking.client, time.time_ns()
    calls = [(scorer, call) for scorer, verdict in verdicts.items() for call in verdict.calls]
    took = sum(call["latency"] for _, call in calls)
    trace = client.start_trace(
        f"row {row.id}",
        span_type=SpanType.EVALUATOR,
        inputs={
            "instruction": row.instruction,
            "input": row.input,
            "reference": row.reference,
            "response": row.response,
        },
        tags={"touchstone.row": str(row.id)},
        experiment_id=run.tracking.experiment_id,
        run_id=run.run_id,
        start_time_ns=ended - int(took * SECOND),
    )
    started = ended - int(took * SECOND)
    for scorer, call in calls:
        after = started + int(call["latency"] * SECOND)
        span = client.start_span(
            scorer,
            trace_id=trace.trace_id,
            parent_id=trace.span_id,
            span_type=SpanType.CHAT_MODEL,
            inputs=call["request"],
            attributes={
                name: call[name] for name in ("seed", "status", "cached", "prompt_tokens", "tokens", "error")
            },
            start_time_ns=started,
        )
        client.end_span(
            trace.trace_id, span.span_id, outputs=_outputs(call), status=_status(call), end_time_ns=after
        )
        started = after
    outputs = {
        scorer: {"score": own.score, "reason": own.reason, "missing_because": own.missing_because}
        for scorer, own in verdicts.items()
    }
    client.end_trace(trace.trace_id, outputs=outputs, end_time_ns=ended)
    return trace.trace_id


def _outputs(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"answer": call["answer"], "score": call["score"], "reason": call["reason"]}


def _status(call: Mapping[str, Any]) -> str:
    return "ERROR" if call["error"] else "OK"
