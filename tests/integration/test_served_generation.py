"""`touchstone serve` gives the responses of `touchstone generate`: those of this process, and of no other."""

import json
import signal
import time

import httpx
import pytest

from flows.server.servers import free_port
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
    with serving(model, EngineOptions()) as front, reached(front) as client:
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


def test_a_pipeline_generates_by_one_server(make_workplace):
    """It asks for each model by its digest, once that is trained; nobody has to name them before."""
    workplace = make_workplace("served")
    before = workplace("run", "tiny.yaml", "--json")
    assert before.status == 0, before.err
    address = f"http://127.0.0.1:{free_port()}"
    server = workplace.start("serve", "--on-demand", "2", "--port", address.rpartition(":")[2])
    try:
        until_answers(f"{address}/health", server)
        by_server = ("--set", "generate.backend=openai", "--set", f"generate.base_url={address}/v1")
        done = workplace("run", "tiny.yaml", "--json", *by_server, OPENAI_API_KEY="none")
        listed = httpx.get(f"{address}/v1/models").json()["data"]
    finally:
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=60)
    assert done.status == 0, done.err
    assert "on demand, 2 at once" in out
    made = {stage["name"]: stage for stage in done.json["stages"]}
    assert not made["generate base"]["cached"]
    trained = {made[name]["digest"][:12] for name in ("pretrain", "finetune")}
    assert trained <= {entry["id"] for entry in listed}
    assert means(done.json) == means(before.json), err


def means(told):
    return {(one["model"], one["scorer"]): one["mean"] for one in told["scores"]}


def until_answers(url, server):
    for _ in range(600):
        assert server.poll() is None, server.communicate()
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")
