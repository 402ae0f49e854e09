"""What links an MLflow run with its flow run."""

import re
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from flows.dispatch import lineage
from flows.dispatch.lineage import NOTE, link_to_mlflow
from flows.server import readiness
from tasks.registry.promote.decision import Decision
from tasks.registry.promote.page import description
from tests.card_outputs import HOSTILE

PAGE = "http://127.0.0.1:9/runs/flow-run/1"


@pytest.mark.parametrize(("own", "linked"), [([object()], False), ([], True)])
def test_nothing_links_to_a_server_that_ends_with_its_command(tracking, monkeypatch, own, linked):
    monkeypatch.setattr(lineage, "flow_run", SimpleNamespace(ui_url=PAGE, name="brave-ant"))
    monkeypatch.setattr(readiness, "_own", own)
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    link_to_mlflow(tracking, run_id)
    assert (PAGE in tracking.client.get_run(run_id).data.tags.get(NOTE, "")) == linked
    tracking.client.set_terminated(run_id)


def acting(markdown):
    """The tags of what MLflow or Prefect would show, but for those of plain text, headings and lists."""
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    return set(re.findall(r"<(\w+)", rendered)) - {"p", "strong", "h1", "h2", "ul", "li"}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_name_stays_text_on_pages_of_prefect_and_mlflow(tracking, monkeypatch, text):
    told = []
    monkeypatch.setattr(lineage, "flow_run", SimpleNamespace(ui_url=PAGE, name=text))
    monkeypatch.setattr(lineage, "create_link_artifact", lambda link, **options: told.append(options))
    monkeypatch.setattr(readiness, "_own", [])
    monkeypatch.setenv("TOUCHSTONE_MLFLOW_URL", "http://mlflow:5000")
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    link_to_mlflow(tracking, run_id)
    note = tracking.client.get_run(run_id).data.tags[NOTE]
    assert acting(note) == {"a"}
    assert MarkdownIt("commonmark").enable("table").render(note).count("<a ") == 1
    assert acting(told[0]["link_text"]) == set()
    tracking.client.set_terminated(run_id)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_reasons_and_names_stay_text_in_a_description(text):
    def told(text):
        decision = Decision(False, text, text, 50.0, 10.0, 1.0, text, text, against=text)
        return acting(description(decision, {text: text}, "import mlflow"))

    assert told(text) == told("calm")
