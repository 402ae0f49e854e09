"""Votes between two models: kept in MLflow, told as a tally, and read back as rows of preference."""

import time

import mlflow
import pytest

from tasks.config import RowsConfig
from tasks.judge.votes.document import document
from tasks.judge.votes.rows import preference_rows
from tasks.judge.votes.store import Exchange, Vote, save_vote, votes
from tasks.rows.formats import layout_of
from tasks.show.html import as_html

ASKED = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Name a city."}]


def exchange(a="Rome.", b="A city.", *, models=("net/2", "net/1"), asked=(ASKED, ASKED), blind=True):
    return Exchange(models, asked, (a, b), {"temperature": 0.0}, blind)


def vote(preferred="a", **parts):
    return Vote(exchange(**parts), preferred, "ann", "2026-01-01T00:00:00Z")


@pytest.fixture
def store(tmp_path, fresh_store):
    return fresh_store(tmp_path / "mlruns")


def test_votes_are_kept_with_all_that_they_are_about(store):
    assert votes(store) == []
    save_vote(store, exchange(), "b", "ann")
    time.sleep(0.01)  # votes are ordered by milliseconds
    save_vote(store, exchange("One <b>.", "Two.", blind=False), "tie", "bob")
    first, second = votes(store)
    assert (first.exchange, first.preferred, first.by) == (exchange(), "b", "ann")
    assert (second.exchange.answers, second.exchange.blind) == (("One <b>.", "Two."), False)
    runs = store.client.search_runs([store.experiment_id], "tags.`touchstone.kind` = 'votes'")
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_votes_that_somebody_changed_in_mlflow_count_as_changed(store):
    save_vote(store, exchange(), "a", "ann")
    (run,) = store.client.search_runs([store.experiment_id])
    (trace,) = store.client.search_traces(locations=[store.experiment_id], run_id=run.info.run_id)
    (given,) = trace.info.assessments
    mlflow.override_feedback(
        trace_id=trace.info.trace_id, assessment_id=given.assessment_id, value="b", source=given.source
    )
    assert [one.preferred for one in votes(store)] == ["b"]


def test_preference_rows_are_those_that_can_be_trained_on():
    other = [*ASKED[:1], {"role": "user", "content": "Name a river."}]
    rows = preference_rows(
        [
            vote("b"),
            vote("tie"),
            vote("neither"),
            vote("a", a="Same.", b=" Same."),
            vote("a", b=" "),
            vote("a", asked=(ASKED, other)),
        ]
    )
    assert [(row["chosen"], row["rejected"]) for row in rows] == [("A city.", "Rome.")]
    assert (rows[0]["chosen_model"], rows[0]["rejected_model"]) == ("net/1", "net/2")
    read = layout_of("votes.json", rows[0], RowsConfig()).row(("votes.json, row 1", rows[0]))
    assert (read["chosen"], read["rejected"], read["instruction"]) == ("A city.", "Rome.", "Name a city.")
    assert read["messages"] == ASKED[:1]


def test_tally_counts_a_pair_whichever_of_the_two_was_a():
    given = [vote("a")] * 8 + [vote("b", models=("net/1", "net/2"))] * 4 + [vote("tie"), vote("neither")]
    (section,) = document(given).sections
    told, table, _ = section.blocks
    assert told.text == "14 votes, 14 of them blind; rows of preference: 12."
    (row,) = table.rows
    assert [cell.text for cell in row] == ["net/1", "net/2", "0", "12", "1", "1", "0%"]
    assert row[-1].tone == "worse"
    assert "nobody has voted yet" in as_html(document([]))
