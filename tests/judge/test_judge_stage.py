"""The judge stage: the metrics beside the judge, every number with its rows, and no judge unaudited."""

import json
import math

import pytest
from pydantic import ValidationError
from sacrebleu.metrics import BLEU

from tasks.config import JudgeConfig
from tasks.errors import StageError
from tasks.judge.score.metrics import METRICS, SUMMARY_METRICS, metric_scores, metrics_beside
from tasks.judge.score.stage import NOT_BELIEVED
from tests.chat_server import Fault
from tests.judge.judging import DIGEST, OLLAMA, Trial, on, row_of, rows_of, serving
from tests.judges import always_top, honest, question_in
from tests.ollama_server import OllamaServer

METRICS_FIRST = [(scorer, "metric") for scorer in METRICS]


# The metrics alone


def test_the_metrics_stand_alone_and_are_never_called_a_judge(trial):
    done = trial([row_of(0), row_of(1, response="")])()
    assert done.summary["headline"] == "metric:chrf"
    assert [(one["scorer"], one["kind"]) for one in done.summary["scores"]] == METRICS_FIRST
    expected = metric_scores(row_of(0)["response"], row_of(0)["output"])
    lines = [line | {"tokens": 9, "cut": False} for line in ({"words": 6}, {"words": 0})]
    assert done.lines == [
        {"id": 0, "response_kind": "ok", **expected, **lines[0]},
        {"id": 1, "response_kind": "empty", **dict.fromkeys(METRICS, 0.0), **lines[1]},
    ]
    assert done.run.metrics["chrf_mean"] == pytest.approx(expected["metric:chrf"] / 2)
    assert done.run.metrics["rouge_l_mean"] == pytest.approx(expected["metric:rouge-l"] / 2)
    assert {"bleu_low", "exact_high", "corpus_bleu", "share_looping"} <= set(done.run.metrics)
    assert sorted(path.name for path in done.run.out.iterdir()) == ["scores.json", "scores.jsonl"]


@pytest.mark.parametrize("scorer", METRICS | SUMMARY_METRICS)
def test_any_metric_can_be_the_headline(trial, scorer):
    done = trial([row_of(0), row_of(1, response=row_of(1)["output"])], scorer=scorer)()
    assert done.summary["headline"] == scorer
    assert [one["scorer"] for one in done.summary["scores"]] == list(metrics_beside((scorer,)))
    assert all(line[scorer] is not None for line in done.lines)


@pytest.mark.parametrize(
    "scorer",
    [
        "metric:rouge",
        "metric:chrf2",
        "bleu",
        "ollama:",
        "openai:",
        "hf:",
        "exact",
        ["ollama:a"],
        ["ollama:a", "ollama:a"],
        ["ollama:a", "metric:chrf"],
    ],
)
def test_a_scorer_that_is_none_is_refused(scorer):
    with pytest.raises(ValidationError, match="scorer"):
        JudgeConfig(scorer=scorer)


def test_the_corpus_bleu_stands_beside_the_mean_of_the_rows(trial):
    rows = [row_of(0, response="The capital is City0 indeed."), row_of(1)]
    done = trial(rows, scorer="metric:bleu")()
    entry = done.summary["scores"][1]
    texts = [row["response"] for row in rows], [row["output"] for row in rows]
    assert entry["corpus_bleu"] == BLEU().corpus_score(texts[0], [texts[1]]).score
    assert entry["corpus_bleu"] != pytest.approx(entry["mean"])
    assert done.run.metrics["corpus_bleu"] == entry["corpus_bleu"]


def test_how_a_model_responds(trial):
    rows = [
        row_of(0, response="", tokens=1),
        row_of(1, response="Input: " * 20, tokens=40, cut=True),
        row_of(2, response=row_of(2)["output"], tokens=7),
        row_of(3, response="City3", tokens=2),
    ]
    done = trial(rows, resamples=1000)()
    found = done.summary["responses"]
    counts = {name: (share["count"], share["of"]) for name, share in found.items() if name[:5] == "share"}
    assert counts == {
        "share_empty": (1, 4),
        "share_looping": (1, 4),
        "share_echoed": (0, 4),
        "share_identical": (1, 4),
        "share_cut": (1, 4),
    }
    assert found["share_cut"] | {"low": 0, "high": 0} == {
        "count": 1,
        "of": 4,
        "share": 0.25,
        "low": 0,
        "high": 0,
    }
    assert (found["length_tokens"]["mean"], found["length_tokens"]["median"]) == (12.5, 4.5)
    assert found["length_words"]["mean"] == (0 + 20 + 4 + 1) / 4
    assert "reference_perplexity" not in found
    assert done.run.metrics["length_words_mean"] == 6.25


