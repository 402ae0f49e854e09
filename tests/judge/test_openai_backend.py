"""OpenAI's protocol as a judge's client must use it, and a key that is told to nobody."""

import asyncio
import logging
import time

import pytest

from tasks.config import JudgeConfig
from tasks.errors import StageError, UsageError
from tasks.judge.ask.answers import AnswerStore
from tasks.judge.ask.identities import digests_of
from tasks.judge.protocol.refusals import Refusals
from tasks.judge.protocol.replies import Identity
from tasks.servers.http import Server
from tasks.servers.replies import Reply
from tests.chat_server import Fault
from tests.judge.judging import OPENAI, on, row_of, rows_of, serving
from tests.judges import always_top
from tests.openai_server import OpenAIServer

KEY = "sk-proj-" + "Z9" * 20


def configured(server, **config):
    return JudgeConfig(scorer=OPENAI, base_url=server.url, **config)


# The wire


def test_every_call_holds_the_model_to_the_schema(trial):
    with OpenAIServer() as server:
        done = trial(rows_of(2), **on(server, max_tokens=99, seed=5))()
    (body, _) = (chat.body for chat in server.chats)
    assert body | {"messages": [], "response_format": {}} == {
        "model": OpenAIServer.models[0],
        "messages": [],
        "temperature": 0,
        "seed": 5,
        "max_tokens": 99,
        "response_format": {},
    }
    asked = body["response_format"]["json_schema"]
    assert (body["response_format"]["type"], asked["name"], asked["strict"]) == (
        "json_schema",
        "anchored",
        True,
    )
    assert list(asked["schema"]["properties"]) == asked["schema"]["required"] == ["reason", "score"]
    assert asked["schema"]["additionalProperties"] is False
    assert (done.calls[0]["prompt_tokens"], done.calls[0]["tokens"]) == (
        done.calls[0]["body"]["usage"]["prompt_tokens"],
        done.calls[0]["body"]["usage"]["completion_tokens"],
    )


def test_the_plain_prompt_is_held_to_no_schema(trial):
    with OpenAIServer() as server:
        done = trial(rows_of(1), prompt="plain", **on(server))()
    assert "response_format" not in server.chats[0].body
    assert done.judged["scored"] == 1


def test_prompt_that_a_server_silently_cuts_is_missing(trial):
    """Pitfall 22: nothing but the count of tokens tells."""
    rows = [row_of(0), row_of(1, response="word " + " ".join(map(str, range(2000))))]
    with OpenAIServer(silently_cuts=True, context_length=1024) as server:
        done = trial(rows, **on(server))()
    assert [score is None for score in done.scores] == [False, True]
    assert done.lines[1]["missing_because"].startswith("the prompt was cut: the model read 514 tokens")


def test_a_refusal_to_answer_is_told(trial):
    with serving("openai", faults=[Fault("refusal", times=None)]) as server:
        done = trial(rows_of(1), **on(server))()
    assert done.lines[0]["missing_because"] == (
        "the model refused to answer: I'm sorry, I cannot help with that request. (twice asked)"
    )


def test_a_server_is_left_alone_for_as_long_as_it_asks(trial):
    with OpenAIServer(retry_after="0.3", faults=[Fault("429")], judge=always_top) as server:
        config = on(server)
        started = time.monotonic()
        done = trial(rows_of(1), **config)()
    assert time.monotonic() - started >= 0.3
    assert done.scores == [100.0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2.5", 2.5), ("-5", 0.0), ("1e9", 60.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("soon", None)],
)
def test_how_long_a_server_asks_to_be_left_alone(header, seconds):
    async def wait(server):
        async with Server(server.url, timeout=5.0) as client:
            return (await client.post("/chat/completions", {"model": server.models[0]})).wait

    with OpenAIServer(retry_after=header, faults=[Fault("503")]) as server:
        assert asyncio.run(wait(server)) == seconds


# What servers refuse

