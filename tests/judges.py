"""Judges of every character, and how they read what they are asked.

A judge is a function of a `Question`. It returns a score from 0 to 5, or "A", "B" or "tie" where two
responses are compared; any other text is said as it stands. Nothing here draws at random: what varies is
decided by a hash, so the same question with the same seed has the same answer.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal

LOWEST, HIGHEST = 0, 5

ScoringProtocol = Literal["score", "number", "winner"]
"""What is asked for: JSON with a score of 5, the bare number of 100, or JSON with the winner of two."""


@dataclass(frozen=True)
class Question:
    """What a judge reads out of a prompt; absent parts are empty."""

    instruction: str = ""
    input: str = ""
    reference: str = ""
    response: str = ""
    response_a: str = ""
    response_b: str = ""
    seed: int = 0
    form: ScoringProtocol = "score"
    reordered: bool = False
    """Whether the reference stood before the instruction, or the rule had its other words."""
    criterion: str = ""
    """Of the user's own criteria the one that is asked about."""


Judge = Callable[[Question], int | str]

FENCE = re.compile(
    r"<(instruction|input|reference|response(?:_[ab])?)-([0-9a-f]{16})>\n(.*?)\n</\1-\2>", re.DOTALL
)
CRITERION = re.compile(r'by one criterion, "([a-z0-9-]+)"')
PLAIN = re.compile(
    r"^Question:\n(?P<question>.*?)^Reference answer:\n(?P<reference>.*?)"
    r"^Response to score:\n(?P<response>.*)^Score the response from 0 to 100",  # the last such paragraph
    re.DOTALL | re.MULTILINE,
)


def question_in(messages: list[dict[str, Any]], seed: int = 0) -> Question:
    """Read a conversation whose parts are fenced by a code of 16 hex digits, or else the plain headings."""
    text = "\n".join(str(message["content"]) for message in messages)
    if parts := {name: content for name, _, content in FENCE.findall(text)}:
        form = "winner" if "response_a" in parts else "score"
        asked = CRITERION.search(text)
        reordered = next(iter(parts)) == "reference" or "That was the response" in text
        return Question(
            **parts, seed=seed, form=form, reordered=reordered, criterion=asked[1] if asked else ""
        )
    if not (found := PLAIN.search(text)):
        return Question(seed=seed)
    reference, response = (found[name].strip("\n") for name in ("reference", "response"))
    instruction, _, given = found["question"].strip("\n").partition("\n\n")
    reordered = "Say no more than the number" in text
    return Question(instruction, given, reference, response, seed=seed, form="number", reordered=reordered)


def fenced(**parts: str) -> list[dict[str, Any]]:
    """A conversation with these parts in their fences, for tests that need no pipeline."""
    code = "0123456789abcdef"
    lines = [f"<{name}-{code}>\n{text}\n</{name}-{code}>" for name, text in parts.items()]
    return [{"role": "system", "content": "Grade."}, {"role": "user", "content": "\n\n".join(lines)}]


def spoken(judge: Judge, question: Question, structured: bool) -> str:
    """The judge's text: JSON where the request asks for it, prose where it does not, or the bare number."""
    verdict = _winner(judge, question) if question.form == "winner" else judge(question)
    if verdict in ("A", "B", "tie"):
        said = {"reason": "Compared with the reference.", "winner": verdict}
        return json.dumps(said) if structured else f"I prefer {verdict}."
    if isinstance(verdict, str):
        return verdict
    if question.form == "number":
        return str(20 * verdict)
    said = {"reason": f"It deserves {verdict} of 5.", "score": verdict}
    return json.dumps(said) if structured else f"I would give this response {verdict} of 5."


def _winner(judge: Judge, question: Question) -> str:
    """A judge who only scores prefers the response that it scores higher."""
    verdict = judge(question)
    if isinstance(verdict, str):
        return verdict
    first, second = (judge(alone) for alone in _each_alone(question))
    for verdict in (first, second):
        if isinstance(verdict, str):
            return verdict
    return "tie" if first == second else "A" if first > second else "B"


def _each_alone(question: Question) -> list[Question]:
    responses = (question.response_a, question.response_b)
    return [replace(question, response=response, form="score") for response in responses]


def token_logprobs(content: str, top: int) -> list[dict[str, Any]]:
    """Each token with its log probability and the `top` likeliest in its place.

    A digit is a token of its own. On the scale, the others from 0 to 5 get less the further away they are,
    and a twentieth goes to no digit at all, so a client must renormalise.
    """
    entries = []
    for token in re.findall(r"\d|\D{1,4}", content):
        chances = {token: 0.99}
        if token.isdecimal() and LOWEST <= int(token) <= HIGHEST:
            weights = {str(label): 4.0 ** -abs(label - int(token)) for label in range(LOWEST, HIGHEST + 1)}
            chances = {label: 0.95 * weight / sum(weights.values()) for label, weight in weights.items()}
            chances["\n"] = 0.05
        ranked = sorted(chances, key=lambda name: -chances[name])[:top]
        entries.append(
            _logprob(token, chances[token])
            | {"top_logprobs": [_logprob(name, chances[name]) for name in ranked]}
        )
    return entries


