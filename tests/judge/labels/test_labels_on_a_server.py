"""Labels on an MLflow server, over HTTP: the same as in a database of this machine."""

import pytest

from tasks.judge.labels.review import queue_for_review
from tasks.judge.labels.stage import Labels
from tasks.judge.protocol.responses import read_rows
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import open_tracking
from tests.judge.labels.labelling import labelled, labels_record, responses_of, row_of


@pytest.mark.slow
def test_labels_are_given_changed_queued_and_kept_on_a_server(tmp_path, mlflow_server):
    address, _ = mlflow_server
    tracking = open_tracking(tmp_path / "mlruns", address)
    reference = responses_of(tracking, [row_of(index) for index in range(12)])
    rows = read_rows(fetch(tracking, reference) / OUTPUT)
    found = labelled(tracking, reference, rows, {0: 4, 1: 5})
    labelled(tracking, reference, rows, {0: 2})
    labelled(tracking, reference, rows, {0: 3}, by="bob")
    traces = found.with_traces(rows[:4])
    assert queue_for_review(found, [0, 1, 2, 3], traces).startswith("touchstone labels ")
    labels = Labels.read(fetch(tracking, labels_record(tracking, reference)) / OUTPUT)
    assert labels.given == {0: {"ann": 2, "bob": 3}, 1: {"ann": 5}}