def test_perplexity_of_references_weighs_tokens_or_is_absent(trial):
    """One row of 30 tokens at 1 nat and one of 10 at 3: exp(60 / 40), not the mean of exp(1) and exp(3)."""
    rows = [
        row_of(0, reference_loss=1.0, reference_tokens=30),
        row_of(1, reference_loss=3.0, reference_tokens=10),
        row_of(2, reference_loss=None, reference_tokens=0),
    ]
    done = trial(rows)()
    found = done.summary["responses"]["reference_perplexity"]
    assert found["perplexity"] == pytest.approx(math.exp(1.5))
    assert (found["rows"], found["tokens"]) == (2, 40)
    assert 1 < found["low"] < math.e
    assert math.exp(3) < found["high"] < math.exp(6)
    assert done.lines[0]["reference_perplexity"] == pytest.approx(math.e)
    assert "reference_perplexity" not in done.lines[2]
    assert done.run.metrics["reference_perplexity"] == found["perplexity"]


def test_what_other_tools_do_not_write_is_absent_and_not_zero(trial):
    bare = {name: value for name, value in row_of(0).items() if name not in ("tokens", "cut")}
    done = trial([bare])()
    assert set(done.lines[0]) == {"id", "response_kind", "words", *METRICS}
    assert set(done.summary["responses"]) == {
        "share_empty",
        "share_looping",
        "share_echoed",
        "share_identical",
        "length_words",
    }


def test_the_table_of_the_ui_has_every_column_of_every_row(trial, monkeypatch):
    shown = []
    attempt = trial([row_of(0), row_of(1, reference_loss=0.0, reference_tokens=1)])
    monkeypatch.setattr(attempt.run, "log_table", lambda rows, name: shown.extend(rows))
    attempt()
    assert [row["reference_perplexity"] for row in shown] == [None, 1.0]
    assert {"instruction", "reference", "response", "words", "tokens", "cut", *METRICS} <= set(shown[0])


# Judging


def test_an_honest_judge(trial):
    rows = [row_of(0), row_of(1, response="Nonsense!"), row_of(2, response="The capital is city2.")]
    with OllamaServer() as server:
        done = trial(rows, **on(server))()
    expected = [20.0 * honest(question_in(chat.body["messages"])) for chat in server.chats]
    assert sorted(done.scores) == sorted(expected)
    assert done.scores[2] == 100.0
    assert done.lines[2]["reason"] == "It deserves 5 of 5."
    assert done.summary["headline"] == OLLAMA
    assert [(one["scorer"], one["kind"]) for one in done.summary["scores"]] == [
        *METRICS_FIRST,
        (OLLAMA, "judge"),
    ]
    assert done.judged["correlations"].keys() == {"words", "metric:chrf"}
    assert done.run.metrics["judge_mean"] == pytest.approx(sum(expected) / 3)
    assert (done.run.metrics["missing"], done.run.metrics["calls"]) == (0, 3)
    assert done.progress[-1] == (3, 3, "rows", "0 missing")


def test_calls_are_recorded_with_what_was_sent_and_came_back(trial):
    with OllamaServer() as server:
        done = trial(rows_of(3), **on(server))()
    sent = {chat.text: chat.body for chat in server.chats}
    for call in done.calls:
        assert (
            call["request"] == sent["\n".join(message["content"] for message in call["request"]["messages"])]
        )
        assert call["body"]["message"]["content"] == call["answer"]
        assert 20.0 * json.loads(call["answer"])["score"] == call["score"]
        assert call["latency"] > 0
        assert (call["prompt_tokens"], call["tokens"]) == (
            call["body"]["prompt_eval_count"],
            call["body"]["eval_count"],
        )
        assert (call["scorer"], call["cached"], call["status"], call["error"]) == (OLLAMA, False, 200, None)


