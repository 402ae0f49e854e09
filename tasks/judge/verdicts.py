"""From a row to its verdict: ask, check the answer, ask once more, and else say that it is missing."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tasks.config import JudgeConfig
from tasks.judge.journal import Journal, Verdict
from tasks.judge.ollama import Identity, Message, Ollama, Reply, clean, retry_delay
from tasks.judge.prompts import HIGHEST, LOWEST, messages
from tasks.judge.responses import Row
from tasks.judge.statistics import TOP
from tasks.manifest import canonical_json, digest_of

# Characters that one token stands for on average, at most, over a whole prompt: English comes to 4 or 5 with
# the largest vocabularies, Chinese and Japanese to under 2. A prompt that was read as fewer tokens was cut.
NARROW_PER_TOKEN, WIDE_PER_TOKEN = 8.0, 2.5
FIRST_WIDE = "\u2e80"  # CJK and what follows it


class UnusableError(Exception):
    """The model's answer holds no score; another seed may help."""


class MissingError(Exception):
    """There will be no score for this row, however often it is asked."""


def score_in(text: str) -> tuple[int, str]:
    """Score and reason of an answer that is exactly the JSON object asked for.

    No number is ever searched for in a text, and none is rescaled. Raises UnusableError.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_duplicates)
    except ValueError as error:
        raise UnusableError(f"the answer is not the JSON that was asked for: {error}") from error
    if not isinstance(value, dict) or set(value) != {"reason", "score"} or type(value["reason"]) is not str:
        raise UnusableError("the answer is not an object with a text 'reason' and a 'score'")
    score = value["score"]
    if type(score) is not int:  # a bool is an int to isinstance; 4.0 and "4" are not what was asked for
        raise UnusableError(f"the score {score!r:.40} is not a whole number")
    if not LOWEST <= score <= HIGHEST:
        raise UnusableError(f"the score {score} is not on the scale from {LOWEST} to {HIGHEST}")
    return score, clean(value["reason"])


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def answer_in(body: Any) -> str:
    """The text of a finished answer. Raises UnusableError for one that was aborted or cut."""
    if not isinstance(body, dict) or not isinstance(body.get("message"), dict):
        error = body.get("error") if isinstance(body, dict) else None
        raise UnusableError(f"the server's answer holds no message{f': {error!r:.200}' if error else ''}")
    if body.get("done") is not True:
        raise UnusableError("the model gave up in the middle of its answer (done is false)")
    if body.get("done_reason") == "length":
        raise UnusableError("the answer was cut at its limit; judge.max_tokens or judge.context is too small")
    if body.get("done_reason") != "stop":
        raise UnusableError(f"the answer ended for the reason {body.get('done_reason')!r} instead of 'stop'")
    content = body["message"].get("content")
    if not isinstance(content, str):
        raise UnusableError("the message has no text")
    return content


def fewest_tokens(text: str) -> float:
    """A number of tokens that any tokenizer needs for a text; runs of one character may be one token."""
    distinct = [after for before, after in zip(" " + text, text, strict=False) if before != after]
    wide = sum(character >= FIRST_WIDE for character in distinct)
    return (len(distinct) - wide) / NARROW_PER_TOKEN + wide / WIDE_PER_TOKEN


def check_whole(body: Any, asked: list[Message], context: int) -> None:
    """Raises MissingError unless the model has read the whole prompt."""
    read = body.get("prompt_eval_count") if isinstance(body, dict) else None
    if type(read) is not int:
        raise MissingError("the server does not say how much of the prompt it read (no prompt_eval_count)")
    needed = fewest_tokens("".join(message["content"] for message in asked))
    if read >= context or read < needed:
        raise MissingError(
            f"the prompt was cut: the model read {read} tokens of a context of {context}, "
            f"and the prompt has at least {needed:.0f}. Raise judge.context."
        )


class RowJudge:
    """The judge at work: one server, one journal, several rows at a time."""

    def __init__(self, config: JudgeConfig, server: Ollama, identity: Identity, journal: Journal) -> None:
        self.config = config
        self.server = server
        self.identity = identity
        self.journal = journal

    async def verdict(self, row: Row) -> Verdict:
        """What was found before, or what the server says now.

        Raises StageError when the server is gone for good.
        """
        asked = messages(row)
        body = self.server.chat_body(asked, self.config.seed)
        key = digest_of(canonical_json([self.identity.digest, body]))
        if known := self.journal.verdict(key):
            return known
        attempts = iter(range(1, 2 * self.config.attempts + 1))
        why = ""
        for seed in (self.config.seed, self.config.seed + 1):
            reply, call = await self._reply(row, asked, seed, attempts)
            if reply.passing:  # not kept in the journal: a later attempt at the stage asks again
                return Verdict(None, missing_because=f"the server failed on this row: {reply.error}")
            try:
                score, reason = self._read(reply, asked)
            except UnusableError as error:
                why = str(error)
                self.journal.add_call(call | {"error": why})
            except MissingError as error:
                self.journal.add_call(call | {"error": str(error)})
                return self._keep(key, Verdict(None, missing_because=str(error)))
            else:
                self.journal.add_call(call | {"score": score, "reason": reason})
                return self._keep(key, Verdict(TOP * (score - LOWEST) / (HIGHEST - LOWEST), reason))
        return self._keep(key, Verdict(None, missing_because=f"{why} (twice asked)"))

    def _keep(self, key: str, verdict: Verdict) -> Verdict:
        self.journal.add_verdict(key, verdict)
        return verdict

    def _read(self, reply: Reply, asked: list[Message]) -> tuple[int, str]:
        if reply.status == 400:
            raise MissingError(f"the server refused the prompt: {reply.error}")
        content = answer_in(reply.body)
        check_whole(reply.body, asked, self.config.context)
        return score_in(content)

    async def _reply(
        self, row: Row, asked: list[Message], seed: int, attempts: Iterator[int]
    ) -> tuple[Reply, dict[str, Any]]:
        """The first reply that is no passing trouble, with its call's record, or the last of several.

        Whoever answers `GET /api/version` is there, and fails on this row alone.

        Raises StageError when the server is gone, has no such model any more, or lets nobody in.
        """
        for failures in range(1, self.config.attempts + 1):
            reply = await self.server.chat(asked, seed)
            call = _record(row, asked, seed, next(attempts), reply)
            if reply.status in (200, 400):
                return reply, call
            self.journal.add_call(call)
            if not reply.passing:
                raise self.server.not_pulled() if reply.status == 404 else self.server.refused(reply.error)
            if failures < self.config.attempts:
                await asyncio.sleep(retry_delay(failures))
        if not await self.server.alive():
            raise self.server.gone(reply.error)
        return reply, call


def _record(row: Row, asked: list[Message], seed: int, attempt: int, reply: Reply) -> dict[str, Any]:
    """One line of `calls.jsonl`; `raw` is the model's text, or the body when it has none."""
    body = reply.body if isinstance(reply.body, dict) else {}
    message = body.get("message")
    return {
        "id": row.id,
        "attempt": attempt,
        "seed": seed,
        "messages": asked,
        "status": reply.status,
        "raw": message.get("content") if isinstance(message, dict) else reply.body,
        "score": None,
        "reason": None,
        "error": reply.error,
        "latency": reply.latency,
        "done": body.get("done"),
        "done_reason": body.get("done_reason"),
        "prompt_eval_count": body.get("prompt_eval_count"),
        "eval_count": body.get("eval_count"),
    }


async def verdicts_on(
    config: JudgeConfig, rows: Sequence[Row], journal: Journal, finished: Callable[[Verdict], None]
) -> tuple[Identity, list[Verdict]]:
    """Verdicts in the order of `rows`, `config.concurrency` requests in flight; `finished` hears of each.

    Raises StageError when there is no such server or model, or it is gone for good.
    """
    async with Ollama(config) as server:
        identity = await server.identify()
        row_judge = RowJudge(config, server, identity, journal)
        found: dict[int, Verdict] = {}
        waiting = iter(enumerate(rows))

        async def work() -> None:
            for index, row in waiting:
                found[index] = await row_judge.verdict(row)
                finished(found[index])

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(config.concurrency):
                    group.create_task(work())
        except ExceptionGroup as errors:  # the first stopped the others; one message is enough
            raise errors.exceptions[0] from None
        return identity, [found[index] for index in range(len(rows))]
