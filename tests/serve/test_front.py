"""OpenAI's official client gets what it expects, of prompts that are the training's to the token."""

import re
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import openai
import pytest

from flows.serving.engines import LLAMA
from flows.serving.serve import Listener, listening
from tasks.machine.kept_files import KeptFiles
from tasks.serve.front import Engine, Front
from tasks.serve.fronts import Fronts
from tasks.serve.llama_cpp import llama_cpp
from tasks.serve.models import gguf_of
from tasks.tokenize.templates import OURS
from tests.real_models import SMOLLM2
from tests.serve.tiny import tiny_model

END = "<|endoftext|>"
TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
]
ROWS = [
    {"instruction": "Name the opposite of hot.", "input": ""},
    {"instruction": "Translate.", "input": "naïve café, 東京"},
    {"instruction": "And now?", "input": "", "messages": TURNS},
    {"instruction": "And now?", "input": "ten", "messages": TURNS[1:]},
    {"instruction": f"What does {END} mean? <|user|> <|im_end|>", "input": END},
    {"instruction": "Why?", "input": "", "messages": [TURNS[1], {"role": "assistant", "content": f"{END}!"}]},
]
KEY = "a-key-of-the-tests"


class Cut(BaseHTTPRequestHandler):
    """An engine that ends in the middle of its answer."""

    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'data: {"choices": []}\n\n')

    def log_message(self, *args):
        """Nothing on standard error."""


@contextmanager
def reached(*fronts, key=None, on_demand=None):
    """The official client of fronts on loopback, which does not try again."""
    place = Listener("127.0.0.1", 0)
    with (
        place.open() as at,
        closing(Fronts(fronts, on_demand, key)) as served,
        listening(served, place, at),
    ):
        url = f"http://127.0.0.1:{at.getsockname()[1]}/v1"
        with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=60) as client:
            yield client


@contextmanager
def served(model, cache, parallel=1, key=None):
    with (
        gguf_of(model, None, KeptFiles(cache)) as path,
        llama_cpp(path, model.name, parallel=parallel, exact=True) as server,
    ):
        engine = Engine(server.address, server.headers, LLAMA)
        front = Front(model.name, engine, model.template, server.context)
        with reached(front, key=key) as client:
            yield client


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alpaca")
    with served(tiny_model(folder), folder / "cache", key=KEY) as client:
        yield client


def asked(row):
    """A row as OpenAI's protocol has it."""
    message = {"role": "user", "content": row["instruction"]} | (
        {"input": row["input"]} if row["input"] else {}
    )
    return [*row.get("messages", ()), message]


@pytest.fixture
def sent(monkeypatch):
    """What the front asks the engine for."""
    found, build = [], httpx.AsyncClient.build_request

    def recording(self, *arguments, **options):
        found.append(options["json"])
        return build(self, *arguments, **options)

    monkeypatch.setattr(httpx.AsyncClient, "build_request", recording)
    return found


@pytest.mark.parametrize("name", OURS)
def test_the_prompt_served_is_the_prompt_trained_on(tmp_path, sent, name):
    model = tiny_model(tmp_path, name, context=512)
    with served(model, tmp_path / "cache") as client:
        for row in ROWS:
            expected = model.template.prompt_ids(row)
            answer = client.chat.completions.create(model="tiny", messages=asked(row), max_tokens=1)
            assert sent[-1]["prompt"] == expected
            assert answer.usage.prompt_tokens == len(expected)
        text = f"The capital {END}"
        answer = client.completions.create(model="tiny", prompt=text, max_tokens=1)
        expected = model.template.prompt_ids({"plain": True, "instruction": text})
        assert sent[-1]["prompt"] == expected
        assert answer.usage.prompt_tokens == len(expected)


def test_llama_cpp_alone_reads_users_words_as_special_tokens(tmp_path):
    """Why the front gives it tokens."""
    model = tiny_model(tmp_path)
    kept = KeptFiles(tmp_path / "cache")
    with gguf_of(model, None, kept) as path, llama_cpp(path, "tiny", exact=True) as server:
        body = {"messages": asked(ROWS[4]), "max_tokens": 1}
        url = f"{server.address}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers=server.headers, timeout=60).json()
    assert answer["usage"]["prompt_tokens"] < len(model.template.prompt_ids(ROWS[4]))


