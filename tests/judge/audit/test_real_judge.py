"""Real servers as judges: a tiny model behind ours every day, SmolLM2-135M behind llama.cpp's; both fail."""

import json
from types import SimpleNamespace

import pytest

from flows.serving.engines import EngineOptions, serving
from tasks.judge.audit.document import document
from tasks.judge.audit.wording import failures
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tests.judge.audit.auditing import skill_rows
from tests.real_models import SMOLLM2
from tests.serve.test_front import KEY, reached
from tests.serve.tiny import tiny_model

BOUNDS = {"max_tokens": 64, "attempts": 1, "concurrency": 2}


@pytest.fixture
def refused(audited, monkeypatch, tmp_path):
    """The audit of a judge that has to be refused, and is told to be."""

    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))

    def run(url, judge, key, rows=1, **bounds):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        server, scorer = SimpleNamespace(url=url), f"openai:{judge}"
        done = audited(server, skill_rows(rows), scorer=scorer, **BOUNDS | bounds)()
        assert done.report["verdict"] == "fail"
        assert failures(done.report)
        told = document(done.report)
        assert "failed: its scores do not count" in as_markdown(told)
        assert as_html(told)
        answers = [json.loads(call["answer"]) for call in done.calls if call["answer"] and not call["error"]]
        assert all(answer.keys() == {"reason", "score"} for answer in answers)
        assert all(answer["score"] in range(6) for answer in answers)
        return answers

    return run


def test_a_model_without_training_is_refused_as_a_judge(refused, tmp_path):
    """Its weights are random; that its answers are JSON is llama.cpp's doing."""
    judge = tiny_model(tmp_path / "judge", "chatml", context=8192, name="judge")
    with serving(judge, EngineOptions(parallel=2)) as front, reached(front) as client:
        refused(str(client.base_url).rstrip("/"), "judge", KEY, timeout=20.0, max_tokens=8)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_small_real_judge_is_refused_by_its_audit(refused, llama_server):
    """Behind llama.cpp's own server."""
    url = f"{llama_server.address}/v1"
    assert refused(url, SMOLLM2, llama_server.key, max_tokens=96, timeout=120.0)
