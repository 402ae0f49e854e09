"""The test servers do what tests of their clients rely on: the wire, the faults, the slots, the clock."""

import asyncio
import json
import math
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from tests.chat_server import CONTENTS, Fault
from tests.judges import always_top, fenced
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer

MODEL, OPENAI_MODEL = OllamaServer.models[0], OpenAIServer.models[0]
FORMAT = {"type": "json_schema", "json_schema": {"name": "grade", "schema": {"type": "object"}}}


GOOD = fenced(instruction="Name it.", reference="Paris", response="Paris")


@contextmanager
def client_of(server):
    with httpx.Client(base_url=f"http://{server.address}", trust_env=False, timeout=5.0) as client:
        yield client


def ollama_body(messages=GOOD, **changes):
    return {"model": MODEL, "messages": messages, "stream": False, "format": "json"} | changes


def openai_body(messages=GOOD, **changes):
    return {"model": OPENAI_MODEL, "messages": messages, "response_format": FORMAT} | changes


@contextmanager
def running(**options):
    """An Ollama server and a function that asks it."""
    with OllamaServer(**options) as server, client_of(server) as client:
        yield server, lambda *args, **changes: client.post("/api/chat", json=ollama_body(*args, **changes))


@contextmanager
def openai(**options):
    with OpenAIServer(**options) as server, client_of(server) as client:
        yield (
            server,
            lambda *args, **changes: client.post("/v1/chat/completions", json=openai_body(*args, **changes)),
        )


async def _ask_all(server, count):
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(
        base_url=f"http://{server.address}", trust_env=False, limits=limits
    ) as client:
        responses = [client.post("/api/chat", json=ollama_body()) for _ in range(count)]
        return [response.json() for response in await asyncio.gather(*responses)]


def waited(answer):
    """Seconds that a request stood in the queue, as a client reads it."""
    spent = ("load_duration", "prompt_eval_duration", "eval_duration")
    return (answer["total_duration"] - sum(answer[name] for name in spent)) / 1e9


# Ollama's wire


def test_an_ollama_chat():
    with running() as (server, ask):
        answer = ask(options={"num_ctx": 2048, "seed": 1}).json()
    assert list(answer) == [
        "model",
        "created_at",
        "message",
        "done",
        "done_reason",
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ]
    assert answer["prompt_eval_count"] == server.chats[0].tokens
    assert (answer["done"], answer["done_reason"]) == (True, "stop")
    assert server.chats[0].headers["content-type"] == "application/json"


def test_logprobs_when_asked_for():
    with running() as (_, ask):
        entries = ask(logprobs=True, top_logprobs=7).json()["logprobs"]
    label = entries[-2]
    assert (label["token"], label["bytes"]) == ("5", [53])
    assert label["top_logprobs"][0] == {key: label[key] for key in ("token", "logprob", "bytes")}
    assert {one["token"] for one in label["top_logprobs"]} == {*"012345", "\n"}
    assert sum(math.exp(one["logprob"]) for one in label["top_logprobs"]) == pytest.approx(1)


def test_an_overlong_prompt_is_refused_only_where_cutting_is_off():
    long = fenced(instruction="x" * 9000, response="y")
    with running(context_length=1024) as (_, ask):
        cut = ask(long)
        refused = ask(long, truncate=False, shift=False)
        ask_for_more = ask(long, truncate=False, shift=False, options={"num_ctx": 8192})
    assert cut.json()["prompt_eval_count"] == 514
    assert (refused.status_code, "longer than the context length" in refused.text) == (400, True)
    assert ask_for_more.status_code == 400


def test_what_a_model_is():
    with OllamaServer(context_length=2048) as server, client_of(server) as client:
        shown = client.post("/api/show", json={"model": "llama3.2"}).json()
        missing = client.post("/api/show", json={"model": "qwen3"})
        tags = client.get("/api/tags").json()
        version = client.get("/api/version").json()
        other = client.get("/")
    assert shown["model_info"]["llama.context_length"] == 2048
    assert (missing.status_code, missing.json()) == (404, {"error": "model 'qwen3' not found"})
    assert tags["models"][0]["digest"] == server.digest
    assert version == {"version": server.version}
    assert other.status_code == 404


