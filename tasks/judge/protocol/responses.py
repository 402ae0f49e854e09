"""The rows to be scored, and which responses need no judge to be told apart."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tasks.data.reading import read_records, spoken
from tasks.errors import StageError
from tasks.rows.responses import RESPONSES

Kind = Literal["ok", "empty", "identical", "echoed", "looping"]

DECIDED: dict[Kind, float] = {"empty": 0.0, "identical": 100.0, "echoed": 0.0, "looping": 0.0}
"""Scores that are decided in code: small judges gave `Input: Input: Input:` 100 of 100."""

FIELDS = {"id": int, "instruction": str, "input": str, "output": str, "prompt": str, "response": str}
OPTIONAL = {"category": str, "source": str, "tokens": int, "cut": bool, "reference_tokens": int}
ROLES = ("system", "user", "assistant", "tool")
HIGHEST_LOSS = 700.0  # nats per token; the perplexity of more is no number of 64 bits


class Turn(NamedTuple):
    """What was said before the instruction, and by whom."""

    role: str
    content: str


@dataclass(frozen=True)
class ResponseRow:
    """One response, with what it answers and what it should have been.

    What other tools do not write is None: `tokens` of the response, whether the length limit `cut` it, and
    the model's mean loss on the reference in nats per token, over so many tokens.
    """

    id: int
    instruction: str
    input: str
    reference: str
    prompt: str
    response: str
    category: str | None = None
    source: str | None = None
    """What other rows come from as well; None where the row stands for itself."""
    tokens: int | None = None
    cut: bool | None = None
    reference_loss: float | None = None
    reference_tokens: int | None = None
    before: tuple[Turn, ...] = ()
    """The conversation that the instruction ends, a system prompt included; `messages` in the file."""

    @property
    def question(self) -> list[str]:
        """The instruction, and the input where there is one."""
        return [part for part in (self.instruction, self.input) if part.strip()]


def read_rows(folder: Path) -> list[ResponseRow]:
    """The responses of an output.

    Raises StageError naming the row that is malformed, or when there is none.
    """
    path = folder / RESPONSES
    if not path.is_file():
        raise StageError(f"{path} is not there; expected one response a line. Generate the responses first.")
    rows: dict[int, ResponseRow] = {}
    for place, value in read_records(path):
        row = _row(value, place)
        if row.id in rows:
            raise StageError(f"{place}: id {row.id} was used before; ids must be unique.")
        rows[row.id] = row
    return list(rows.values())


def _row(value: dict[str, Any], place: str) -> ResponseRow:
    for field, kind in FIELDS.items():
        _check(value, field, kind, place)
    for field, kind in OPTIONAL.items():
        if value.get(field) is not None:
            _check(value, field, kind, place)
    for field in ("tokens", "reference_tokens"):
        if (value.get(field) or 0) < 0:
            raise StageError(f"{place}: {field!r} is {value[field]}; expected a number of tokens.")
    return ResponseRow(
        id=value["id"],
        instruction=value["instruction"],
        input=value["input"],
        reference=value["output"],
        prompt=value["prompt"],
        response=value["response"],
        category=value.get("category"),
        source=value.get("source"),
        tokens=value.get("tokens"),
        cut=value.get("cut"),
        reference_loss=_loss(value, place),
        reference_tokens=value.get("reference_tokens"),
        before=turns_of(value, place),
    )


def turns_of(value: dict[str, Any], place: str) -> tuple[Turn, ...]:
    """The turns of a row before its instruction. Raises StageError for what is no list of turns."""
    messages = value.get("messages") or []
    if type(messages) is not list:
        raise StageError(f"{place}: 'messages' is {messages!r:.80}; expected a list of turns.")
    for turn in messages:
        if type(turn) is not dict or turn.get("role") not in ROLES:
            raise StageError(
                f"{place}: 'messages' holds {turn!r:.80}; expected turns with a role "
                f"({', '.join(ROLES)}) and a content."
            )
        _check(turn, "content", str, f"{place}: a turn of 'messages'")
    return tuple(Turn(turn["role"], spoken(turn)) for turn in messages)


def _loss(value: dict[str, Any], place: str) -> float | None:
    loss = value.get("reference_loss")
    if loss is None:
        return None
    if type(loss) not in (int, float) or not 0 <= loss <= HIGHEST_LOSS:  # NaN is not between two numbers
        raise StageError(
            f"{place}: 'reference_loss' is {loss!r:.80}; expected nats per token, 0 to {HIGHEST_LOSS:g}."
        )
    return float(loss)


def _check(value: dict[str, Any], field: str, kind: type, place: str) -> None:
    if field not in value:
        raise StageError(f"{place}: there is no {field!r}; expected the fields {', '.join(FIELDS)}.")
    if type(value[field]) is not kind:  # a bool is an int to isinstance
        raise StageError(f"{place}: {field!r} is {value[field]!r:.80}; expected {kind.__name__}.")
    if kind is str and any("\ud800" <= character <= "\udfff" for character in value[field]):
        raise StageError(f"{place}: {field!r} holds half a surrogate pair, which is not text.")


def kind_of(row: ResponseRow) -> Kind:
    """What a response is. A reference that would itself be called an echo or a loop excuses its response."""
    if not has_text(row.response):
        return "empty"
    if row.response.strip() == row.reference.strip():
        return "identical"
    if _echoes(row.response, row) and not _echoes(row.reference, row):
        return "echoed"
    if _loops(row.response) and not _loops(row.reference):
        return "looping"
    return "ok"


def has_text(text: str) -> bool:
    """Whether anything in a text can be seen: a zero-width space is no response."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _echoes(text: str, row: ResponseRow) -> bool:
    """Whether a text repeats the instruction and, the prompt's own lines taken away, says nothing else.

    A part of the prompt alone is no echo: "Find the adjective in: the big dog" is answered by "big".
    """
    rest, instruction = _plain(text), _plain(row.instruction)
    if not instruction or instruction not in rest:
        return False
    parts = {_plain(part) for part in (row.prompt, row.instruction, row.input, *row.prompt.splitlines())}
    for part in sorted(parts - {""}, key=lambda part: (-len(part), part)):
        rest = rest.replace(part, " ")
    return not any(character.isalnum() for character in rest)


# A unit and its repetitions: of words (each written as one character), and of characters, for the scripts
# that put no spaces between words.
_THREE_TIMES = re.compile(r"(.{1,100}?)\1{2,}", re.DOTALL)
_FOUR_TIMES = re.compile(r"(.{1,200}?)\1{3,}", re.DOTALL)
MOSTLY, HALF, LONG = 0.9, 0.5, 40  # shares of the text; characters


def _loops(text: str) -> bool:
    """Whether a text is little but one run of words, said three times or more, or goes on so for half of it.

    "Input: Input: Input:" is a loop; "AAA", "very, very good" and "0 0 0 0", which may be an answer, are not.
    """
    words = _plain(text).split()
    flat = " ".join(words) + " "
    alphabet = {word: chr(0x10000 + index) for index, word in enumerate(dict.fromkeys(words))}
    spelled = "".join(alphabet[word] for word in words)
    in_letters = any(character.isalpha() for character in flat)
    if in_letters and _longest(_THREE_TIMES, spelled) >= MOSTLY * len(words):
        return True
    return _longest(_FOUR_TIMES, flat) >= max(LONG, HALF * len(flat))


def _longest(pattern: re.Pattern[str], text: str) -> int:
    return max((len(match.group()) for match in pattern.finditer(text)), default=0)
