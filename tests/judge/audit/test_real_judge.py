"""A real model of 135 M weights as a judge, behind a real llama.cpp: it keeps the schema, and is refused."""

import json
from types import SimpleNamespace

import pytest

from tasks.judge.audit.document import document
from tasks.judge.audit.wording import failures
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tests.judge.audit.auditing import skill_rows
from tests.real_models import SMOLLM2

ROWS = 1  # sixteen answers, of a quarter of a minute each on a busy core


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_small_real_judge_is_refused_by_its_audit(audited, llama_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", llama_server.key)
    server = SimpleNamespace(url=f"{llama_server.address}/v1")
    scorer = f"openai:{SMOLLM2}"
    done = audited(
        server, skill_rows(ROWS), scorer=scorer, max_tokens=96, timeout=120.0, attempts=1, concurrency=2
    )()
    assert done.report["verdict"] == "fail"
    assert failures(done.report)
    answers = [json.loads(call["answer"]) for call in done.calls if call["answer"] and not call["error"]]
    assert answers
    assert all(answer.keys() == {"reason", "score"} for answer in answers)
    assert all(answer["score"] in range(6) for answer in answers)
    told = document(done.report)
    assert "failed: its scores do not count" in as_markdown(told)
    assert as_html(told)
