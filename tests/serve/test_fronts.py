"""Several models behind one address: who answers, what is opened, and what is closed for the next."""

import asyncio
import json
from contextlib import contextmanager

import httpx
import openai
import pytest

from flows.serving.engines import LLAMA
from tasks.errors import UsageError
from tasks.machine.kept_files import KeptFiles
from tasks.serve.front import Engine, Front
from tasks.serve.fronts import Fronts, OnDemand
from tasks.serve.llama_cpp import llama_cpp
from tasks.serve.models import gguf_of
from tests.serve.test_front import KEY, reached
from tests.serve.tiny import tiny_model

PROMPT = {"prompt": "Name the opposite of hot.", "max_tokens": 2, "temperature": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a front of any name, over one engine."""
    folder = tmp_path_factory.mktemp("fronts")
    model = tiny_model(folder)
    with (
        gguf_of(model, None, KeptFiles(folder / "cache")) as path,
        llama_cpp(path, model.name, parallel=2, exact=True) as server,
    ):
        engine = Engine(server.address, server.headers, LLAMA)
        yield lambda name: Front(name, engine, model.template, server.context)


@pytest.fixture
def asked(monkeypatch):
    """The models that engines are asked for."""
    found, build = [], httpx.AsyncClient.build_request

    def recording(self, *arguments, **options):
        found.append(options["json"]["model"])
        return build(self, *arguments, **options)

    monkeypatch.setattr(httpx.AsyncClient, "build_request", recording)
    return found


class Home:
    """Models that are there to be opened, and what became of them."""

    def __init__(self, made, *names):
        self.made, self.there, self.log = made, names, []

    @contextmanager
    def opened(self, name):
        if name not in self.there:
            raise UsageError(f"{name!r} is no run")
        self.log.append(f"open {name}")
        yield self.made(name)
        self.log.append(f"close {name}")

    def on_demand(self, most=1):
        return OnDemand(self.opened, lambda: list(self.there), most)


def test_each_model_answers_to_its_name(made, asked):
    with reached(made("a"), made("b"), key=KEY) as client:
        assert [one.id for one in client.models.list()] == ["a", "b"]
        assert client.models.retrieve("b").id == "b"
        for name in "ab":
            client.completions.create(model=name, **PROMPT)
        assert asked == ["a", "b"]
        with pytest.raises(openai.NotFoundError, match="no model 'c' here; there is 'a', 'b'"):
            client.completions.create(model="c", **PROMPT)
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="another-key-of-tests").completions.create(model="a", **PROMPT)
        told = httpx.post(f"{client.base_url}completions", content=b"{", headers=client.auth_headers)
        assert "the request is no JSON" in told.json()["error"]["message"]


def test_a_model_is_opened_once_and_closed_for_the_next(made, asked):
    home = Home(made, "x", "y")
    with reached(on_demand=home.on_demand()) as client:
        assert [one.id for one in client.models.list()] == ["x", "y"]
        assert home.log == []
        for name in "xxyx":
            messages = [{"role": "user", "content": "Hello"}]
            client.chat.completions.create(model=name, messages=messages, max_tokens=1)
        assert asked == [*"xxyx"]
        assert home.log == ["open x", "close x", "open y", "close y", "open x"]
        with pytest.raises(openai.NotFoundError, match="no model 'z' here: 'z' is no run"):
            client.completions.create(model="z", **PROMPT)
    assert home.log[-1] == "close x"


def test_a_model_that_answers_is_not_closed(made, monkeypatch):
    home = Home(made, "x", "y")
    with reached(on_demand=home.on_demand()) as client:
        with client.completions.create(model="x", stream=True, **PROMPT | {"max_tokens": 200}) as stream:
            next(iter(stream))
            with monkeypatch.context() as patch:
                patch.setattr("tasks.serve.fronts.ANSWERED", 0.01)
                with pytest.raises(openai.InternalServerError, match="1 models answer at the moment"):
                    client.completions.create(model="y", **PROMPT)
            assert home.log == ["open x"]
            for _ in stream:
                pass
        client.completions.create(model="y", **PROMPT)
        assert home.log == ["open x", "close x", "open y"]


def test_a_model_that_has_nearly_answered_is_waited_for(made):
    """Regression: who had read a stream to its end could be told that its model was still answering."""
    home = Home(made, "x", "y")

    async def trial():
        fronts = Fronts([], home.on_demand())
        first = await fronts.opened("x")
        others = [asyncio.create_task(fronts.opened("y")) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert home.log == ["open x"]
        await fronts.closed(first)
        assert {one.front.name for one in await asyncio.gather(*others)} == {"y"}
        fronts.close()

    asyncio.run(trial())
    assert home.log == ["open x", "close x", "open y", "close y"]


def test_what_is_listed_does_not_change_when_it_is_opened(made):
    home = Home(made, "x")
    with reached(on_demand=home.on_demand()) as client:
        before = json.loads(client.models.with_raw_response.list().text)
        client.completions.create(model="x", **PROMPT)
        assert json.loads(client.models.with_raw_response.list().text) == before
