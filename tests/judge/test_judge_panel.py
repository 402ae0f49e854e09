"""Several judges: their mean, nothing where one of them is missing, and how far they agree."""

import json

import pytest

from tasks.errors import StageError
from tasks.judge.score.panel import agreement, panel_scores
from tests.chat_server import Fault
from tests.judge.judging import on, rows_of
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer

A, B = "ollama:a:1b", "ollama:b"
MODELS = ("a:1b", "b:latest")


def marks(*scores):
    """A judge that gives row i the i-th of `scores`."""
    return lambda asked: scores[int(asked.instruction.split()[-1].rstrip("."))]


def panel(trial, rows, server, **config):
    return trial(rows, **on(server) | {"scorer": (A, B)} | config)


MINDS = {"a:1b": marks(5, 4, 0), "b": marks(3, 4, 1)}


class Two(OllamaServer):
    """Two models of two minds."""

    async def _chat(self, request):
        self.judge = MINDS[request.body["model"]]
        return await super()._chat(request)


def test_the_panel_is_the_mean_of_its_judges(trial):
    with Two(models=MODELS) as server:
        done = panel(trial, rows_of(3), server)()
    assert done.summary["headline"] == "panel"
    assert [(line[A], line[B], line["panel"]) for line in done.lines] == [
        (100.0, 60.0, 80.0),
        (80.0, 80.0, 80.0),
        (0.0, 20.0, 10.0),
    ]
    assert [one["scorer"] for one in done.summary["scores"]][-3:] == [A, B, "panel"]
    assert done.judged["mean"] == pytest.approx(170 / 3)
    assert done.lines[0]["reason"] == f"{A}: It deserves 5 of 5.; {B}: It deserves 3 of 5."
    assert done.lines[0]["missing_because"] is None
    assert [call["scorer"] for call in done.calls] == [A] * 3 + [B] * 3


def test_the_names_of_a_panel_in_mlflow(trial):
    with Two(models=MODELS) as server:
        metrics = panel(trial, rows_of(3), server)().run.metrics
    assert metrics["judge_mean"] == pytest.approx(170 / 3)
    assert metrics["judge_ollama_a_1b_mean"] == 60.0
    assert metrics["judge_ollama_b_mean"] == pytest.approx(160 / 3)
    assert (metrics["calls"], metrics["calls_cached"], metrics["rows"]) == (6, 0, 3)


def test_same_model_at_two_servers_has_two_names_for_mlflow(trial, tracking):
    scorers = ("ollama:m+x", "openai:m+x")
    with OllamaServer(models=("m+x:latest",)) as one, OpenAIServer(models=("m+x",)) as two:
        second = on(two, scorer=scorers[1])
        audits = {scorers[1]: {"digest": second["digest"]}}
        both = on(one, base_url=second["base_url"], scorer=scorers, audits=audits)
        done = trial(rows_of(1), **both, tracking=tracking)()
    done.run.flush()
    kept = tracking.client.get_run(done.run.run_id).data.metrics
    assert {"judge_mean", "judge_ollama_m_x_mean", "judge_openai_m_x_mean"} <= set(kept)


def test_the_panel_is_missing_where_one_judge_is(trial):
    with Two(models=MODELS, faults=[Fault("garbage", times=2, containing="number 1.")]) as server:
        done = panel(trial, rows_of(3), server, concurrency=1)()
    assert [line[A] for line in done.lines] == [100.0, None, 0.0]
    assert [line["panel"] for line in done.lines] == [80.0, None, 10.0]
    assert done.lines[1]["missing_because"].startswith(f"{A}: the answer is not the JSON")
    assert B not in done.lines[1]["missing_because"]
    assert (done.judged["status"], done.judged["missing"]) == ("too_many_missing", 1)
    assert done.progress[-1] == (3, 3, "rows", f"{B}: 0 missing")


def test_how_far_they_agree(trial):
    with Two(models=MODELS) as server:
        found = panel(trial, rows_of(3), server)().summary["agreement"]
    (pair,) = found["pairs"]
    assert (found["judges"], found["rows"], found["apart"]) == ([A, B], 3, [0])
    assert found["disagreement"]["mean"] == 20.0
    # squared differences: 40² + 0² + 20² within rows, 45200 over all 15 pairs of the 6 ratings
    assert found["alpha"] == pytest.approx(1 - (2000 / 3) / (45200 / 15))
    assert (pair["a"], pair["b"], pair["rows"]) == (A, B, 3)
    assert pair["difference"] == pytest.approx(20 / 3)
    assert pair["spearman"] == pytest.approx(0.5)


def test_one_judge_has_nobody_to_agree_with(trial):
    with OllamaServer() as server:
        assert "agreement" not in trial(rows_of(1), **on(server))().summary


def test_a_panel_is_believed_when_all_its_judges_are(trial):
    with Two(models=MODELS) as server:
        done = panel(trial, rows_of(3), server, audits={B: {"verdict": "fail"}})()
    assert {chat.body["model"] for chat in server.chats} == {"a:1b"}
    by_name = {one["scorer"]: one for one in done.summary["scores"]}
    assert [by_name[name]["status"] for name in (A, B, "panel")] == [
        "ok",
        "judge_failed_audit",
        "judge_failed_audit",
    ]
    assert (by_name["panel"]["mean"], by_name[A]["mean"]) == (None, 60.0)
    assert "agreement" not in done.summary
    told = json.loads((done.run.out / "judge.json").read_text())["judges"]
    assert [judge["believed"] for judge in told] == [True, False]


def test_every_judge_of_a_panel_needs_its_audit(trial):
    with Two(models=MODELS) as server, pytest.raises(StageError, match=f"{B} has not been audited"):
        panel(trial, rows_of(1), server, audits={B: None})()


def test_the_mean_of_what_is_there_is_never_taken_for_the_panel():
    assert panel_scores({A: [100.0, None, 0.0], B: [50.0, 100.0, None]}) == [75.0, None, None]


def test_agreement_leaves_rows_out_that_a_judge_has_not_scored():
    scores = {A: [0.0, 100.0, None, 60.0], B: [100.0, 60.0, 20.0, 60.0]}
    found = agreement(scores, [7, 8, 9, 10])
    assert (found["rows"], found["apart"], found["disagreement"]["mean"]) == (3, [7, 8], 140 / 3)
    nothing = agreement({A: [None], B: [1.0]}, [0])
    assert (nothing["rows"], nothing["alpha"], nothing["disagreement"]["mean"]) == (0, None, None)
