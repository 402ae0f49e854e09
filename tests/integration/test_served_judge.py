"""The circle closes: a model that is served here judges what another that is served here has said."""

import json

import pytest

from tasks.serve.front import Engine, Front
from tests.real_models import SMOLLM2
from tests.serve.test_front import reached, served
from tests.serve.tiny import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

QUESTIONS = {"Name the opposite of hot.": "Cold.", "What is the capital of France?": "Paris."}


@pytest.fixture
def responses(tmp_path):
    """A file of what a served model says."""
    path = tmp_path / "responses.jsonl"
    with served(tiny_model(tmp_path / "output"), tmp_path / "cache") as client, path.open("w") as file:
        for question, expected in QUESTIONS.items():
            asked = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model="tiny", messages=asked, max_tokens=8)
            row = {"instruction": question, "input": "", "output": expected}
            file.write(json.dumps(row | {"response": answer.choices[0].message.content}) + "\n")
    return path


def judged(touchstone, responses, judge):
    """What `touchstone judge` tells of a judge that has to fail its audit."""
    arguments = ["--judge", f"openai:{judge}", "--despite-audit", "--json"]
    status, out, err = touchstone("judge", str(responses), *arguments)
    assert status in (0, 3), err
    scores = {entry["scorer"]: entry for entry in json.loads(out)["scores"]}
    assert scores[f"openai:{judge}"]["rows"] == len(QUESTIONS)


def test_a_model_made_here_judges(touchstone, tmp_path, responses, monkeypatch):
    """Its weights are random, so it must fail; that its answers are JSON is llama.cpp's doing."""
    judge = tiny_model(tmp_path / "judge", "chatml", context=8192, name="judge")
    with served(judge, tmp_path / "cache") as client:
        monkeypatch.setenv("OPENAI_BASE_URL", str(client.base_url))
        judged(touchstone, responses, "judge")


def test_a_real_model_judges(touchstone, responses, monkeypatch, llama_server):
    """Some minutes on two cores: thirty-six answers of a model that is too weak to be a judge."""
    front = Front(SMOLLM2, Engine(llama_server.address, llama_server.headers))
    with reached(front) as client:
        monkeypatch.setenv("OPENAI_BASE_URL", str(client.base_url))
        judged(touchstone, responses, SMOLLM2)
