"""The judging of a row as a trace of MLflow: question, response, the judge's calls, its score as feedback."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
from mlflow.entities import AssessmentError, AssessmentSource, AssessmentSourceType, SpanType

from tasks.judge.ask.asking import Judgement
from tasks.judge.protocol.responses import ResponseRow
from tasks.record.stage import StageRun

SECOND = 10**9  # nanoseconds


def log_traces(
    run: StageRun, rows: Sequence[ResponseRow], verdicts: Mapping[str, Sequence[Judgement]]
) -> None:
    """One trace a row, with a span for every call; `verdicts` are by judge, each in the order of `rows`."""
    if not (run.tracking and run.run_id):
        return
    ids = [
        _trace(run, row, {scorer: own[place] for scorer, own in verdicts.items()})
        for place, row in enumerate(rows)
    ]
    mlflow.flush_trace_async_logging()
    for place, trace_id in enumerate(ids):
        mlflow.log_expectation(trace_id=trace_id, name="expected_response", value=rows[place].reference)
        for scorer, own in verdicts.items():
            _give_feedback(trace_id, scorer, own[place])


def _give_feedback(trace_id: str, scorer: str, verdict: Judgement) -> None:
    """The score, or why it is missing."""
    why = verdict.missing_because
    mlflow.log_feedback(
        trace_id=trace_id,
        name=scorer,
        value=verdict.score,
        rationale=verdict.reason,
        error=AssessmentError("MISSING", why) if why else None,
        source=AssessmentSource(AssessmentSourceType.LLM_JUDGE, scorer),
    )


def _trace(run: StageRun, row: ResponseRow, verdicts: Mapping[str, Judgement]) -> str:
    client, ended = run.tracking.client, time.time_ns()
    calls = [(scorer, call) for scorer, verdict in verdicts.items() for call in verdict.calls]
    took = sum(call["latency"] for _, call in calls)
    trace = client.start_trace(
        f"row {row.id}",
        span_type=SpanType.EVALUATOR,
        inputs={"input": "\n".join(row.question), **_conversation(row)},
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
    client.end_trace(trace.trace_id, outputs={"response": row.response}, end_time_ns=ended)
    return trace.trace_id


def _conversation(row: ResponseRow) -> dict[str, Any]:
    return {"messages": [turn._asdict() for turn in row.before]} if row.before else {}


def _outputs(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"answer": call["answer"], "score": call["score"], "reason": call["reason"]}


def _status(call: Mapping[str, Any]) -> str:
    return "ERROR" if call["error"] else "OK"
