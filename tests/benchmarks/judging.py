"""Answers a second from a judge's server of so many slots, as a share of what the slots could give.

    python -m tests.benchmarks.judging [--slots 1 4 8 16] [--latency 0.1] [--rows 50] [--rounds 3]

The server of the tests runs in a process of its own; every answer takes the latency in one of its slots. The
ideal is rows x latency / slots. Ours is not told how many slots there are. Beside it stands the book's way, a
request after the other. It asserts nothing; the last table is in docs/benchmarks.md.
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from tasks.config import JudgeConfig
from tasks.judge.ask.answers import AnswerStore
from tasks.judge.ask.asking import ask
from tasks.judge.backends.ollama import Ollama
from tasks.judge.protocol.responses import ResponseRow
from tasks.judge.protocol.scoring_protocols import ANCHORED, Question
from tests.ollama_server import OllamaServer

MODEL = "llama3.2"


def serve(slots: int, latency: float, pipe: Connection) -> None:
    with OllamaServer(slots=slots, latency=latency) as server:
        pipe.send(server.address)
        pipe.recv()
        pipe.send(server.most_in_flight)


def questions(count: int, round_: int) -> list[Question]:
    """Rows that no round before has asked about."""
    return [
        Question(
            ResponseRow(
                id=index,
                instruction=f"Name the capital of country {index} in round {round_}.",
                input="",
                reference=f"The capital is City{index}.",
                prompt="",
                response=f"I believe that it is City{index}, a large place on a river.",
            )
        )
        for index in range(count)
    ]


def ours(address: str, asked: list[Question]) -> float:
    """Seconds of the judge stage's asking, answers kept in their file as always."""
    config = JudgeConfig(scorer=f"ollama:{MODEL}", host=address)
    with tempfile.TemporaryDirectory() as folder, AnswerStore(Path(folder) / "answers.db") as answers:
        started = time.perf_counter()
        _, verdicts = asyncio.run(
            ask(config, config.headline, ANCHORED, asked, answers, lambda _verdict: None)
        )
        seconds = time.perf_counter() - started
    if any(verdict.score is None for verdict in verdicts):
        raise SystemExit("the server did not answer every question")
    return seconds


def one_by_one(address: str, asked: list[Question]) -> float:
    """Seconds of the same requests sent one after the other, each on a connection of its own."""
    backend = Ollama(JudgeConfig(scorer=f"ollama:{MODEL}", host=address), MODEL, ANCHORED)
    started = time.perf_counter()
    for question in asked:
        request = backend.request(ANCHORED.messages(question), 123)
        httpx.post(f"http://{address}/api/chat", json=request, trust_env=False, timeout=60).raise_for_status()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--latency", type=float, default=0.1, help="seconds of one answer")
    parser.add_argument("--rows", type=int, default=50, help="for each slot")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| slots | rows | ideal | ours | of the ideal | in flight at most | times one by one |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for slots in options.slots:
        rows = options.rows * slots
        ours_pipe, pipe = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(
            target=serve, args=(slots, options.latency, pipe)
        )
        server.start()
        address = ours_pipe.recv()
        seconds = [ours(address, questions(rows, round_)) for round_ in range(options.rounds)]
        few = questions(40, options.rounds)
        sequential = one_by_one(address, few) / len(few) * rows
        ours_pipe.send("done")
        most = ours_pipe.recv()
        server.join()
        ideal, median = rows * options.latency / slots, statistics.median(seconds)
        print(
            f"| {slots} | {rows} | {ideal:.2f} s | {median:.2f} s | {ideal / median:.1%} | {most} "
            f"| {sequential / median:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
