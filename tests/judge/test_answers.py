"""What was answered is kept: by what was asked of which model, for every later run, whatever dies."""

import os
import signal
import sqlite3
import time

import pytest

from tasks.config import JudgeConfig
from tasks.errors import StageError
from tasks.judge.ask.answers import ANEW, OCCASION, AnswerStore, asked_of
from tasks.judge.ask.identities import digests_of
from tasks.judge.protocol.replies import Identity
from tasks.servers.replies import Reply
from tests.chat_server import Fault
from tests.judge.judging import OLLAMA, Trial, on, rows_of, serving
from tests.judge.opening import open_together
from tests.judges import always_top, honest
from tests.ollama_server import OllamaServer

REPLY = Reply(200, {"message": {"content": "½ \\ud83d \ud83d"}}, None, 0.25)


def test_a_reply_comes_back_as_it_was(tmp_path):
    with AnswerStore(tmp_path / "deep" / "answers.db") as answers:
        assert answers.find("a") is None
        answers.add("a", OLLAMA, REPLY)
        answers.add("b", OLLAMA, Reply(200, None, None, 0.0))
    with AnswerStore(tmp_path / "deep" / "answers.db") as answers:
        assert answers.find("a") == REPLY


def test_what_an_answer_is_kept_by():
    request = {"model": "m", "messages": [{"role": "user", "content": "q"}], "seed": 1}
    judge = Identity(OLLAMA, "d", "0.32")
    same = asked_of(Identity("ollama:alias", "d", "0.33"), dict(reversed(request.items())))
    others = [
        asked_of(judge, request | {"seed": 2}),
        asked_of(judge, request | {"messages": []}),
        asked_of(Identity(OLLAMA, "e", "0.32"), request),
    ]
    assert asked_of(judge, request) == same
    assert same not in others


@pytest.mark.parametrize("protocol", ["ollama", "openai"])
def test_a_later_run_that_asks_the_same_makes_no_call(trial, protocol):
    with serving(protocol) as server:
        first = trial(rows_of(4), **on(server))()
        second = trial(rows_of(4), **on(server, resamples=50, max_missing=0.5, concurrency=1))()
    assert len(server.chats) == 4
    assert second.scores == first.scores
    assert [call["cached"] for call in second.calls] == [True] * 4
    assert (second.run.metrics["calls"], second.run.metrics["calls_cached"]) == (0, 4)
    assert [call["body"] for call in second.calls] == [call["body"] for call in first.calls]


@pytest.mark.parametrize("change", [{"seed": 9}, {"max_tokens": 128}, {"context": 2048}, {"prompt": "plain"}])
def test_what_is_asked_otherwise_is_asked_anew(trial, change):
    with OllamaServer() as server:
        trial(rows_of(1), **on(server))()
        trial(rows_of(1), **on(server, **change))()
    assert len(server.chats) == 2


def test_a_row_more_is_one_call_more(trial):
    with OllamaServer() as server:
        trial(rows_of(3), **on(server))()
        trial(rows_of(4), **on(server))()
    assert len(server.chats) == 4


def test_an_unusable_answer_is_kept_and_its_second_seed_too(trial):
    with OllamaServer(faults=[Fault("garbage", times=None)]) as server:
        for _ in range(2):
            done = trial(rows_of(1), **on(server))()
    assert (len(server.chats), done.scores) == (2, [None])


def test_answers_of_another_model_are_not_taken_over(trial):
    for digest in ("a" * 64, "b" * 64):
        with OllamaServer(digest=digest) as server:
            trial(rows_of(1), **on(server))()
        assert len(server.chats) == 1


# What is asked again


def age(path, days):
    """Have every answer been given so many days ago."""
    with sqlite3.connect(path) as base:
        base.execute("UPDATE answers SET at = datetime('now', ?)", (f"-{days} days",))
    base.close()


@pytest.mark.parametrize(
    ("protocol", "days", "changes", "asked"),
    [
        ("openai", 6.9, {}, 2),
        ("openai", 7.1, {}, 4),
        ("openai", 1.1, {"max_age_days": 1.0}, 4),
        ("openai", 7.1, {"max_age_days": 30.0}, 2),
        ("ollama", 400, {}, 2),  # its digest says that it is the same model
    ],
)
def test_answers_of_a_judge_known_by_name_alone_expire(trial, protocol, days, changes, asked):
    with serving(protocol) as server:
        age(trial(rows_of(2), **on(server))().answers, days)
        trial(rows_of(2), **on(server, **changes))()
        assert len(server.chats) == asked
        trial(rows_of(2), **on(server, **changes))()
        assert len(server.chats) == asked


def test_judge_known_by_name_alone_is_looked_at_again_each_day():
    with serving("openai") as openai, serving("ollama") as ollama:
        for server, changes, lasts in ((openai, {}, 86_400), (openai, {"max_age_days": 0.5}, 43_200)):
            given = {name: value for name, value in on(server, **changes).items() if name != "digest"}
            found = [
                digests_of(JudgeConfig(**given), lambda at=at: at) for at in (0.0, lasts - 1.0, lasts + 0.0)
            ]
            assert found[0] == found[1] != found[2]
        config = JudgeConfig(scorer=OLLAMA, host=ollama.address)
        assert digests_of(config, lambda: 0.0) == digests_of(config, lambda: 1e9)


