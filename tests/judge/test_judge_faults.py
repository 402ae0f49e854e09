"""Faults of either protocol's server: nothing lost, nothing guessed, nothing cut."""

import asyncio
import gzip
import json
import math

import pytest

from tasks.errors import StageError, UnreachableError
from tasks.judge.ask.asking import MissingError, check_whole, fewest_tokens
from tasks.judge.protocol.scoring_protocols import PLAIN, UnusableError
from tasks.servers import http
from tests.chat_server import CONTENTS, Fault, json_response
from tests.http_server import FaultyServer, Reply
from tests.judge.judging import (
    FINAL,
    HALF_CHARACTER,
    PASSING,
    READ,
    UNUSABLE,
    each,
    on,
    row_of,
    rows_of,
    serving,
)
from tests.judges import always_top
from tests.ollama_server import OllamaServer

PROTOCOLS = ("ollama", "openai")
both = pytest.mark.parametrize("protocol", PROTOCOLS)


@pytest.mark.parametrize(("protocol", "kind"), each(PASSING))
def test_a_passing_fault_is_tried_again(trial, protocol, kind):
    with serving(protocol, judge=always_top, faults=[Fault(kind, times=2)]) as server:
        done = trial(rows_of(1), **on(server))()
    assert done.scores == [100.0]
    assert len(server.chats) == len(done.calls) == 3
    assert [call["error"] is None for call in done.calls] == [False, False, True]


@pytest.mark.parametrize(("protocol", "kind"), each(PASSING))
def test_a_row_on_which_the_server_always_fails_is_missing(trial, protocol, kind):
    with serving(protocol, faults=[Fault(kind, times=None, containing="number 1.")]) as server:
        done = trial(rows_of(3), **on(server, max_missing=0.5))()
    assert [score is None for score in done.scores] == [False, True, False]
    assert "the judge failed on this row" in done.lines[1]["missing_because"]
    (why,) = done.judged["missing_because"]
    assert (why["count"], "the judge failed on this row" in why["reason"]) == (1, True)
    assert len([chat for chat in server.chats if "number 1." in chat.text]) == 3
    assert (done.judged["rows"], done.judged["scored"], done.judged["missing"]) == (3, 2, 1)


def test_endless_answer_is_not_read_to_the_end_of_the_memory(monkeypatch):
    monkeypatch.setattr(http, "LONGEST_ANSWER", 100_000)
    with FaultyServer().running() as running:
        running.on("/endless", Reply(b" " * 2**24, length=False))
        running.on("/packed", Reply(gzip.compress(b" " * 2**24), headers={"Content-Encoding": "gzip"}))
        running.on("/whole", Reply(gzip.compress(b'{"a": 1}'), headers={"Content-Encoding": "gzip"}))

        async def asked():
            async with http.Server(running.url, 10) as server:
                return [await server.get(path) for path in ("/endless", "/packed", "/whole")]

        endless, packed, whole = asyncio.run(asked())
    for reply in (endless, packed):
        assert "the answer has more than 100000 bytes" in reply.error
        assert reply.body is None
    assert whole.body == {"a": 1}


@both
def test_too_many_rows_failed_by_the_server_are_no_kept_result(trial, protocol):
    """Regression: `too many missing` was cached, and the healthy server never asked."""
    fault = Fault("500", times=None, containing="number 1.")
    told = pytest.raises(UnreachableError, match=r"failed on 1 of 3 rows: .*run again to continue")
    with serving(protocol, faults=[fault]) as server, told:
        trial(rows_of(3), **on(server))()
    with serving(protocol, port=server.port, judge=always_top) as server:
        assert None not in trial(rows_of(3), **on(server))().scores
        assert len(server.chats) == 1


@both
def test_a_stalled_answer_is_given_up_after_the_timeout(trial, protocol):
    with serving(protocol, judge=always_top, faults=[Fault("stall")]) as server:
        done = trial(rows_of(1), **on(server, timeout=0.3))()
    assert done.scores == [100.0]
    assert done.calls[0]["error"] == "no answer within 0.3 s"


@pytest.mark.parametrize(("protocol", "kind"), each(UNUSABLE))
def test_unusable_answer_is_asked_once_more_with_another_seed(trial, protocol, kind):
    with serving(protocol, judge=always_top, faults=[Fault(kind)]) as server:
        done = trial(rows_of(1), **on(server, seed=7))()
    assert done.scores == [100.0]
    assert [call["seed"] for call in done.calls] == [7, 8]
    assert [chat.body.get("options", chat.body)["seed"] for chat in server.chats] == [7, 8]
    assert done.calls[0]["error"]
    assert done.calls[0]["score"] is None