ALL = ("max_tokens", "temperature", "seed", "json_schema", "json_object")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("part", [*ALL, "temperature max_tokens"])
def test_server_refusals_are_learnt_once_told_once_and_recorded(trial, part, strict):
    refuses = tuple(part.split()) if part != "json_object" else ("json_schema", "json_object")
    said = []
    good = '```json\n{"reason": "Good.", "score": 4}\n```'
    with OpenAIServer(judge=lambda _: good, refuses=refuses, strict=strict, latency=0.01, slots=4) as server:
        done = trial(rows_of(6), **on(server), audits={OPENAI: {"refusals": ["temperature"]}})
        done.run.say = said.append
        calls, (first,) = done().calls, done.judges
        again = trial(rows_of(7), **on(server), audits={OPENAI: {"refusals": ["temperature"]}})
        again.run.say = said.append
        again()
    assert None not in again.scores
    assert len(server.chats) == 7 + len(refuses)
    refused = [call for call in calls if call["error"]]
    assert [call["status"] for call in refused] == [422 if strict else 400] * len(refuses)
    taken = server.chats[-1].body
    for name in refuses:
        assert (name in refused[0]["request"]) == (not name.startswith("json"))
        assert name not in taken
    assert taken.get("max_completion_tokens") == (256 if "max_tokens" in refuses else None)
    kept = {"json_schema": {"type": "json_object"}, "json_object": None}.get(part, "a schema")
    assert kept == "a schema" or taken.get("response_format") == kept
    assert len(said) == len(refuses)
    assert all(line.startswith(f"{OPENAI}: its server refuses ") for line in said)
    assert first["refusals"] == again.judges[0]["refusals"] == sorted({*refuses, "temperature"})


def test_judge_audited_at_temperature_0_is_not_asked_at_another(trial):
    with OpenAIServer(refuses=("temperature",)) as server, pytest.raises(StageError) as raised:
        trial(rows_of(1), **on(server))()
    assert "was audited at temperature 0, which its server refuses now (400 Unsupported value" in str(
        raised.value
    )
    assert str(raised.value).endswith("Audit it again: --refresh audit")


def test_essential_part_is_refused_with_the_servers_words(trial):
    with OpenAIServer(refuses=("max_tokens", "max_completion_tokens")) as server:
        done = trial(rows_of(2), **on(server))()
    assert {line["missing_because"] for line in done.lines} == {
        "the judge refused the prompt: 400 Unrecognized request argument supplied: max_completion_tokens"
    }
    assert len(server.chats) == 3


@pytest.mark.parametrize(
    "words",
    [
        "'max_tokens' is too large: 256. This model's maximum context length is 4096 tokens and your request "
        "has 4000 input tokens. This is not supported.",
        "max_tokens must be at least 1024, found 256: unsupported value",
        "Invalid 'temperature': expected a number",
        "The user's text is not supported: maximum_temperature",
    ],
)
def test_a_refusal_of_something_else_teaches_nothing(words):
    request = {"max_tokens": 256, "temperature": 0}
    refusals = Refusals()
    assert refusals.learn(request, Reply(400, None, f"400 {words}", 0.1)) is None
    assert refusals.without(request) == request


def test_a_parameter_that_is_named_goes_before_words():
    words = "400 Unsupported value: temperature 0 in messages"
    assert Refusals().learn({"temperature": 0}, Reply(400, None, words, 0.1, parameter="messages")) is None
    assert Refusals().learn({"temperature": 0}, Reply(400, None, words, 0.1)) == "temperature"
    assert Refusals().learn({"temperature": 0}, Reply(500, None, words, 0.1)) is None


def test_a_refusal_is_believed_for_a_day(tmp_path):
    who = Identity(OPENAI, "d", "")
    with AnswerStore(tmp_path / "answers.db") as answers:
        answers.add_refusal(who, "seed", "no")
        answers.add_refusal(Identity(OPENAI, "other", ""), "temperature", "no")
        assert answers.refusals(who) == {"seed": "no"}
        answers._base.execute("UPDATE refusals SET at = datetime('now', '-25 hours')")
        assert answers.refusals(who) == {}


@pytest.mark.parametrize(
    ("entry", "scored"),
    [({}, 0), ({"max_model_len": 8192}, 1), ({"context_length": 8192}, 1), ({"max_model_len": 2048}, 0)],
)
def test_server_that_does_not_count_is_believed_where_it_fits(trial, entry, scored):
    with OpenAIServer(entry=entry, faults=[Fault("no_count", times=None)]) as server:
        done = trial(rows_of(1), **on(server))()
    assert done.judged["scored"] == scored
    assert scored or "so that a prompt that was cut could not be told" in done.lines[0]["missing_because"]


# Who answers


def test_the_address_may_come_from_the_environment(trial, monkeypatch):
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # no proxy reaches this machine's loopback
        digest = digests_of(JudgeConfig(scorer=OPENAI))[OPENAI]
        done = trial(rows_of(1), scorer=OPENAI, digest=digest)()
    assert done.judged["scored"] == 1


@pytest.mark.parametrize("url", ["gpu:8000/v1", "ftp://gpu/v1", "http://gpu:x/v1", "http://two words/v1"])
def test_what_is_no_address(url):
    with pytest.raises(UsageError, match=r"http://gpu:8000/v1 in judge\.base_url or OPENAI_BASE_URL"):
        digests_of(JudgeConfig(scorer=OPENAI, base_url=url))


