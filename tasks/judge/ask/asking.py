"""From a question to its verdict: ask, check the answer, ask once more, and else say that it is missing."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from tasks.config import AskConfig
from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.judge.ask.adaptive_concurrency import AdaptiveConcurrency
from tasks.judge.ask.answers import AnswerStore, asked_of
from tasks.judge.backends import Backend, connect
from tasks.judge.protocol.refusals import refusal_lines
from tasks.judge.protocol.replies import Answered, Identity
from tasks.judge.protocol.scoring_protocols import (
    AskingProtocol,
    Question,
    ScoringProtocol,
    UnusableError,
)
from tasks.machine.json_files import Json
from tasks.record.stage import say_nothing
from tasks.servers.replies import Reply
from tasks.servers.retries import retry_delay

# Characters that one token stands for on average, at most, over a whole prompt: English comes to 4 or 5 with
# the largest vocabularies, Chinese and Japanese to under 2. A prompt that was read as fewer tokens was cut.
NARROW_PER_TOKEN, WIDE_PER_TOKEN = 8.0, 2.5
_WIDE = re.compile("[\u2e80-\U0010ffff]")  # CJK and what follows it
_RUN = re.compile(r"(.)\1+", re.DOTALL)

WOULD_SAY_ELSE = (
    "the judge would say something else: all labels together have less of its probability than judge.min_mass"
)

TEMPLATE = 512  # tokens that a chat template adds, at most


class Identified(Protocol):
    """What a model is asked about."""

    @property
    def id(self) -> int:
        """Under which its calls are recorded."""


Asked = TypeVar("Asked", bound=Identified)
Answer = TypeVar("Answer")


class MissingError(Exception):
    """There will be no score for this row, however often it is asked."""

    def __init__(self, message: str, *, server_failed: bool = False) -> None:
        super().__init__(message)
        self.server_failed = server_failed


@dataclass(frozen=True)
class Judgement:
    """A score from 0 to 100, or why there is none, with every call that was made for it."""

    score: float | None
    reason: str | None = None
    missing_because: str | None = None
    calls: list[Json] = field(default_factory=list, compare=False)
    server_failed: bool = False
    """There is no score because the server failed, which says nothing about the judge."""
    mass: float | None = None
    """What the labels have of the judge's probability, where labels are what it is asked for."""
    not_read: bool = False
    """There is no score because the prompt did not fit, which says nothing about the judge either."""


async def ask(
    config: AskConfig,
    scorer: str,
    form: ScoringProtocol,
    questions: Sequence[Question],
    answers: AnswerStore,
    finished: Callable[[Judgement], None],
    *,
    audited: str | None = None,
    expected: str | None = None,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Identity, list[Judgement]]:
    """Verdicts in the order of `questions`, as many in flight as the judge can answer.

    `finished` hears of each. `audited` is the digest of the model that passed an audit, if one has,
    `expected` that of the model which stands in the key of the stage. `say` is told what the judge's server
    refuses of a request, when that is found.

    Raises StageError when there is no such judge, when it is another than was audited, and when it is gone
    for good.
    """
    return await ask_each(
        config,
        scorer,
        form,
        questions,
        answers,
        Asker.verdict,
        finished,
        audited=audited,
        expected=expected,
        say=say,
    )


async def ask_each(
    config: AskConfig,
    scorer: str,
    form: AskingProtocol,
    questions: Sequence[Asked],
    answers: AnswerStore,
    answer: Callable[["Asker", Asked], Awaitable[Answer]],
    finished: Callable[[Answer], None],
    *,
    audited: str | None = None,
    expected: str | None = None,
    say: Callable[[str], None] = say_nothing,
) -> tuple[Identity, list[Answer]]:
    """What `answer` makes of every question with the model's help, in their order; else as `ask`."""
    async with connect(config, scorer, form) as backend:
        identity = await backend.identify()
        if audited is not None and identity.digest != audited:
            raise StageError(
                f"{scorer} is not the model that was audited: its digest was {audited:.12} and is "
                f"{identity.digest:.12} now. Run again to audit this one."
            )
        if expected is not None and identity.digest != expected:
            raise StageError(
                f"{scorer} is not the model that was there when the stage began: its digest was "
                f"{expected:.12} and is {identity.digest:.12} now. Run again."
            )
        if backend.refusals is not None:
            backend.refusals.words.update(answers.refusals(identity))
        asker = Asker(config, backend, identity, form, answers, say)
        found: dict[int, Answer] = {}
        waiting = iter(enumerate(questions))
        working = 0

        async def work() -> None:
            nonlocal working
            while working <= asker.in_flight.limit and (following := next(waiting, None)):
                index, question = following
                found[index] = await answer(asker, question)
                finished(found[index])
                employ()
            working -= 1

        def employ() -> None:
            nonlocal working
            while working < asker.in_flight.limit:
                working += 1
                group.create_task(work())

        try:
            async with asyncio.TaskGroup() as group:
                employ()
        except ExceptionGroup as errors:  # the first stopped the others; one message is enough
            raise errors.exceptions[0] from None
        if backend.refusals is not None:
            identity = replace(identity, refusals=dict(backend.refusals.words))
        return identity, [found[index] for index in range(len(questions))]


