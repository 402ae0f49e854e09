"""Labels as assessments on traces of MLflow: written at once, by whom and when, whatever wrote them."""

import itertools
import json

import mlflow
import pytest
from mlflow.entities import AssessmentSource, AssessmentSourceType

from tasks.errors import StageError
from tasks.judge.labels.review import queue_for_review
from tasks.judge.labels.stage import labels_fingerprint, labels_of
from tasks.judge.labels.store import LabelSet, snapshot
from tasks.judge.protocol.responses import read_rows
from tasks.record import tracking as tracking_module
from tasks.record.outputs import OUTPUT, fetch
from tests.judge.labels.labelling import labelled, labels_record, open_set, responses_of, row_of

numbers = itertools.count()


@pytest.fixture
def responses(tracking):
    """A file of responses that no other test knows, and its rows."""
    start = 1000 * next(numbers)
    reference = responses_of(tracking, [row_of(start + index) for index in range(12)])
    return reference, read_rows(fetch(tracking, reference) / OUTPUT)


def read_labels(tracking, reference):
    found = LabelSet.find(tracking, reference.digest)
    return {(one.row, one.by): one.label for one in found.labels()}


def test_label_is_an_assessment_on_a_trace_that_shows_no_score(tracking, responses):
    reference, rows = responses
    found = labelled(tracking, reference, rows, {rows[0].id: 4})
    (trace,) = tracking.client.search_traces(locations=[tracking.experiment_id], run_id=found.run_id)
    given = {one.name: one for one in trace.info.assessments}
    assert set(given) == {"label", "expected_response"}
    assert (given["label"].value, given["expected_response"].value) == (4, rows[0].reference)
    source = given["label"].source
    assert (source.source_type, source.source_id) == ("HUMAN", "ann")
    root = trace.data.spans[0]
    assert (root.inputs, root.outputs) == ({"input": rows[0].instruction}, {"response": rows[0].response})


def test_label_given_again_changes_and_another_persons_is_added(tracking, responses):
    reference, rows = responses
    first = rows[0].id
    labelled(tracking, reference, rows, {first: 4})
    labelled(tracking, reference, rows, {first: 2})
    labelled(tracking, reference, rows, {first: 5}, by="bob")
    assert read_labels(tracking, reference) == {(first, "ann"): 2, (first, "bob"): 5}
    assert labels_of(tracking, reference.digest).points(first) == 70
    traces = tracking.client.search_traces(
        locations=[tracking.experiment_id],
        run_id=LabelSet.find(tracking, reference.digest).run_id,
    )
    assert len(traces) == 1


def test_labels_of_mlflows_review_count_and_what_is_none_is_told(tracking, responses):
    reference, rows = responses
    found = open_set(tracking, reference, rows)
    traces = found.with_traces(rows[:3])
    for row, value in zip(rows, ("5", 3.5, 1), strict=False):
        mlflow.log_feedback(
            trace_id=traces[row.id],
            name="label",
            value=value,
            source=AssessmentSource(AssessmentSourceType.HUMAN, "default"),
        )
    judge = AssessmentSource(AssessmentSourceType.LLM_JUDGE, "ollama:judge")
    mlflow.log_feedback(trace_id=traces[rows[2].id], name="label", value=0, source=judge)
    assert read_labels(tracking, reference) == {(rows[0].id, "default"): 5, (rows[2].id, "default"): 1}
    told = snapshot(tracking, reference.digest)["unreadable"]
    assert told == [f"row {rows[1].id}: default gave 3.5; expected 0 to 5"]


def test_rows_wait_in_a_review_queue_with_the_one_question(tracking, responses):
    reference, rows = responses
    found = open_set(tracking, reference, rows)
    traces = found.with_traces(rows[:3])
    for _ in range(2):  # again without an error
        name = queue_for_review(found, [row.id for row in rows[:3]], traces)
    from mlflow.genai.review_queues import get_review_queue, list_review_queue_items

    queue = get_review_queue(name=name, experiment_id=tracking.experiment_id)
    items = list_review_queue_items(queue.queue_id)
    assert {item.item_id for item in items} == set(traces.values())


def test_labels_of_the_same_responses_are_shared_by_all_judges(tracking, responses):
    reference, rows = responses
    labelled(tracking, reference, rows, {rows[0].id: 4})
    other = open_set(tracking, reference, rows, seed=7, scores={row.id: 100.0 for row in rows})
    assert other.design.seed == 1  # as it was begun
    assert len(other.labels()) == 1


def test_the_rows_that_anybody_was_asked_about_are_known(tracking, responses):
    reference, rows = responses
    found = open_set(tracking, reference, rows)
    assert found.asked() == set()
    five = found.draw(5)
    assert found.asked() == set(five)
    found.draw(3)
    assert LabelSet.find(tracking, reference.digest).asked() == set(five)


def test_more_labels_than_one_answer_of_mlflow_holds(tracking, responses, monkeypatch):
    monkeypatch.setattr(tracking_module, "TRACES_AT_ONCE", 5)
    reference, rows = responses
    labelled(tracking, reference, rows, {row.id: 3 for row in rows})
    assert len(read_labels(tracking, reference)) == 12


def test_what_uses_labels_holds_their_digest(tracking, responses):
    reference, rows = responses
    assert labels_fingerprint(tracking, reference.digest) == {"labels": "none"}
    assert labels_of(tracking, reference.digest) is None
    labelled(tracking, reference, rows, {rows[0].id: 4})
    first = labels_record(tracking, reference)
    assert labels_record(tracking, reference) == first
    labelled(tracking, reference, rows, {rows[1].id: 4})
    second = labels_record(tracking, reference)
    assert second.key != first.key
    written = json.loads((fetch(tracking, second) / OUTPUT / "labels.json").read_text())
    assert [own["given"][0]["label"] for own in written["labels"]] == [4, 4]
    assert {own["given"][0]["by"] for own in written["labels"]} == {"ann"}
    assert all(own["given"][0]["at"].endswith("Z") for own in written["labels"])


def test_labels_given_while_they_are_read_are_not_mixed_up(tracking, responses, monkeypatch):
    reference, rows = responses
    labelled(tracking, reference, rows, {rows[0].id: 4})
    monkeypatch.setattr("tasks.judge.labels.stage.labels_fingerprint", lambda *_: {"labels": "0" * 64})
    with pytest.raises(StageError, match="given while they were being read"):
        labels_record(tracking, reference)
