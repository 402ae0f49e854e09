"""`touchstone serve` gives the responses of `touchstone generate`: those of this process, and of no other."""

import json

import pytest

from flows.serving.engines import EngineOptions, serving
from flows.serving.local import find_local_model
from tests.serve.test_front import reached

pytestmark = pytest.mark.slow

MODEL = "touchstone-tiny/1"


def test_a_served_model_responds_as_in_this_process(finished):
    workplace, _ = finished
    rows = [{"instruction": text} for text in ("Say yes", "Is <|endoftext|> a word?", "Count.")]
    (workplace.folder / "three.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    command = ("generate", MODEL, "three.jsonl", "--json", "--max-new-tokens", "6")
    here = workplace(*command, "-o", "here.jsonl")
    assert here.status == 0, here.err
    with workplace.entered():
        model = find_local_model(MODEL)
    with serving(model, EngineOptions(), None) as front, reached(front) as client:
        at = ("--set", "generate.backend=openai", "--set", f"generate.base_url={client.base_url}")
        named = ("--set", f"generate.model={MODEL}")
        there = workplace(*command, *at, *named, "-o", "there.jsonl", OPENAI_API_KEY="none")
        other = workplace(
            *command, *at, "--set", "generate.model=other", "-o", "x.jsonl", OPENAI_API_KEY="none"
        )
    assert there.status == 0, there.err
    answers = [
        [(one["prompt"], one["response"], one["tokens"], one["cut"]) for one in map(json.loads, file)]
        for file in (
            (workplace.folder / name).read_text().splitlines() for name in ("here.jsonl", "there.jsonl")
        )
    ]
    assert answers[0] == answers[1]
    assert other.status == 1
    assert "has no model 'other'" in other.err or "has no model 'other'" in other.out
