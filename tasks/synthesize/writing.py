"""Asking a model for rows: through the layer that judges use, with its cache, its retries and its slots."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.config import SynthesizeConfig
from tasks.errors import RefusedError, UnreachableError
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import Asker, MissingError, ask_each
from tasks.judge.protocol.replies import Identity
from tasks.judge.protocol.scoring_protocols import UnusableError
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.synthesize.prompts import Prompt, Task, protocol_of

GIVE_UP = 20  # answers in a row, from the first on, none of which can be read
QUOTED = 3  # of those, in the message
LONGEST_QUOTE = 160  # characters


@dataclass(frozen=True)
class Written:
    """What a model wrote, or why nothing could be read of it; with every call that was made."""

    task: Task
    texts: dict[str, str] | None
    seed: int
    """That of the answer which could be read."""
    why: str = ""
    calls: list[Json] = field(default_factory=list, compare=False)
    server_failed: bool = False


async def _written(asker: Asker, task: Task) -> Written:
    """Ask, and ask once more with another seed when the answer cannot be read."""
    calls: list[Json] = []
    why = ""
    for seed in (task.seed, task.seed + 1):
        try:
            texts = asker.form.read(await asker.text(task, asker.form.messages(task), seed, calls))
        except UnusableError as error:
            why = calls[-1]["error"] = str(error)
        except MissingError as error:
            calls[-1]["error"] = str(error)
            return Written(task, None, seed, str(error), calls, error.server_failed)
        else:
            return Written(task, texts, seed, calls=calls)
    return Written(task, None, task.seed, f"{why} (twice asked)", calls)


def write(
    config: SynthesizeConfig,
    run: StageRun,
    writer: str,
    prompt: Prompt,
    tasks: Sequence[Task],
    temperature: float,
) -> tuple[Identity, list[Written]]:
    """What the model writes for each task, in their order; what it wrote before is not asked for again.

    Raises RefusedError for a model whose first answers are none of the form asked for, UnreachableError when
    its server fails, StageError when it is another model than when the stage began.
    """
    asking = config.writing(writer)
    first = _First(writer, min(GIVE_UP, len(tasks)))
    done, unread = 0, 0
    name = f"{writer} at temperature {temperature:g}"

    def finished(one: Written) -> None:
        nonlocal done, unread
        done, unread = done + 1, unread + (one.texts is None)
        run.progress(done, len(tasks), "answers", f"{name}, {unread} of another form")
        first.look_at(one)

    run.phase(f"asking {name}")
    with answers_for(asking, run) as answers:
        identity, written = asyncio.run(
            ask_each(
                asking,
                writer,
                protocol_of(config, prompt, temperature),
                tasks,
                answers,
                _written,
                finished,
                expected=run.fingerprints.get(writer),
                say=run.say,
            )
        )
    if failed := [one for one in written if one.server_failed]:
        raise UnreachableError(
            f"the server of {writer} failed on {len(failed)} of {len(tasks)} requests: {failed[0].why}. What "
            "was answered is kept; run again to continue."
        )
    return identity, written


class _First:
    """The first answers of a model: where none of them can be read, the others are not asked for."""

    def __init__(self, writer: str, count: int) -> None:
        self._writer, self._count = writer, count
        self._unread: list[Written] = []
        self._is_known = False

    def look_at(self, one: Written) -> None:
        """Raises RefusedError."""
        if one.server_failed or self._is_known:
            return
        self._is_known = one.texts is not None
        self._unread.append(one)
        if self._is_known or len(self._unread) < self._count:
            return
        (why, often), *_ = Counter(each.why for each in self._unread).most_common()
        quoted = "; ".join(repr(_answer(each))[:LONGEST_QUOTE] for each in self._unread[:QUOTED])
        raise RefusedError(
            f"{self._writer} gave no row: of its first {self._count} answers none has the form asked for "
            f"({often} times: {why}). They begin with: {quoted}. Ask a model that writes JSON, a shorter "
            "synthesize.passage_words, more synthesize.max_tokens, or another prompt (--prompt FILE)."
        )


def _answer(one: Written) -> str:
    """The last text of a model for a task, as far as there is one."""
    told = [call["answer"] for call in one.calls if call["answer"] is not None]
    if told:
        return told[-1]
    body = one.calls[-1]["body"] if one.calls else None
    return _content(body) or (one.calls[-1]["error"] if one.calls else "") or ""


def _content(body: object) -> str:
    """The text of an answer that was cut, in either protocol."""
    if not isinstance(body, dict):
        return ""
    choices = body.get("choices")
    holder = choices[0] if isinstance(choices, list) and choices else body
    message = holder.get("message") if isinstance(holder, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    return content if isinstance(content, str) else ""
