"""A corpus cut into passages: at the ends of paragraphs where that fits, else of sentences."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.config import SynthesizeConfig, TokenizeConfig
from tasks.data.duplicates import WORD
from tasks.errors import StageError
from tasks.tokenize.corpus import Corpus

FEWEST_WORDS = 15  # of a passage; a heading or a page number tells nothing to ask about
OVER = 1.2  # times the words asked for that a passage may have
WITHOUT_SPACE = ("。", "！", "？")  # ends of sentences that no space follows
LONGEST = 2  # times the words asked for, from which a sentence is cut
_PARAGRAPHS = re.compile(r"\n[^\S\n]*\n\s*")
_SENTENCES = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’»)\]])\s+|(?<=[。！？])")


@dataclass(frozen=True)
class Passage:
    """A part of one document; `id` counts all passages of the corpus, from 0."""

    id: int
    document: str
    text: str

    @property
    def source(self) -> str:
        """What rows of the passage name as their source, so that a split keeps them together."""
        return f"{self.document}, passage {self.id}"


def passages_of(folder: Path, config: SynthesizeConfig) -> list[Passage]:
    """All passages of the documents below a folder, in their order.

    Raises StageError for a corpus that cannot be read, or has no passage in it.
    """
    reading = TokenizeConfig(encoding=config.encoding, field=config.field, malformed=config.malformed)
    try:
        found = [
            (document, text)
            for _, document, pieces in Corpus(folder, reading).documents()
            for text in cut_passages("".join(pieces), config.passage_words)
        ]
    except StageError as error:
        raise error.retold(str(error).replace("tokenize.", "synthesize.")) from error
    if not found:
        raise StageError(
            f"the corpus has no passage of {FEWEST_WORDS} words or more that could be asked about. Give it "
            "more text"
        )
    return [Passage(number, *one) for number, one in enumerate(found)]


def cut_passages(text: str, words: int) -> list[str]:
    """Passages of about so many words; a short rest goes to the passage before it.

    A passage ends with a paragraph once it has half of the words, else with the sentence that fills it. Line
    ends within a paragraph are spaces: texts are wrapped for a page.
    """
    passages: list[str] = []
    open_ = ""
    for paragraph in _paragraphs(text):
        separator = "\n\n"
        for sentence in _sentences(paragraph, words):
            if open_ and words_in(open_) + words_in(sentence) > OVER * words:
                passages.append(open_)
                open_ = ""
            open_ += separator + sentence if open_ else sentence
            separator = "" if sentence.endswith(WITHOUT_SPACE) else " "
        if words_in(open_) >= words / 2:
            passages.append(open_)
            open_ = ""
    if passages and words_in(open_) < FEWEST_WORDS:
        passages[-1] += f"\n\n{open_}" if open_ else ""
    else:
        passages.append(open_)
    return [passage for passage in passages if words_in(passage) >= FEWEST_WORDS]


def _paragraphs(text: str) -> Iterator[str]:
    """Between blank lines; a text that has none is one of a paragraph a line."""
    parts = _PARAGRAPHS.split(text.strip())
    for part in parts if len(parts) > 1 else text.splitlines():
        if flat := " ".join(part.split()):
            yield flat


def _sentences(paragraph: str, words: int) -> Iterator[str]:
    """The sentences; one that is too long is cut between words or, without spaces, between characters."""
    for sentence in filter(None, (part.strip() for part in _SENTENCES.split(paragraph))):
        if words_in(sentence) <= LONGEST * words:
            yield sentence
            continue
        units = sentence.split() if " " in sentence else list(sentence)
        joint = " " if " " in sentence else ""
        yield from (joint.join(units[at : at + words]) for at in range(0, len(units), words))


def words_in(text: str) -> int:
    """How many words a text has; a character of a script without spaces is one."""
    return len(WORD.findall(text))