def test_a_pull_arrives_line_by_line():
    arrivals, lines = [], []
    with (
        OllamaServer(pull_seconds=0.2) as server,
        client_of(server) as client,
        client.stream("POST", "/api/pull", json={"model": "qwen3"}) as response,
    ):
        for line in response.iter_lines():
            lines.append(json.loads(line))
            arrivals.append(time.monotonic())
            if len(lines) == 3:
                assert not server.has_model("qwen3")
        assert server.has_model("qwen3")
    assert [line["status"] for line in (lines[0], *lines[-3:])] == [
        "pulling manifest",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    done = [line["completed"] for line in lines if "completed" in line]
    assert done == sorted(set(done))
    assert done[-1] == server.size == lines[1]["total"]
    assert arrivals[-1] - arrivals[0] > 0.1


@pytest.mark.parametrize(
    ("model", "error"), [("missing", "pull model manifest: file does not exist"), ("qwen3", "EOF")]
)
def test_a_pull_that_fails_says_so_in_a_200(model, error):
    with OllamaServer(pull_error="EOF") as server, client_of(server) as client:
        response = client.post("/api/pull", json={"model": model})
        whole = client.post("/api/pull", json={"model": model, "stream": False})
    assert response.status_code == 200
    assert json.loads(response.text.splitlines()[-1]) == {"error": error}
    assert (whole.status_code, whole.json()) == (500, {"error": error})
    assert not server.has_model(model)


def test_without_a_format_the_judge_writes_prose():
    with running() as (_, ask):
        assert ask(format=None).json()["message"]["content"] == "I would give this response 5 of 5."
    with openai() as (_, ask):
        message = ask(response_format=None).json()["choices"][0]["message"]
    assert message["content"] == "I would give this response 5 of 5."


def test_a_judge_that_fails_is_not_hidden():
    with pytest.raises(KeyError, match="mine"), running(judge=lambda _: {}["mine"]) as (_, ask):
        assert ask().status_code == 500


# OpenAI's wire


def test_an_openai_chat():
    with openai() as (server, ask):
        answer = ask().json()
    assert set(answer) == {"id", "object", "created", "model", "choices", "usage", "system_fingerprint"}
    choice = answer["choices"][0]
    assert choice["message"] == {
        "role": "assistant",
        "content": '{"reason": "It deserves 5 of 5.", "score": 5}',
        "refusal": None,
    }
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] == server.chats[0].tokens


def test_the_models_of_an_openai_server():
    with OpenAIServer(models=("a", "b")) as server, httpx.Client(trust_env=False) as client:
        listed = client.get(f"{server.url}/models").json()
    assert [entry["id"] for entry in listed["data"]] == ["a", "b"]
    assert set(listed["data"][0]) == {"id", "object", "created", "owned_by"}


def test_the_key_is_needed_and_a_wrong_one_comes_back():
    with OpenAIServer(key="sk-right") as server, client_of(server) as client:
        wrong = client.get("/v1/models", headers={"Authorization": "Bearer sk-wrong"})
        none = client.post("/v1/chat/completions", json=openai_body())
        right = client.get("/v1/models", headers={"Authorization": "Bearer sk-right"})
    assert (wrong.status_code, none.status_code, right.status_code) == (401, 401, 200)
    error = wrong.json()["error"]
    assert (error["message"], error["code"]) == ("Incorrect API key provided: sk-wrong", "invalid_api_key")
    assert [request.headers.get("authorization") for request in server.requests] == [
        "Bearer sk-wrong",
        None,
        "Bearer sk-right",
    ]


def test_an_overlong_prompt_is_refused_or_cut_without_a_word():
    long = fenced(instruction="x" * 5000, response="y")
    with openai(context_length=1024) as (_, ask):
        refused = ask(long)
        too_much_asked = ask(max_tokens=1024)
    assert [response.status_code for response in (refused, too_much_asked)] == [400, 400]
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    with openai(context_length=1024, silently_cuts=True) as (_, ask):
        assert ask(long).json()["usage"]["prompt_tokens"] == 514


def test_logprobs_and_the_limit_of_an_openai_chat():
    with openai() as (_, ask):
        entries = ask(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]["content"]
        cut = ask(max_tokens=3).json()
        wrong = ask(response_format={"type": "json_schema", "schema": {}})
    assert [one["token"] for one in entries[-2]["top_logprobs"]] == ["5", "4"]
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 3
    assert wrong.status_code == 400


# Faults


@pytest.mark.parametrize("serve", [running, openai])
@pytest.mark.parametrize("kind", ["400", "401", "404", "429", "500", "503"])
def test_refusals(serve, kind):
    with serve(faults=[Fault(kind)]) as (_, ask):
        refused, answered = ask(), ask()
    assert (refused.status_code, answered.status_code) == (int(kind), 200)
    assert refused.json()["error"]


def test_the_retry_after_header():
    with openai(faults=[Fault("429"), Fault("500")]) as (server, ask):
        first = ask()
        server.retry_after = None
        second = ask()
    assert (first.headers["retry-after"], first.json()["error"]["code"]) == ("1", "rate_limit_exceeded")
    assert "retry-after" not in second.headers


