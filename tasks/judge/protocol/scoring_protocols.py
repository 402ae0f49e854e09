"""Forms of asking a judge: what is sent, what an answer must look like, and how it is read.

No number is ever searched for in a text, and none is rescaled to fit. What models put around an answer is
taken away where nothing but the answer is left: the part in which they think, and the fence of a code block.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tasks.config import Criterion
from tasks.config.judge_kinds import kind_of
from tasks.judge.protocol.criteria import criterion_messages
from tasks.judge.protocol.prompts import (
    HIGHEST,
    LOWEST,
    Message,
    choice_messages,
    plain_messages,
    score_messages,
)
from tasks.judge.protocol.responses import ResponseRow, Turn
from tasks.record.manifest import canonical_json, digest_of

TOP = 100.0
EVEN = TOP / 2
RESPONSE, REFERENCE = "response", "reference"  # what a reward model reads
STEP = TOP / (HIGHEST - LOWEST)
POINTS = {str(score): STEP * (score - LOWEST) for score in range(LOWEST, HIGHEST + 1)}
WINS = {"A": TOP, "B": 0.0, "tie": TOP / 2}

_AS_JSON = 'in JSON with two keys: "reason", one short sentence, then "score", the whole number.'
_AS_WINNER = 'in JSON with two keys: "reason", one short sentence, then "winner", "A", "B" or "tie".'
_AS_DIGIT = "with the whole number alone."
_AS_LETTER = "with the letter alone: A or B."


class UnusableError(Exception):
    """The model's answer holds no score; another seed may help."""


@dataclass(frozen=True)
class ParsedAnswer:
    """What an answer gives a response: points from 0 to 100, and why."""

    points: float
    reason: str | None = None
    mass: float | None = None
    """Of labels: the probability that the model gives all of them together."""


@dataclass(frozen=True)
class Question:
    """What is asked about: a row with its response or, for a choice, with two responses to it."""

    row: ResponseRow
    other: str | None = None
    """The second response; the first is the row's own."""
    reordered: bool = False
    """Ask with the parts in another order, or with the rule in other words: no score may follow from that."""

    @property
    def id(self) -> int:
        return self.row.id


@dataclass(frozen=True)
class AskingProtocol:
    """One way of asking a model, and of reading its answer."""

    name: str
    messages: Callable[[Any], list[Message]]
    read: Callable[[str], Any]
    """Raises UnusableError for anything but the answer that was asked for."""
    schema: Mapping[str, Any] | None = None
    """A JSON schema that the answer is held to; Ollama returns keys in alphabetical order, so the reason is
    written before what it leads to."""
    labels: Mapping[str, float] | None = None
    """For models whose next token is looked at instead of an answer: what each label is worth."""
    temperature: float = 0
    """At which an answer is drawn; scores are never drawn."""


@dataclass(frozen=True)
class ScoringProtocol(AskingProtocol):
    """One way of asking a judge a `Question`, and of reading its answer as a `ParsedAnswer`."""

    def version(self, reordered: bool = False) -> str:
        """Hash of everything but the row that decides what a judge is asked."""
        before = (Turn("system", "first"), Turn("user", "second"))
        row = ResponseRow(0, "instruction", "input", "reference", "prompt", "response", before=before)
        sample = Question(row, "other", reordered)
        value = {"messages": self.messages(sample), "schema": self.schema, "labels": self.labels}
        return digest_of(canonical_json(value))


def protocol_of(scorer: str, prompt: str, criterion: Criterion | None = None) -> ScoringProtocol:
    """How a judge is asked for the score of one response, on a criterion or by what the reference says."""
    if kind_of(scorer).reads == "rewards":
        return REWARDS
    by_labels = kind_of(scorer).reads == "labels"
    if criterion:
        return _on_criterion(criterion, LABELS if by_labels else ANCHORED)
    if by_labels:
        return LABELS  # a bare number from 0 to 100 is no single token
    return PLAIN if prompt == "plain" else ANCHORED


def choice_protocol_of(scorer: str) -> ScoringProtocol:
    """How a judge is asked which of two responses is better."""
    return CHOICE_LABELS if kind_of(scorer).reads == "labels" else CHOICE


def _on_criterion(criterion: Criterion, form: ScoringProtocol) -> ScoringProtocol:
    """The same form of answer, with the criterion's prompt."""
    answer = _AS_DIGIT if form.labels else _AS_JSON
    return replace(
        form, messages=lambda asked: criterion_messages(asked.row, criterion, answer, asked.reordered)
    )


def contradict(first: float, second: float) -> bool:
    """Whether the points of a response, shown first and shown second, make it the winner and the loser."""
    return (first - EVEN) * (second - EVEN) < 0


def over_both_orders(first: float, second: float) -> float:
    """The points of a response that was shown first and second; contradictory choices say nothing."""
    return EVEN if contradict(first, second) else (first + second) / 2


def _score(text: str) -> ParsedAnswer:
    """Of an answer that is exactly the JSON object asked for."""
    reason, score = _object(text, "score")
    if isinstance(score, float) and score.is_integer():  # 4.0 is 4
        score = int(score)
    if type(score) is not int:  # a bool is an int to isinstance; "4" is not what was asked for
        raise UnusableError(f"the score {score!r:.40} is not a whole number")
    if not LOWEST <= score <= HIGHEST:
        raise UnusableError(f"the score {score} is not on the scale from {LOWEST} to {HIGHEST}")
    return ParsedAnswer(POINTS[str(score)], reason)


