"""Which rows are kept: filters in a fixed order, each with a reason for every row that it sets aside."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.config import SynthesizeConfig
from tasks.data.duplicates import Groups, join_near_duplicates, standing_in, words_of
from tasks.data.rewordings import join_rewordings
from tasks.judge.audit.languages import LANGUAGES, Language, common_language, language_of
from tasks.judge.protocol.responses import ResponseRow, has_text, kind_of
from tasks.machine.json_files import Json
from tasks.synthesize.prompts import Task

TITLES = {
    "form": "no answer of the form asked for",
    "empty": "empty",
    "order": "no answer is better",
    "refused": "refused to answer",
    "length": "too short or too long",
    "language": "in another language",
    "repeats": "repeats the question, or itself",
    "unnamed": "speaks of its passage or its prompt, which are not shown",
    "grounded": "not grounded in its passage",
    "verbatim": "copied from the corpus",
    "given": "asks what a given row asks",
    "near": "asks what an earlier row asks",
}
"""The filters, in their order, by what they say of a row."""

LONG_WORD = 4  # characters from which a word counts as content where the language cannot be told

_REFUSED = re.compile(
    r"\b(?:as an? (?:ai|language model)"
    r"|i(?:['’]m| am) (?:sorry|unable|not able)"
    r"|i (?:can ?not|can['’]t|won['’]t) (?:answer|help|assist|provide|fulfil)"
    r"|(?:the )?passage (?:does not|doesn['’]t) (?:say|mention|provide|contain|specify|state))",
    re.IGNORECASE,
)
_SPEAKS_OF_PROMPT = re.compile(
    r"\b(?:this|the|given|above|following|that) "
    r"(?:passage|text|excerpt|paragraph|extract|document|question)\b"
    r"|\bjson\b|\bthe answer is:",
    re.IGNORECASE,
)


@dataclass
class Candidate:
    """A row that was asked for; `row` is None where nothing could be read."""

    task: Task
    row: Json | None
    seed: int
    filter: str = ""
    """That which set it aside; empty for a row that is kept."""
    why: str = ""
    passage: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Of the two answers of a preference, or of how far an answer is grounded."""

    def put_aside(self, name: str, why: str) -> None:
        self.filter, self.why = name, why

    @property
    def answers(self) -> list[str]:
        """What the model wrote as answers."""
        return [self.row[key] for key in ("chosen", "rejected") if key in self.row] or [self.row["output"]]


Filter = Callable[[Sequence[Candidate]], Mapping[int, str]]
"""Why each of the rows that it sets aside is, by its place among those that are left."""


@dataclass(frozen=True)
class Against:
    """What rows are compared with."""

    config: SynthesizeConfig
    language: Language | None
    corpus: Sequence[str] = ()
    """Its passages."""
    given: Sequence[tuple[str, str]] = ()
    """Instructions and inputs of rows that people wrote; none where the rows are answers to just those."""
    given_answers: Sequence[str | None] = ()


def apply(name: str, candidates: Iterable[Candidate], filter_: Filter) -> None:
    """Let a filter look at the candidates that are left."""
    left = [one for one in candidates if not one.filter]
    for place, why in filter_(left).items():
        left[place].put_aside(name, why)


def plain_filters(against: Against) -> dict[str, Filter]:
    """The filters that need no model, by their names; the others are in the stage that asks one."""
    config = against.config
    filters: dict[str, Filter] = {"empty": _empty, "refused": _refused, "length": _length(config)}
    if config.kind != "rewordings":
        filters["repeats"] = _repeats
    if against.language:
        filters["language"] = _language(against.language)
    if config.asks_passages:
        if not config.with_passage:
            filters["unnamed"] = _unnamed
        if config.grounded_by == "words":
            filters["grounded"] = _grounded(config, against.language)
        if config.verbatim_words:
            filters["verbatim"] = _verbatim(config, against.corpus)
    if config.kind in ("questions", "rewordings"):
        if against.given:
            filters["given"] = _given(against)
        filters["near"] = _near(config)
    return filters


def _texts(one: Candidate, config: SynthesizeConfig) -> dict[str, str]:
    """What the model wrote of a row, by what a person calls it."""
    found = {}
    if config.kind in ("questions", "rewordings"):
        found["question"] = one.row["instruction"]
    if config.kind != "rewordings":
        found |= {f"answer{number or ''}": text for number, text in enumerate(one.answers)}
    return found


def _empty(left: Sequence[Candidate]) -> Mapping[int, str]:
    return {
        place: "a question or an answer has no text"
        for place, one in enumerate(left)
        if not all(map(has_text, [one.row["instruction"], *one.answers]))
    }


def _refused(left: Sequence[Candidate]) -> Mapping[int, str]:
    """Of a preference the rejected answer may refuse."""
    return {
        place: f"the answer says {match[0]!r}"
        for place, one in enumerate(left)
        if (match := _REFUSED.search(one.answers[0]))
    }