def test_pitfall_30_fresh_asking_reads_and_leaves_no_answers(trial):
    """The judge is another one by the second asking, under the same name and digest."""
    with OllamaServer(judge=honest) as server:
        before = trial(rows_of(3), **on(server))().scores
        server.judge = always_top
        anew = trial(rows_of(3), **on(server, anew=True))().scores
        assert (len(server.chats), anew) == (6, [100.0] * 3)
        assert trial(rows_of(3), **on(server))().scores == before != anew
        assert len(server.chats) == 6
        trial(rows_of(3), **on(server, anew=True))()
        assert len(server.chats) == 9


def test_fresh_asking_cut_short_finds_what_it_asked_before(trial):
    def attempt(occasion):
        made = trial(rows_of(3), **on(server, anew=True))
        made.run.lineage = {OCCASION: occasion}
        return made()

    with OllamaServer() as server:
        attempt("monday")
        attempt("monday")
        assert len(server.chats) == 3
        last = attempt("sunday")
        assert len(server.chats) == 6
        age(last.run.shared / ANEW, 8)
        attempt("sunday")
        assert len(server.chats) == 9
    with sqlite3.connect(last.run.shared / ANEW) as base:
        assert base.execute("SELECT count(*) FROM answers").fetchone() == (3,)  # what is old was removed
    base.close()


def _trial_in(folder, config):
    Trial(folder, rows_of(40), **config)()


def test_a_killed_process_loses_no_answer(processes, tmp_path):
    """SIGKILL in the middle; the next attempt asks only for what had not been answered."""
    with OllamaServer(slots=2, latency=0.02, judge=always_top) as server:
        config = on(server, concurrency=2)
        victim = processes.Process(target=_trial_in, args=(tmp_path, config))
        victim.start()
        deadline = time.monotonic() + 60
        while len(server.chats) < 12 and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        asked = [chat.text for chat in server.chats]
        assert 12 <= len(asked) < 40
        done = Trial(tmp_path, rows_of(40), **config)()
    again = [chat.text for chat in server.chats[len(asked) :]]
    assert done.scores == [100.0] * 40
    assert set(asked) | set(again) == {chat.text for chat in server.chats}
    assert len(set(asked) & set(again)) <= 2  # in flight when it was killed
    assert not set(asked[:-2]) & set(again)


def test_two_processes_may_use_it_at_once(processes, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    (tmp_path / "shared").mkdir()
    for folder in (ours, theirs):
        folder.mkdir()
        (folder / "shared").symlink_to(tmp_path / "shared", target_is_directory=True)
    with OllamaServer(slots=2, latency=0.01, judge=always_top) as server:
        config = on(server, concurrency=2)
        other = processes.Process(target=_trial_in, args=(theirs, config))
        other.start()
        deadline = time.monotonic() + 60
        while not server.chats and time.monotonic() < deadline:
            time.sleep(0.002)
        assert Trial(ours, rows_of(40), **config)().scores == [100.0] * 40
        other.join()
        assert other.exitcode == 0
        asked = len(server.chats)
        assert Trial(ours, rows_of(40), **config)().scores == [100.0] * 40
        assert len(server.chats) == asked


def test_a_fresh_file_is_opened_by_several_at_once(processes, tmp_path):
    """SQLite refuses the second with "database is locked" at once, whatever its timeout."""
    barrier, failures = processes.Barrier(6), processes.Queue()
    paths = [tmp_path / f"{number}.db" for number in range(20)]
    every = [processes.Process(target=open_together, args=(paths, barrier, failures)) for _ in range(6)]
    for process in every:
        process.start()
    assert [failures.get(timeout=60) for _ in every] == [None] * 6
    for process in every:
        process.join()


# Damage


def test_a_file_that_is_no_database_is_told_with_what_to_do(trial):
    attempt = trial(rows_of(1), scorer=OLLAMA)
    attempt.answers.write_bytes(b"no database " * 100)
    with pytest.raises(StageError) as raised:
        attempt()
    assert str(raised.value) == (
        f"{attempt.answers}, which keeps the judges' answers, cannot be read (file is not a database). "
        "Move it away and run again: what it held is asked anew."
    )


@pytest.mark.parametrize("reply", ["", "{}", "[1]", '{"status": 200', '{"other": 1}'])
def test_an_answer_that_cannot_be_read_is_told_with_what_to_do(tmp_path, reply):
    path = tmp_path / "answers.db"
    with AnswerStore(path) as answers:
        answers.add("a", OLLAMA, REPLY)
        with sqlite3.connect(path) as base:
            base.execute("UPDATE answers SET reply = ?", (reply,))
        base.close()
        with pytest.raises(StageError, match="Move it away and run again"):
            answers.find("a")


def test_pages_that_were_overwritten_are_told_with_what_to_do(trial):
    with OllamaServer() as server:
        done = trial(rows_of(20), **on(server))()
        with done.answers.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (done.answers.stat().st_size - 4096))
        with pytest.raises(StageError, match=r"answers\.db.* is malformed.*Move it away and run again"):
            trial(rows_of(20), **on(server))()
        done.answers.unlink()
        assert trial(rows_of(20), **on(server))().scores == done.scores