@pytest.mark.parametrize("serve", [running, openai])
def test_no_answer_at_all(serve):
    with serve(faults=[Fault("drop"), Fault("stall")]) as (server, ask):
        with pytest.raises(httpx.RemoteProtocolError):
            ask()
        body = {"model": server.models[0], "messages": GOOD}
        with client_of(server) as client, pytest.raises(httpx.ReadTimeout):
            client.post(server.chat_path, json=body, timeout=0.05)
        assert ask().status_code == 200
        server.faults.append(Fault("die"))
        with pytest.raises(httpx.RemoteProtocolError):
            ask()
        with pytest.raises(httpx.TransportError):
            ask()


def test_the_same_port_again():
    with OllamaServer() as first, client_of(first) as client:
        client.get("/api/version")
    with OllamaServer(port=first.port) as second, client_of(second) as client:
        assert client.get("/api/version").status_code == 200


@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_what_the_model_says_wrong(kind):
    with running(faults=[Fault(kind)]) as (_, ask):
        assert ask().json()["message"]["content"] == CONTENTS[kind]
    with openai(faults=[Fault(kind)]) as (_, ask):
        choice = ask().json()["choices"][0]
    assert choice["message"]["content"] == CONTENTS[kind]
    assert choice["finish_reason"] == ("length" if kind == "cut_json" else "stop")


def test_faults_of_the_content_of_an_openai_chat():
    kinds = ("null", "refusal", "no_count", "error_body", "broken_body", "loading", "cut_prompt")
    with openai(faults=[Fault(kind) for kind in kinds]) as (server, ask):
        null, refusal, uncounted, error, broken, loading, cut = [ask() for _ in kinds]
    assert null.json()["choices"][0]["message"] == {"role": "assistant", "content": None, "refusal": None}
    message = refusal.json()["choices"][0]["message"]
    assert message["content"] is None
    assert message["refusal"].startswith("I'm sorry")
    assert "usage" not in uncounted.json()
    assert (error.status_code, list(error.json())) == (200, ["error"])
    assert (broken.status_code, broken.text) == (200, "<html>upstream</html>")
    assert loading.status_code == 503
    assert cut.json()["usage"]["prompt_tokens"] == server.chats[-1].tokens // 4


def test_fault_meets_only_its_chats_and_what_the_protocol_knows():
    with running(faults=[Fault("500", times=None, containing="Rome")]) as (_, ask):
        statuses = [ask(fenced(response=name)).status_code for name in ("Rome", "Paris", "Rome")]
    assert statuses == [500, 200, 500]
    with pytest.raises(ValueError, match="refusal"), running(faults=[Fault("refusal")]) as (_, ask):
        ask()


# Slots and the clock


def test_two_slots_serve_at_their_rate_and_tell_who_waited():
    with OllamaServer(slots=2, latency=0.05) as server:
        started = time.monotonic()
        answers = asyncio.run(_ask_all(server, 8))
        took = time.monotonic() - started
    assert server.most_in_flight == 8
    assert took >= 0.2
    waits = sorted(waited(answer) for answer in answers)
    assert waits[0] < 0.005
    assert 0.02 < waits[-1] < 0.151
    assert all(answer["eval_duration"] > 0.9 * 0.05e9 for answer in answers)
    assert all(answer["load_duration"] < 0.1 * answer["eval_duration"] for answer in answers)


def test_a_full_queue_is_served_without_gaps():
    """Sixteen slots of 20 ms are 800 requests a second; half of that would be seen here."""
    with OllamaServer(slots=16, latency=0.02, judge=always_top) as server:
        answers = asyncio.run(_ask_all(server, 48))
    assert max(waited(answer) for answer in answers) <= 0.05  # two turns before the last one's own


def test_beyond_the_queue_there_is_no_place():
    with OllamaServer(slots=1, queue=1, latency=0.2) as server:
        answers = asyncio.run(_ask_all(server, 5))
    assert len([answer for answer in answers if "maximum pending requests" in answer.get("error", "")]) == 3
    assert server.most_in_flight == 2


def test_a_client_that_goes_away_leaves_its_slot():
    with OllamaServer(slots=1, latency=10.0) as server, client_of(server) as client:
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/chat", json=ollama_body(), timeout=0.05)
        server.latency = 0.0
        assert client.post("/api/chat", json=ollama_body()).status_code == 200


def test_leaving_drops_what_is_still_asked():
    lost = threading.Event()

    def ask(address):
        try:
            httpx.post(f"http://{address}/api/chat", json=ollama_body(), trust_env=False, timeout=20)
        except httpx.TransportError:
            lost.set()

    with OllamaServer(latency=10.0) as server:
        asking = threading.Thread(target=ask, args=(server.address,))
        asking.start()
        while not server.chats:
            time.sleep(0.01)  # until it has arrived
    asking.join(5)
    assert lost.is_set()