class Asker:
    """The model at work."""

    def __init__(
        self,
        config: AskConfig,
        backend: Backend,
        identity: Identity,
        form: AskingProtocol,
        answers: AnswerStore,
        say: Callable[[str], None],
    ) -> None:
        self.config = config
        self.backend = backend
        self.identity = identity
        self.form = form
        self.answers = answers
        self.in_flight = AdaptiveConcurrency(backend.first_in_flight, backend.most_in_flight)
        self._say = say
        self._first = asyncio.Lock()
        self._is_known = backend.refusals is None  # what the server refuses, which the first answer shows

    async def verdict(self, question: Question) -> Judgement:
        """What was answered before, or what the judge says now.

        Raises StageError when the judge is gone for good.
        """
        messages = self.form.messages(question)
        calls: list[Json] = []
        why = ""
        for seed in (self.config.seed, self.config.seed + 1):
            try:
                given = self.form.read(await self.text(question, messages, seed, calls))
            except UnusableError as error:
                why = calls[-1]["error"] = str(error)
            except MissingError as error:
                calls[-1]["error"] = str(error)
                return Judgement(
                    None,
                    missing_because=str(error),
                    calls=calls,
                    server_failed=error.server_failed,
                    not_read=not error.server_failed,
                )
            else:
                if given.mass is not None and given.mass < self.config.min_mass:
                    calls[-1]["error"] = why = f"{WOULD_SAY_ELSE} ({self.config.min_mass:g})"
                    return Judgement(None, missing_because=why, calls=calls, mass=given.mass)
                calls[-1] |= {"score": given.points, "reason": given.reason}
                return Judgement(given.points, given.reason, calls=calls, mass=given.mass)
        return Judgement(None, missing_because=f"{why} (twice asked)", calls=calls)

    async def text(self, question: Identified, messages: list[Message], seed: int, calls: list[Json]) -> str:
        """What the model answers, or answered before; the calls for it are added to `calls`.

        The first question is asked alone, so that what the server refuses is refused once.

        Raises MissingError and UnusableError when there is none.
        """
        async with self._first:
            if not self._is_known:
                try:
                    return await self._answer(question, messages, seed, calls)
                finally:
                    self._is_known = True
        return await self._answer(question, messages, seed, calls)

    async def _answer(
        self, question: Identified, messages: list[Message], seed: int, calls: list[Json]
    ) -> str:
        """Only a whole answer is kept: what a server did wrong may be right the next time."""
        while True:
            request = self.backend.request(messages, seed)
            asked = asked_of(self.identity, request)
            kept = self.answers.find(asked, self.config.max_age_days if self.identity.by_name else None)
            reply = kept or await self._send(question, request, seed, calls)
            calls.append(_record(question, request, seed, reply, cached=kept is not None))
            if not self._is_learnt(request, reply):
                break
        if reply.passing:
            raise MissingError(f"{self.config.ROLE} failed on this row: {reply.error}", server_failed=True)
        if reply.status != 200:
            raise MissingError(f"{self.config.ROLE} refused the prompt: {reply.error}")
        answered = self.backend.answered(reply.body)
        calls[-1] |= {
            "answer": answered.text,
            "prompt_tokens": answered.prompt_tokens,
            "tokens": answered.tokens,
        }
        self._check_end(answered)
        check_whole(answered.prompt_tokens, messages, self.backend.context, self._room, self.config.SECTION)
        if kept is None:
            self.answers.add(asked, self.identity.scorer, reply)
        return answered.text

    def _is_learnt(self, request: Json, reply: Reply) -> bool:
        """Whether the server refuses a part of the request that it can be asked without."""
        if self.backend.refusals is None:
            return False
        known = set(self.backend.refusals.words)
        part = self.backend.refusals.learn(request, reply)
        if part and part not in known:
            self.answers.add_refusal(self.identity, part, reply.error or "")
            (line,) = refusal_lines([part])
            self._say(f"{self.identity.scorer}: {line} ({reply.error})")
        return part is not None

    def _check_end(self, answered: Answered) -> None:
        """Raises UnusableError for an answer that may have been cut; JSON shows its end by itself."""
        within = answered.tokens is not None and answered.tokens < self.config.max_tokens
        if not (answered.ended or self.form.schema or within):
            raise UnusableError("the server does not say whether the answer came to its end")

    @property
    def _room(self) -> int | None:
        """Tokens that a prompt may have by the server's own word."""
        return None if self.backend.promised is None else self.backend.promised - self.config.max_tokens

    async def _send(self, question: Identified, request: Json, seed: int, calls: list[Json]) -> Reply:
        """The first reply that is no passing trouble, or the last of several.

        Whoever is alive fails on this row alone. Raises StageError when the judge is gone, has no such model
        any more, or rejected the API key.
        """
        for failures in range(1, self.config.attempts + 1):
            sent_with = self.in_flight.limit
            reply = await self.backend.send(request)
            if reply.status == 200:
                self.in_flight.answered(sent_with, *self.backend.spent(reply))
                return reply
            if reply.refused:
                return reply
            if not reply.passing:
                raise self.backend.fatal(reply)
            if reply.status in (None, 429, 503):
                self.in_flight.overloaded()
            if failures < self.config.attempts:
                calls.append(_record(question, request, seed, reply, cached=False))
                await asyncio.sleep(max(retry_delay(failures), reply.wait or 0.0))
        if not await self.backend.alive():
            raise self.backend.gone(reply.error)
        return reply


