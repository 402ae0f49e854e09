"""The circle closes: a model that is served here judges what another that is served here has said."""

import json
import os
import subprocess

import pytest

from tests.commands import COMMAND
from tests.serve.test_front import served
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


def judged(responses, judge, address):
    """What `touchstone judge` tells of a judge that has to fail its audit; in a process of its own.

    A command that ends without a server of Prefect leaves the environment as it had set it.
    """
    arguments = [str(responses), "--judge", f"openai:{judge}", "--despite-audit", "--json"]
    own = {"TOUCHSTONE_HOME": str(responses.parent), "OPENAI_BASE_URL": str(address)}
    done = subprocess.run(
        [COMMAND, "judge", *arguments], env=os.environ | own, capture_output=True, text=True
    )
    assert done.returncode in (0, 3), done.stderr
    scores = {entry["scorer"]: entry for entry in json.loads(done.stdout)["scores"]}
    assert scores[f"openai:{judge}"]["rows"] == len(QUESTIONS)


def test_a_model_made_here_judges(tmp_path, responses):
    """Its weights are random, so it must fail; that its answers are JSON is llama.cpp's doing."""
    judge = tiny_model(tmp_path / "judge", "chatml", context=8192, name="judge")
    with served(judge, tmp_path / "cache") as client:
        judged(responses, "judge", client.base_url)
