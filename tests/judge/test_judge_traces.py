"""The judging of every row as a trace of MLflow, in a real store."""

import json
from pathlib import Path

import mlflow
import pytest

from tests.chat_server import Fault
from tests.judge.judging import OLLAMA, on, row_of, rows_of
from tests.judges import always_top
from tests.ollama_server import OllamaServer

TURNS = [{"role": "system", "content": "Be brief."}]


def traces_of(tracking, done):
    found = mlflow.search_traces(
        locations=[tracking.experiment_id], run_id=done.run.run_id, return_type="list", max_results=100
    )
    return sorted(found, key=lambda trace: int(trace.info.tags["touchstone.row"]))


def test_trace_holds_what_was_asked_answered_and_the_score(trial, tracking):
    with OllamaServer(judge=always_top, faults=[Fault("garbage", containing="number 1.")]) as server:
        rows = [row_of(0), row_of(1), row_of(2, response="", messages=TURNS)]
        done = trial(rows, tracking=tracking, **on(server))()
    traces = traces_of(tracking, done)
    assert [trace.info.tags["touchstone.row"] for trace in traces] == ["0", "1", "2"]
    assert [len(trace.data.spans) for trace in traces] == [2, 3, 1]
    root, call = traces[0].data.spans
    row = row_of(0)
    assert (root.inputs, root.outputs) == ({"input": row["instruction"]}, {"response": row["response"]})
    assert traces[2].data.spans[0].inputs["messages"] == TURNS
    assert call.parent_id == root.span_id
    assert call.inputs == done.calls[0]["request"]
    assert call.outputs == {
        "answer": done.calls[0]["answer"],
        "score": 100.0,
        "reason": "It deserves 5 of 5.",
    }
    assert call.attributes["prompt_tokens"] == done.calls[0]["prompt_tokens"]
    expectation, feedback = sorted(traces[0].info.assessments, key=lambda one: one.name)
    assert (expectation.name, expectation.value) == ("expected_response", row["output"])
    assert (feedback.name, feedback.value, feedback.rationale) == (OLLAMA, 100.0, "It deserves 5 of 5.")
    assert (feedback.source.source_type, feedback.source.source_id) == ("LLM_JUDGE", OLLAMA)
    statuses = [span.status.status_code for span in traces[1].data.spans]
    assert [str(status).rpartition(".")[2] for status in statuses] == ["OK", "ERROR", "OK"]


def test_a_missing_score_is_told_with_its_reason(trial, tracking):
    with OllamaServer(faults=[Fault("400")]) as server:
        done = trial(rows_of(1), tracking=tracking, **on(server))()
    (trace,) = traces_of(tracking, done)
    (feedback,) = (one for one in trace.info.assessments if one.name == OLLAMA)
    assert feedback.value is None
    assert feedback.error.error_message == done.lines[0]["missing_because"]


def test_spans_lie_within_their_trace_in_the_order_of_the_calls(trial, tracking):
    with OllamaServer(faults=[Fault("garbage")], latency=0.02) as server:
        done = trial(rows_of(1), tracking=tracking, **on(server))()
    root, first, second = traces_of(tracking, done)[0].data.spans
    assert root.start_time_ns <= first.start_time_ns <= first.end_time_ns <= second.start_time_ns
    assert second.end_time_ns <= root.end_time_ns + 1
    assert first.end_time_ns - first.start_time_ns == pytest.approx(1e9 * done.calls[0]["latency"], abs=2)


@pytest.mark.parametrize("traces", [0, 2])
def test_traces_are_as_many_as_wanted_and_the_table_is_whole(trial, tracking, traces):
    with OllamaServer() as server:
        done = trial(rows_of(4), tracking=tracking, traces=traces, **on(server))()
    assert len(traces_of(tracking, done)) == traces
    path = mlflow.artifacts.download_artifacts(run_id=done.run.run_id, artifact_path="scores.json")
    table = json.loads(Path(path).read_text())
    assert len(table["data"]) == 4
    assert {"instruction", "response", OLLAMA, "reason", "metric:chrf"} <= set(table["columns"])


def test_metrics_alone_leave_no_trace(trial, tracking):
    assert traces_of(tracking, trial(rows_of(1), tracking=tracking)()) == []