def _length(config: SynthesizeConfig) -> Filter:
    def found(left: Sequence[Candidate]) -> Mapping[int, str]:
        sizes = [{name: len(words_of(text)) for name, text in _texts(one, config).items()} for one in left]
        return {
            place: f"the {name.rstrip('1')} has {size} words"
            for place, own in enumerate(sizes)
            for name, size in own.items()
            if not config.min_words <= size <= config.max_words
        }

    return found


def _language(expected: Language) -> Filter:
    def found(left: Sequence[Candidate]) -> Mapping[int, str]:
        told = [language_of(" ".join([one.row["instruction"], *one.answers])) for one in left]
        return {
            place: f"it is in {own.name}, expected {expected.name}"
            for place, own in enumerate(told)
            if own and own.name != expected.name
        }

    return found


def _repeats(left: Sequence[Candidate]) -> Mapping[int, str]:
    """By the rules that tell such responses of a model that is scored."""
    reasons = {}
    for place, one in enumerate(left):
        asked = one.row["instruction"], one.row["input"]
        kind = kind_of(ResponseRow(one.task.id, *asked, "", "", one.answers[0]))
        if kind in ("echoed", "looping"):
            reasons[place] = f"the answer is {kind}"
    return reasons


def _unnamed(left: Sequence[Candidate]) -> Mapping[int, str]:
    """What the passage itself says may be asked about."""
    reasons = {}
    for place, one in enumerate(left):
        said = _SPEAKS_OF_PROMPT.findall(f"{one.row['instruction']} {one.row['output']}")
        if strange := [words for words in said if words.lower() not in one.passage.lower()]:
            reasons[place] = f"it says {strange[0]!r}"
    return reasons


def content_words(text: str, language: Language | None) -> list[str]:
    """Words that say something: all but the language's function words.

    Of a language that cannot be told, words of some length, and numbers.
    """
    if language and language.words:
        return [word for word in words_of(text) if word not in language.words and word[0].isalnum()]
    return [word for word in words_of(text) if len(word) >= LONG_WORD or word[0].isdigit()]


def _grounded(config: SynthesizeConfig, language: Language | None) -> Filter:
    """By the share of an answer's content words that stand in its passage; one that has none passes."""

    def found(left: Sequence[Candidate]) -> Mapping[int, str]:
        reasons = {}
        for place, one in enumerate(left):
            words = list(dict.fromkeys(content_words(one.row["output"], language)))
            there = set(words_of(one.passage))
            strange = [word for word in words if word not in there]
            share = 1 - len(strange) / len(words) if words else 1.0
            one.scores = {"grounded": round(share, 4)}
            if share < config.grounded:
                reasons[place] = (
                    f"its passage has {share:.0%} of the answer's content words; not {', '.join(strange[:5])}"
                )
        return reasons

    return found


def _verbatim(config: SynthesizeConfig, corpus: Sequence[str]) -> Filter:
    """Word for word, across the ends of passages too."""

    def found(left: Sequence[Candidate]) -> Mapping[int, str]:
        texts = {
            (place, what): words
            for place, one in enumerate(left)
            for what, text in (("question", one.row["instruction"]), ("answer", one.row["output"]))
            if len(words := words_of(text)) >= config.verbatim_words
        }
        copied = standing_in(texts, (word for passage in corpus for word in words_of(passage)))
        return {
            place: f"the {what} stands in the corpus word for word ({len(words)} words)"
            for (place, what), words in texts.items()
            if (place, what) in copied
        }

    return found


def _given(against: Against) -> Filter:
    def found(left: Sequence[Candidate]) -> Mapping[int, str]:
        first = _first_alike(
            [*against.given, *(_asked(one) for one in left)],
            [*against.given_answers, *_answers(left, against.config)],
        )
        count = len(against.given)
        return {
            place: f"nearly what given row {first[count + place]} asks"
            for place in range(len(left))
            if first[count + place] < count
        }

    return found


def _near(config: SynthesizeConfig) -> Filter:
    def found(left: Sequence[Candidate]) -> Mapping[int, str]:
        first = _first_alike([_asked(one) for one in left], _answers(left, config))
        return {
            place: f"nearly what row {left[earlier].task.id} asks"
            for place, earlier in enumerate(first)
            if earlier != place
        }

    return found


def _asked(one: Candidate) -> tuple[str, str]:
    """What a row asks; a passage that is its input would make all questions about it alike."""
    return one.row["instruction"], "" if one.passage else one.row["input"]


def _answers(left: Sequence[Candidate], config: SynthesizeConfig) -> list[str | None]:
    """By which questions are known to be the same in other words; None where other words are asked for."""
    return [None if config.kind == "rewordings" else one.row["output"] for one in left]


def _first_alike(prompts: Sequence[tuple[str, str]], answers: Sequence[str | None]) -> list[int]:
    """For each prompt the first that asks the same: a near duplicate, or other words for the same answer."""
    groups = Groups(len(prompts))
    join_near_duplicates(groups, prompts)
    join_rewordings(groups, prompts, answers)
    return groups.smallest().tolist()


def expected_language(name: str, texts: Sequence[str]) -> Language | None:
    """What `synthesize.language` says, `auto` being told from texts. Raises KeyError for a name not known."""
    if name == "any":
        return None
    return common_language(texts) if name == "auto" else LANGUAGES[name]