@pytest.mark.parametrize(("protocol", "kind"), [*each(dict.fromkeys(PROTOCOLS, READ)), ("openai", "parts")])
def test_wrapping_around_an_answer_is_removed_where_certain(trial, protocol, kind):
    with serving(protocol, judge=lambda _: '{"reason": "Good.", "score": 4}', faults=[Fault(kind)]) as server:
        done = trial(rows_of(1), **on(server))()
    assert (done.scores, len(server.chats)) == ([80.0], 1)
    assert done.calls[0]["answer"] == CONTENTS.get(kind, '{"reason": "Good.", "score": 4}')


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("thinking_cut", "does not come to the end of its thinking"),
        ("thinking_twice", "ends its thinking twice"),
        ("fenced_in_prose", "is not the JSON that was asked for"),
        ("score_4.5", "the score 4.5 is not a whole number"),
        ("picture", "a part of the message is 'image_url', which is not text"),
    ],
)
def test_what_is_not_certain_is_missing_with_its_reason(trial, kind, told):
    with serving("openai", faults=[Fault(kind, times=None)]) as server:
        done = trial(rows_of(1), **on(server))()
    assert told in done.lines[0]["missing_because"]


@both
def test_untold_end_is_seen_in_json_and_not_in_a_number(trial, protocol):
    with serving(protocol, judge=always_top, faults=[Fault("no_reason", times=None)]) as server:
        assert trial(rows_of(1), **on(server))().scores == [100.0]
        assert trial(rows_of(1), **on(server, prompt="plain"))().scores == [100.0]  # it has tokens to spare
        cut = trial(rows_of(1), **on(server, prompt="plain", max_tokens=1))()
    assert "does not say whether the answer came to its end" in cut.lines[0]["missing_because"]


@pytest.mark.parametrize("answer", ["85", " 85. ", "85.0", "<think>90?</think>85", "```\n85\n```"])
def test_a_number_alone_is_read(answer):
    assert PLAIN.read(answer).points == 85.0


@pytest.mark.parametrize("answer", ["85.5", "850", "-5", "85/100", "85 90", "<think>85", "8 5", "", "1e1"])
def test_a_number_that_is_not_alone_is_not_read(answer):
    with pytest.raises(UnusableError):
        PLAIN.read(answer)


@pytest.mark.parametrize(("protocol", "kind"), each(UNUSABLE))
def test_an_unusable_answer_twice_is_missing_and_counted(trial, protocol, kind):
    """Pitfall 21: never dropped, never caught by a pattern, never rescaled, never off the scale."""
    with serving(protocol, faults=[Fault(kind, times=None, containing="number 1.")]) as server:
        done = trial(rows_of(3), **on(server))()
    assert [line["id"] for line in done.lines] == [0, 1, 2]
    assert done.scores[1] is None
    assert done.lines[1]["reason"] is None
    assert done.lines[1]["missing_because"].endswith("(twice asked)")
    assert len(server.chats) == 4
    assert (done.judged["rows"], done.judged["scored"], done.judged["missing"]) == (3, 2, 1)
    assert (done.judged["status"], done.judged["mean"]) == ("too_many_missing", None)
    assert done.summary["scores"][0]["status"] == "ok"
    assert "judge_mean" not in done.run.metrics
    assert done.run.metrics["missing"] == 1


@pytest.mark.parametrize(("protocol", "kind"), each(dict.fromkeys(PROTOCOLS, FINAL)))
def test_what_another_try_cannot_mend_is_missing_at_once(trial, protocol, kind):
    with serving(protocol, faults=[Fault(kind)]) as server:
        done = trial(rows_of(1), **on(server))()
    assert len(server.chats) == 1
    assert done.scores == [None]
    assert done.lines[0]["missing_because"] == done.calls[0]["error"]


@pytest.mark.parametrize(
    ("protocol", "kind", "told"),
    [
        ("ollama", "404", r"ollama pull llama3\.2"),
        ("ollama", "401", "refuses to judge: 401 unauthorized"),
        ("openai", "404", "has no model 'llama-3.2-3b-instruct'"),
        ("openai", "401", "rejected the API key.* Set OPENAI_API_KEY"),
    ],
)
def test_what_no_row_could_get_past_ends_the_stage(trial, protocol, kind, told):
    with serving(protocol, faults=[Fault(kind)]) as server, pytest.raises(StageError, match=told):
        trial(rows_of(2), **on(server, concurrency=1))()
    assert len(server.chats) == 1


@both
def test_many_faults_at_once_lose_nothing(trial, protocol):
    faults = [Fault(kind) for kind in (*PASSING[protocol], *UNUSABLE[protocol], *FINAL) for _ in range(2)]
    with serving(protocol, slots=4, faults=faults) as server:
        done = trial(rows_of(60), **on(server, concurrency=4, attempts=5))()
    assert [line["id"] for line in done.lines] == list(range(60))
    for line, score in zip(done.lines, done.scores, strict=True):
        assert (score is None) == (line["missing_because"] is not None)
    assert done.judged["rows"] == done.judged["scored"] + done.judged["missing"] == 60
    assert len(done.calls) == len(server.chats)


