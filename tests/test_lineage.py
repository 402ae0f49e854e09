"""What links an MLflow run with its flow run."""

from types import SimpleNamespace

import pytest

from flows import lineage, readiness
from flows.lineage import NOTE, link_to_mlflow

PAGE = "http://127.0.0.1:9/runs/flow-run/1"


@pytest.mark.parametrize(("own", "linked"), [([object()], False), ([], True)])
def test_nothing_links_to_a_server_that_ends_with_its_command(tracking, monkeypatch, own, linked):
    monkeypatch.setattr(lineage, "flow_run", SimpleNamespace(ui_url=PAGE, name="brave-ant"))
    monkeypatch.setattr(readiness, "_own", own)
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    link_to_mlflow(tracking, run_id)
    assert (PAGE in tracking.client.get_run(run_id).data.tags.get(NOTE, "")) == linked
    tracking.client.set_terminated(run_id)