def reasons(verdicts: Iterable[Judgement]) -> list[Json]:
    """Why scores are missing, each reason with its count, the most frequent first."""
    counted = Counter(verdict.missing_because for verdict in verdicts if verdict.missing_because)
    return [{"reason": reason, "count": count} for reason, count in counted.most_common()]


def check_whole(
    read: int | None,
    messages: list[Message],
    context: int | None,
    room: int | None = None,
    section: str = AskConfig.SECTION,
) -> None:
    """Raises MissingError when the judge did not read the whole prompt, or nothing shows that it did.

    A server that does not count is believed where the prompt has fewer bytes than the tokens it has room for:
    no token is less than a byte.
    """
    text = "".join(message["content"] for message in messages)
    if read is None:
        if room is not None and len(text.encode("utf-8", "replace")) + TEMPLATE <= room:
            return
        raise MissingError(
            "the server does not say how much of the prompt it read (it gives no usage), so that a prompt "
            "that was cut could not be told. Let it count tokens, or ask one that does"
        )
    needed = fewest_tokens(text)
    if read < needed or (context is not None and read >= context):
        of = "" if context is None else f" of a context of {context}"
        raise MissingError(
            f"the prompt was cut: the model read {read} tokens{of}, and the prompt has at least "
            f"{needed:.0f}. Raise {section}.context, or the server's own."
        )


def fewest_tokens(text: str) -> float:
    """A number of tokens that any tokenizer needs for a text; runs of one character may be one token."""
    distinct = _RUN.sub(r"\1", text)
    wide = len(_WIDE.findall(distinct))
    return (len(distinct) - wide) / NARROW_PER_TOKEN + wide / WIDE_PER_TOKEN


def _record(question: Identified, request: Json, seed: int, reply: Reply, *, cached: bool) -> Json:
    """One line of `calls.jsonl`: everything that was sent, everything that came back."""
    return {
        "id": question.id,
        "seed": seed,
        "request": request,
        "status": reply.status,
        "body": reply.body,
        "answer": None,
        "score": None,
        "reason": None,
        "error": reply.error,
        "latency": reply.latency,
        "cached": cached,
        "prompt_tokens": None,
        "tokens": None,
    }