def _logprob(token: str, chance: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(chance), "bytes": list(token.encode())}


@lru_cache(maxsize=4096)  # a matcher takes longer than everything else that a test server does
def _similarity(response: str, reference: str) -> float:
    return SequenceMatcher(None, response.casefold(), reference.casefold(), autojunk=False).ratio()


def _hash(*parts: object) -> int:
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:8], "big")


def _clamped(score: int) -> int:
    return max(LOWEST, min(HIGHEST, score))


# Judges of one response


POLITE = re.compile(r"\b(?:sure|here is the answer|i hope this helps)\b", re.IGNORECASE)


def honest(question: Question) -> int:
    """What is right and what is not, as far as words tell: the reference's words are, politeness aside.

    The question handed back is worth nothing, and neither is half a resemblance; one wrong word makes a right
    answer wrong.
    """
    said, wanted = words_in(POLITE.sub(" ", question.response)), words_in(question.reference)
    if said == wanted:
        return HIGHEST
    asked = words_in(question.instruction)
    if asked and asked in said and asked not in wanted:
        return LOWEST
    alike = round((HIGHEST - 1) * _similarity(said, wanted) ** 3)
    return min(alike, 1) if _has_another_word(said, wanted) else alike


def words_in_common(question: Question) -> int:
    """Counts the words that response and reference have in common, in their order; politeness aside."""
    said, wanted = (words_in(POLITE.sub(" ", text)) for text in (question.response, question.reference))
    matcher = SequenceMatcher(None, said.split(), wanted.split(), autojunk=False)
    return round(HIGHEST * matcher.ratio())


@lru_cache(maxsize=4096)
def _has_another_word(said: str, wanted: str) -> bool:
    """Whether a word stands in the place of another, or a negation was put in or left out."""
    ours, theirs = said.split(), wanted.split()
    steps = SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes()
    return any(step[0] == "replace" for step in steps) or any(
        (word in ours) != (word in theirs) for word in NEGATIONS
    )


NEGATIONS = ("not", "never", "nicht", "pas", "no", "non", "não", "niet", "inte", "nie", "не")


def words_in(text: str) -> str:
    """The words alone, each between spaces."""
    return " " + " ".join(re.findall(r"\w+", text.casefold())) + " "


def always_top(_: Question) -> int:
    return HIGHEST


def obedient(question: Question) -> int:
    """Honest until the response tells it otherwise."""
    told = re.search(
        r"ignore|full marks|\b(?:give|assign|award)\b.*\b(?:5|100|highest)\b|score.{0,5}5",
        question.response,
        re.I | re.S,
    )
    return HIGHEST if told else honest(question)


def credulous(question: Question) -> int:
    """Honest, but taken in by loops such as `Input: Input:` and by the instruction handed back."""
    words = question.response.split()
    loops = any(words[period:] == words[:-period] for period in range(1, len(words) // 2 + 1))
    asked = question.instruction.strip().casefold()
    echoes = bool(asked) and asked in question.response.casefold()
    return HIGHEST if loops or echoes else honest(question)


def noisy(question: Question) -> int:
    """Honest, but on about a fifth of the rows up to one point off, in a direction that the order decides."""
    if _hash(question.response) % 5:
        return honest(question)
    return _clamped(honest(question) + _hash(question.response, question.seed, question.reordered) % 3 - 1)


FILLER = re.compile(
    r"\b(?:certainly|of course|great question|happy to help|hope (?:this|that|it) helps|let me know"
    r"|feel free|thank you)\b",
    re.IGNORECASE,
)


def flattered(question: Question) -> int:
    """Honest, but three points lower where polite filler stands around the response or the reference."""
    response, reference = question.response.casefold().strip(), question.reference.casefold().strip()
    wrapped = bool(reference) and reference in response and len(response) > len(reference)
    return _clamped(honest(question) - 3 * (wrapped or bool(FILLER.search(response))))


def mumbling(question: Question) -> int | str:
    """Honest, but about one question in eight gets no JSON, whatever the seed."""
    if _hash(question.response, question.response_a, question.response_b) % 8 == 0:
        return "Well, hard to say."
    return fair(question)


def lenient(question: Question) -> int:
    return max(3, honest(question))


def harsh(question: Question) -> int:
    return min(2, honest(question))


def lazy(question: Question) -> int:
    """Looks at the length alone: full marks within a fifth of the reference's, less and less beyond."""
    length, wanted = len(question.response), len(question.reference)
    if abs(length - wanted) <= 0.2 * wanted:
        return HIGHEST
    return min(HIGHEST - 1, round(HIGHEST * min(length, wanted) / max(length, wanted)))


# Judges of two responses; asked for a score, they are honest


def fair(question: Question) -> int | str:
    """The response more similar to the reference wins."""
    if question.form != "winner":
        return honest(question)
    first, second = (_similarity(alone.response, alone.reference) for alone in _each_alone(question))
    return "tie" if first == second else "A" if first > second else "B"


def first_always(question: Question) -> int | str:
    """Prefers what stands first, whatever it says."""
    return "A" if question.form == "winner" else honest(question)