@both
def test_a_reason_that_cannot_be_written_costs_no_score(trial, protocol):
    with serving(protocol, faults=[Fault("half_character")]) as server:
        done = trial(rows_of(1), **on(server))()
    assert (done.scores, done.lines[0]["reason"]) == ([80.0], "Good ?")
    assert done.calls[0]["answer"] == HALF_CHARACTER


class Unwritable(OllamaServer):
    """A number that is none and half a character, where no client would look."""

    async def _chat(self, request):
        body = json.loads((await super()._chat(request)).body)
        return json_response(200, body | {"logprob": -math.inf, "context": "\ud83d", "created_at": math.nan})


def test_unwritable_characters_in_an_answer_cost_no_score(trial):
    with Unwritable(judge=always_top) as server:
        done = trial(rows_of(1), **on(server))()
    assert done.scores == [100.0]
    body = done.calls[0]["body"]
    assert (body["logprob"], body["context"], body["created_at"]) == ("-Infinity", "?", "NaN")


@both
def test_brackets_without_end_are_missing(trial, protocol):
    """Deeper than Python's parser goes, which is no ValueError."""
    with serving(protocol, judge=lambda _: "[" * 5000) as server:
        done = trial(rows_of(1), **on(server, max_tokens=2000))()
    assert done.scores == [None]
    assert "is not the JSON that was asked for" in done.lines[0]["missing_because"]


# Whole prompts: pitfall 22


def test_a_prompt_that_does_not_fit_is_missing_and_never_cut(trial):
    rows = [row_of(0), row_of(1, response="word " + " ".join(map(str, range(2000))))]
    with serving("ollama") as server:
        done = trial(rows, **on(server, context=1024))()
    assert done.scores[0] is not None
    assert "longer than the context length" in done.lines[1]["missing_because"]


@pytest.mark.parametrize("text", ["word " * 5000, "x" + "東京は日本の首都です。" * 600])
def test_half_a_prompt_is_told_from_a_whole_one(text):
    """Ollama's shift keeps half the context: 2050 tokens of 4096, in English or Japanese."""
    assert fewest_tokens(text) > 2050
    assert fewest_tokens(" " * 100_000) < 1


def test_a_prompt_that_fills_the_context_was_cut():
    asked = [{"role": "user", "content": "word " * 100}]
    check_whole(100, asked, 101)
    check_whole(100, asked, None)
    with pytest.raises(MissingError, match="read 100 tokens of a context of 100"):
        check_whole(100, asked, 100)


# The server gone, and back


@both
@pytest.mark.parametrize("times", [0, 3])
def test_run_that_lost_its_server_continues_without_asking_again(trial, protocol, times):
    """`times`: with three connections lost before the server dies, each having been answered later."""
    faults = [Fault("drop", times), Fault("die", containing="number 5.")]
    gone = pytest.raises(UnreachableError, match="Finished answers are kept")
    with serving(protocol, faults=faults) as server, gone:
        trial(rows_of(8), **on(server, concurrency=1, attempts=5))()
    answered = {chat.text for chat in server.chats if "number 5." not in chat.text}
    assert len(answered) == 5
    with serving(protocol, port=server.port) as second:
        done = trial(rows_of(8), **on(second, concurrency=1))()
    assert not answered & {chat.text for chat in second.chats}
    assert len(second.chats) == 3
    assert done.judged["scored"] == 8
    assert [call["cached"] for call in done.calls] == [True] * 5 + [False] * 3
    assert {call["id"] for call in done.calls} == set(range(8))


@both
@pytest.mark.parametrize("kind", ["400", "cut_prompt", "no_count", "broken_body", "error_body"])
def test_server_errors_are_asked_anew_by_the_next_attempt(trial, protocol, kind):
    """Raise the server's own context, says the error: the answer to the cut prompt must not be kept."""
    with serving(protocol, faults=[Fault(kind, times=None)]) as server:
        assert trial(rows_of(1), **on(server))().scores == [None]
    with serving(protocol, judge=always_top, port=server.port) as server:
        assert trial(rows_of(1), **on(server))().scores == [100.0]


@both
def test_nobody_there(trial, protocol):
    with serving(protocol) as server:
        config = on(server)
    with pytest.raises(UnreachableError) as raised:
        trial(rows_of(1), **config)()
    help_ = {"ollama": ("ollama serve", "OLLAMA_HOST", "judge.host")}
    for part in (server.address, *help_.get(protocol, ("OPENAI_BASE_URL", "judge.base_url"))):
        assert part in str(raised.value)