def test_an_unknown_model_lists_what_there_is():
    with OpenAIServer(models=("qwen3-8b", "gemma-3")) as server, pytest.raises(StageError) as raised:
        digests_of(configured(server))
    assert str(raised.value) == (
        f"the server at {server.url} has no model 'llama-3.2-3b-instruct'; it has gemma-3, qwen3-8b"
    )


def test_an_address_without_its_v1_is_told():
    with OpenAIServer() as server, pytest.raises(StageError, match=r"does not speak OpenAI's .* up to /v1"):
        digests_of(JudgeConfig(scorer=OPENAI, base_url=f"http://{server.address}"))


def test_another_server_is_another_judge():
    """The protocol tells no digest: the address and the server's own entry stand for it."""
    with OpenAIServer() as one, OpenAIServer() as two:
        assert digests_of(configured(one)) == digests_of(configured(one))
        assert digests_of(configured(one)) != digests_of(configured(two))


# The key


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def files_with(secret, folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return [path for path in files if secret.encode() in path.read_bytes()]


class Telltale(OpenAIServer):
    """Answers with the key that it was sent: in an error of status 200, or in the model's words."""

    def completion_of(self, request):
        return f'{{"reason": "{request.headers["authorization"]}", "score": 4}}'

    async def _chat(self, request):
        if "number 0." in request.text:
            return self.error(200, request.headers["authorization"])
        self.judge = lambda _: self.completion_of(request)
        return await super()._chat(request)


def test_the_key_is_sent_and_written_nowhere(trial, tmp_path, key, caplog):
    caplog.set_level(logging.DEBUG)
    with Telltale(
        key=KEY, retry_after=None, faults=[Fault("503"), Fault("401", containing="number 2.")]
    ) as server:
        done = trial(rows_of(2), **on(server))()
        with pytest.raises(StageError) as raised:
            trial([row_of(2)], **on(server))()
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {KEY}"}
    assert done.scores == [None, 80.0]
    assert done.lines[1]["reason"] == "Bearer [the key]"
    assert "Incorrect API key provided: [the key]" in str(raised.value)
    assert files_with(KEY, tmp_path) == []
    assert KEY not in caplog.text


def test_a_key_that_is_not_the_right_one(key):
    with OpenAIServer(key="another") as server, pytest.raises(StageError) as raised:
        digests_of(configured(server))
    assert "rejected the API key: 401 Incorrect API key provided: [the key]" in str(raised.value)
    assert str(raised.value).endswith("Set OPENAI_API_KEY.")


class Wordy(OpenAIServer):
    """The key stands where a long error is cut."""

    def _not_the_key(self, request):
        return self.error(401, "x" * 280 + request.headers["authorization"])


def test_no_part_of_the_key_is_left_where_an_error_is_cut(key):
    with Wordy(key="another") as server, pytest.raises(StageError) as raised:
        digests_of(configured(server))
    assert "sk-" not in str(raised.value)


def test_the_key_may_stand_in_another_variable(monkeypatch, key):
    monkeypatch.setenv("VLLM_KEY", " mine\n")
    with OpenAIServer(key="mine") as server:
        assert digests_of(configured(server, key_variable="VLLM_KEY"))
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer mine"}


def test_without_a_key_none_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with OpenAIServer() as server:
        assert digests_of(configured(server))
    assert "authorization" not in server.requests[0].headers


def test_openai_itself_is_not_asked_without_a_key():
    with pytest.raises(StageError, match=r"at https://api\.openai\.com:443/v1 needs a key: set MY_KEY"):
        digests_of(JudgeConfig(scorer=OPENAI, key_variable="MY_KEY"))


@pytest.mark.parametrize("broken", ["sk-secret\nsk-secret", "sk-sécret", "sk-secret sk-secret"])
def test_what_is_no_key_is_refused_without_saying_it(monkeypatch, broken):
    monkeypatch.setenv("OPENAI_API_KEY", broken)
    with OpenAIServer() as server, pytest.raises(StageError) as raised:
        digests_of(configured(server))
    assert str(raised.value) == "OPENAI_API_KEY holds no key: a key is of ASCII characters, without spaces"
    assert server.requests == []


def test_a_word_in_the_place_of_a_key_is_left_in_the_answers(trial, monkeypatch):
    """Servers of one's own are given `none` or `0`: to blot those out would change what was answered."""
    monkeypatch.setenv("OPENAI_API_KEY", "5")
    with OpenAIServer(key="5", judge=always_top) as server:
        done = trial(rows_of(1), **on(server))()
    assert (done.scores, done.lines[0]["reason"]) == ([100.0], "It deserves 5 of 5.")