def test_a_stream_says_the_same_in_pieces(client):
    request = {"model": "tiny", "messages": asked(ROWS[0]), "max_tokens": 12}
    whole = client.chat.completions.create(**request)
    pieces = list(
        client.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(one.choices[0].delta.content or "" for one in pieces if one.choices) == (
        whole.choices[0].message.content
    )
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert pieces[-1].usage.total_tokens == whole.usage.total_tokens
    completion = {"model": "tiny", "prompt": "The capital", "max_tokens": 6}
    streamed = client.completions.create(**completion, stream=True)
    assert "".join(one.choices[0].text for one in streamed) == (
        client.completions.create(**completion).choices[0].text
    )


def test_nothing_is_random_unless_asked_and_a_seed_repeats_it(client):
    def answer(**options):
        asking = {"model": "tiny", "messages": asked(ROWS[0]), "max_tokens": 16}
        return client.chat.completions.create(**asking, **options).choices[0].message.content

    assert answer() == answer(seed=1) == answer(temperature=0)
    drawn = [answer(temperature=2, seed=seed) for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    assert answer(temperature=2, seed=1, top_p=1e-6) == answer()
    assert answer(temperature=2, seed=1, extra_body={"top_k": 1, "min_p": 0}) == answer()


def test_an_answer_ends_with_a_stop_or_with_the_context(client):
    request = {"model": "tiny", "messages": asked(ROWS[0])}
    full = client.chat.completions.create(**request)
    assert full.choices[0].finish_reason == "length"
    assert full.usage.total_tokens == 256
    word = re.findall("[a-z]{2}", full.choices[0].message.content)[-1]
    stopped = client.chat.completions.create(**request, stop=[word])
    assert stopped.choices[0].finish_reason == "stop"
    assert word not in stopped.choices[0].message.content


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        (openai.BadRequestError, {"extra_body": {"tools": []}}, "'tools' is not known here"),
        (openai.BadRequestError, {"temperature": 9}, "temperature: Input should be less than or equal to 2"),
        (openai.BadRequestError, {"n": 2}, "n: Input should be 1"),
        (openai.BadRequestError, {"messages": []}, "messages: List should have at least 1 item"),
        (openai.BadRequestError, {"messages": TURNS}, "the last message must be the user's"),
        (openai.BadRequestError, {"messages": [TURNS[1], *TURNS[:2]]}, "a system message must be the first"),
        (openai.NotFoundError, {"model": "gpt-5"}, "there is no model 'gpt-5' here; there is 'tiny'"),
        (
            openai.BadRequestError,
            {"messages": asked({"instruction": "hot " * 300, "input": ""})},
            "tokens and the model's context is 256",
        ),
    ],
)
def test_what_cannot_be_served_is_told(client, kind, change, words):
    request = {"model": "tiny", "messages": asked(ROWS[0])} | change
    with pytest.raises(kind, match=words):
        client.chat.completions.create(**request)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"prompt": "\\ud800"}', "the request is no JSON: .*surrogates not allowed"),
        (b'{"prompt": "a", "temperature": NaN}', "the request is no JSON: .*not JSON compliant"),
        (b"[" * 100_000, "the request is no JSON: maximum recursion depth"),
        (b'{"model": "tiny", "prompt": []}', "the prompt has no tokens"),
        (b'{"model": "tiny", "prompt": [%s 5]}' % (b"5," * 300), "has 301 tokens and the model's context is"),
    ],
)
def test_a_body_that_nothing_can_be_made_of_is_told(client, body, words):
    """Each would be a traceback in the terminal of the server, or words about what was not asked."""
    answer = httpx.post(f"{client.base_url}completions", content=body, headers=client.auth_headers)
    assert answer.status_code == 400
    assert re.search(words, answer.json()["error"]["message"])


def test_foreign_pages_and_requests_without_a_key_get_nothing(client):
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="another-key-of-tests").models.list()
    assert [one.id for one in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        answer = httpx.get(f"{client.base_url}models", headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert httpx.get(f"{client.base_url}embeddings").json()["error"]["message"].startswith("GET /v1/embed")


@pytest.mark.parametrize("streams", [True, False])
def test_the_work_of_a_client_that_goes_away_stops(llama_server, streams):
    """Two slots would be busy for many seconds each."""
    long = {"model": SMOLLM2, "messages": asked({"instruction": "Count to 1000.", "input": ""})}
    long |= {"max_tokens": 900, "extra_body": {"ignore_eos": True}}
    with reached(Front(SMOLLM2, Engine(llama_server.address, llama_server.headers))) as client:
        with ExitStack() as streaming:
            for _ in range(2):
                if streams:
                    next(iter(streaming.enter_context(client.chat.completions.create(**long, stream=True))))
                else:
                    with pytest.raises(openai.APITimeoutError):
                        client.with_options(timeout=0.5).chat.completions.create(**long)
        started = time.monotonic()
        client.chat.completions.create(**long | {"max_tokens": 1})
        assert time.monotonic() - started < 5


def test_an_engine_that_is_gone_is_told():
    with (
        reached(Front("gone", Engine("http://127.0.0.1:9"))) as client,
        pytest.raises(openai.InternalServerError, match="the engine does not answer"),
    ):
        client.completions.create(model="gone", prompt="a")


@pytest.mark.parametrize("streams", [True, False])
def test_an_engine_that_ends_in_an_answer_is_told(streams):
    """The status of a stream was sent before; its last event is the error."""
    with HTTPServer(("127.0.0.1", 0), Cut) as engine:
        thread = threading.Thread(target=engine.serve_forever)
        thread.start()
        with reached(Front("cut", Engine(f"http://127.0.0.1:{engine.server_port}"))) as client:
            body = {"model": "cut", "prompt": "a", "stream": streams}
            answer = httpx.post(f"{client.base_url}completions", json=body)
        engine.shutdown()
        thread.join()
    assert answer.status_code == (200 if streams else 502)
    assert "the engine does not answer" in answer.text