@pytest.mark.parametrize("protocol", ["ollama", "openai"])
def test_scores_stay_with_their_rows_however_many_are_in_flight(trial, protocol):
    rows = [row_of(i, response="x" * i + "City") for i in range(1, 25)]
    with serving(protocol, slots=4, latency=0.02, judge=lambda row: row.response.count("x") % 6) as server:
        done = trial(rows, **on(server, concurrency=4))()
    assert 1 < server.most_in_flight <= 4
    assert [line["id"] for line in done.lines] == list(range(1, 25))
    assert done.scores == [20.0 * (i % 6) for i in range(1, 25)]


def test_categories(trial):
    rows = [row_of(0, category="b"), row_of(1, category="a", response="City1"), row_of(2)]
    with OllamaServer(judge=always_top) as server:
        done = trial(rows, **on(server))()
    categories = done.summary["categories"]
    assert list(categories) == ["a", "b"]
    assert categories["a"][OLLAMA] == {"mean": 100.0, "rows": 1, "scored": 1}
    assert categories["a"]["metric:chrf"]["mean"] == done.lines[1]["metric:chrf"]


def test_the_same_work_gives_the_same_bytes(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        with OllamaServer(faults=[Fault("503"), Fault("garbage")]) as server:
            Trial(folder, rows_of(5), **on(server, concurrency=3))()
    for name in ("scores.jsonl", "scores.json", "judge.json"):
        assert (folders[0] / "out" / name).read_bytes() == (folders[1] / "out" / name).read_bytes()


# Believed or not


GATES = [{"name": "AUC: empty", "value": 0.5, "status": "fail"}]


def test_judge_stands_beside_the_scores_with_its_audit(trial):
    with OllamaServer() as server:
        done = trial(rows_of(1), audits={OLLAMA: {"verdict": "warn", "gates": GATES}}, **on(server))()
    assert json.loads((done.run.out / "judge.json").read_text()) == {
        "despite_audit": False,
        "criteria": [],
        "judges": [
            {
                "scorer": OLLAMA,
                "criterion": None,
                "digest": DIGEST,
                "version": "0.32.15",
                "form": "anchored",
                "prompt_version": "p",
                "refusals": [],
                "audit": {"verdict": "warn", "rows": 30, "of": 110, "gates": GATES, "falsifiable": True},
                "believed": True,
            }
        ],
    }
    assert done.judged["status"] == "ok"


def test_judge_that_failed_its_audit_is_not_asked(trial):
    with OllamaServer() as server:
        done = trial(rows_of(2), audits={OLLAMA: {"verdict": "fail"}}, **on(server))()
    assert server.requests == []
    assert (done.judged["status"], done.judged["mean"], done.judged["missing"]) == (
        "judge_failed_audit",
        None,
        2,
    )
    assert done.scores == [None, None]
    assert [line["missing_because"] for line in done.lines] == [NOT_BELIEVED] * 2
    assert done.summary["scores"][0]["status"] == "ok"
    assert done.run.metrics["chrf_mean"] == done.summary["scores"][0]["mean"]
    assert "judge_mean" not in done.run.metrics
    assert json.loads((done.run.out / "judge.json").read_text())["judges"][0]["believed"] is False


def test_judge_counts_despite_its_audit_if_configured_and_told(trial):
    with OllamaServer(judge=always_top) as server:
        done = trial(rows_of(2), audits={OLLAMA: {"verdict": "fail"}}, despite_audit=True, **on(server))()
    assert (done.judged["status"], done.judged["mean"]) == ("ok", 100.0)
    told = json.loads((done.run.out / "judge.json").read_text())
    assert (told["despite_audit"], told["judges"][0]["audit"]["verdict"]) == (True, "fail")


def test_a_judge_is_not_believed_by_the_audit_of_another_model(trial):
    with OllamaServer(digest="b" * 64) as server, pytest.raises(StageError) as raised:
        trial(rows_of(1), **on(server, digest="a" * 64))()
    assert "not the model that was audited: its digest was aaaaaaaaaaaa and is bbbbbbbbbbbb" in str(
        raised.value
    )


def test_a_judge_without_an_audit_is_not_asked(trial):
    with OllamaServer() as server, pytest.raises(StageError, match=f"{OLLAMA} has not been audited"):
        trial(rows_of(1), audits={OLLAMA: None}, **on(server))()
    assert server.requests == []