def _winner(text: str) -> ParsedAnswer:
    reason, winner = _object(text, "winner")
    if not isinstance(winner, str) or winner not in WINS:
        raise UnusableError(f"the winner {winner!r:.40} is none of {', '.join(WINS)}")
    return ParsedAnswer(WINS[winner], reason)


def _object(text: str, key: str) -> tuple[str, Any]:
    try:
        value = json_answer(text)
    except (ValueError, RecursionError) as error:  # a looping model opens a thousand brackets
        raise UnusableError(f"the answer is not the JSON that was asked for: {error}") from error
    if not isinstance(value, dict) or set(value) != {"reason", key} or type(value["reason"]) is not str:
        raise UnusableError(f"the answer is not an object with a text 'reason' and a {key!r}")
    return value["reason"].encode("utf-8", "replace").decode(), value[key]


_THOUGHT = re.compile(r"\s*(?:<(think|thinking|reasoning)>)?(.*?)</(think|thinking|reasoning)>", re.DOTALL)
_FENCED = re.compile(r"(```|~~~)(?:json)?\s(.*?)\s?\1", re.DOTALL | re.IGNORECASE)


def _bare(text: str) -> str:
    """An answer without the thinking before it and the fence around it.

    Chat templates may open the thinking themselves, so that an answer has only its end.

    Raises UnusableError for thinking that does not end, or ends twice: what is the answer is not certain.
    """
    rest = text.strip()
    if rest.startswith(("{", "```", "~~~")):
        thought = None
    elif thought := _THOUGHT.match(rest):
        rest = rest[thought.end() :].strip()
        if _THOUGHT.match(rest) and not rest.startswith(("{", "```", "~~~")):
            raise UnusableError("the answer ends its thinking twice")
    elif re.match(r"<(think|thinking|reasoning)>", rest):
        raise UnusableError("the answer does not come to the end of its thinking")
    fenced = _FENCED.fullmatch(rest)
    return fenced[2] if fenced else rest


def json_answer(text: str) -> Any:
    """The value of an answer in JSON, without the thinking before it and the fence around it.

    Raises UnusableError for thinking that does not end, ValueError or RecursionError for what is no JSON.
    """
    return json.loads(_bare(text), object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands there twice")
    return dict(pairs)


def _number(text: str) -> ParsedAnswer:
    """Of an answer that is a whole number from 0 to 100 and nothing else."""
    digits = re.sub(r"\.0*$", "", _bare(text))
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 3):
        raise UnusableError(f"the answer {text!r:.60} is not a whole number alone")
    if int(digits) > TOP:
        raise UnusableError(f"the score {digits} is not on the scale from 0 to {TOP:g}")
    return ParsedAnswer(float(digits))


def _expected(labels: Mapping[str, float]) -> Callable[[str], ParsedAnswer]:
    """The mean of what the labels are worth, weighed by the probabilities that the model gives them."""

    def read(text: str) -> ParsedAnswer:
        said = json.loads(text)
        points = sum(said["probabilities"][label] * worth for label, worth in labels.items())
        return ParsedAnswer(round(min(max(points, 0.0), TOP), 3), mass=said["mass"])

    return read


def _reward_messages(asked: Question) -> list[Message]:
    """The conversation, what is the reference of it, and the response; nobody is told what to do."""
    row = asked.row
    return [
        *(turn._asdict() for turn in row.before),
        {"role": "user", "content": row.instruction, "input": row.input},
        {"role": REFERENCE, "content": row.reference},
        {"role": "assistant", "content": row.response},
    ]


def _of_rewards(text: str) -> ParsedAnswer:
    """How near a response comes to the reference: twice the chance that it is the better of the two.

    By Bradley and Terry that chance is sigmoid(its reward - that of the reference). What is worth as much as
    the reference has 100 points, as has what is worth more.
    """
    said = json.loads(text)
    response, reference = said[RESPONSE], said[REFERENCE]
    chance = 0.5 * (1 + math.tanh((response - reference) / 2))
    return ParsedAnswer(
        round(min(TOP, 2 * TOP * chance), 3), f"reward {response:.2f}, of the reference {reference:.2f}"
    )


def _answers(key: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, key: values},
        "required": ["reason", key],
        "additionalProperties": False,
    }


def _choice(answer: str) -> Callable[[Question], list[Message]]:
    return lambda asked: choice_messages(asked.row, asked.row.response, asked.other or "", answer)


ANCHORED = ScoringProtocol(
    "anchored",
    lambda asked: score_messages(asked.row, _AS_JSON, asked.reordered),
    _score,
    schema=_answers("score", {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}),
)
LABELS = ScoringProtocol(
    "labels",
    lambda asked: score_messages(asked.row, _AS_DIGIT, asked.reordered),
    _expected(POINTS),
    labels=POINTS,
)
PLAIN = ScoringProtocol("plain", lambda asked: plain_messages(asked.row, asked.reordered), _number)
REWARDS = ScoringProtocol("rewards", _reward_messages, _of_rewards)
CHOICE = ScoringProtocol(
    "choice", _choice(_AS_WINNER), _winner, schema=_answers("winner", {"enum": list(WINS)})
)
CHOICE_LABELS = ScoringProtocol(
    "choice-labels",
    _choice(_AS_LETTER),
    _expected({"A": WINS["A"], "B": WINS["B"]}),
    labels={"A": WINS["A"], "B": WINS["B"]},
)
