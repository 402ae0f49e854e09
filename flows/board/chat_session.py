"""What one person says to one model, or to two whose answers stand beside each other.

It lasts as long as the page is open. Two models hear the same; where their names are hidden until a vote,
which of them is A is drawn. After a vote both go on from the answer that was preferred, so that the next vote
is again about one conversation. Without a vote each goes on from its own answer.
"""

import itertools
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from flows.serving.ready import ReadyModels
from tasks.data.reading import Message
from tasks.errors import UsageError
from tasks.judge.votes.store import Choice, Exchange
from tasks.serve.chat_models import Answer, ChatSettings, Token
from tasks.serve.conversation import Conversation

ENDS = {
    "length": "cut after {tokens:,} tokens, the most that an answer may have",
    "context": "cut: the context of {context:,} tokens is full",
}


def toss() -> bool:
    """As a coin falls; nobody can foretell it."""
    return secrets.randbelow(2) == 1


@dataclass
class ChatSession:
    """One conversation; what is of each model stands in the order of `names`."""

    names: tuple[str, ...] = ()
    blind: bool = False
    """Whether names are hidden until the first vote."""
    system: str = ""
    turns: list[list[Message]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is to be told of the last answers, such as where they were cut."""
    tokens: list[list[Token]] = field(default_factory=list)
    """Of the last prompts."""
    exchange: Exchange | None = None
    """The last one of two models, until it was voted on."""

    @classmethod
    def begin(
        cls,
        names: Sequence[str],
        *,
        blind: bool = False,
        system: str = "",
        swapped: Callable[[], bool] = toss,
    ) -> Self:
        """A conversation with one model or two.

        Raises UsageError for none, and for the same one twice.
        """
        if not names:
            raise UsageError("choose a model to talk to")
        if len(set(names)) < len(names):
            raise UsageError(f"{names[0]} cannot stand beside itself; choose another model")
        is_blind = blind and len(names) > 1
        ordered = reversed(names) if is_blind and swapped() else names
        return cls(tuple(ordered), is_blind, system.strip(), [[] for _ in names])

    @property
    def titles(self) -> list[str]:
        """What the answers of each model are headed by."""
        if len(self.names) < 2:
            return list(self.names)
        named = zip("AB", self.names, strict=True)
        return [side if self.blind else f"{side}: {name}" for side, name in named]

    def say(self, text: str, settings: ChatSettings, ready: ReadyModels) -> Iterator[list[str]]:
        """Ask every model; gives the answers as far as they came. What came before a stop stays said.

        Raises UsageError for a text that is blank, or has too many tokens.
        """
        if not text.strip():
            raise UsageError("there is nothing to answer; write a message first")
        self.exchange, self.notes, self.tokens = None, [], []
        with ready.using(*self.names) as models:
            talks = [
                Conversation(model, self.system, turns)
                for model, turns in zip(models, self.turns, strict=True)
            ]
            rows = [one.fitting(text, settings) for one in talks]
            asked = [[*row["messages"], {"role": "user", "content": text}] for row in rows]
            self.tokens = [one.model.tokens(row) for one, row in zip(talks, rows, strict=True)]
            answers = [one.model.answer(row, settings) for one, row in zip(talks, rows, strict=True)]
            said, ended = [""] * len(answers), False
            try:
                for pieces in itertools.zip_longest(*(answer.pieces for answer in answers), fillvalue=""):
                    said = [whole + piece for whole, piece in zip(said, pieces, strict=True)]
                    yield said
                ended = True
            finally:
                for talk, words in zip(talks, said, strict=True):
                    if ended or any(said):
                        talk.add(text, words)
            self.notes = [_note(talk, answer, settings) for talk, answer in zip(talks, answers, strict=True)]
        if len(said) > 1:
            self.exchange = Exchange(
                models=(self.names[0], self.names[1]),
                conversations=(asked[0], asked[1]),
                answers=(said[0], said[1]),
                settings=settings.model_dump(),
                blind=self.blind,
            )

    def vote(self, preferred: Choice, save: Callable[[Exchange, Choice], None]) -> None:
        """Save what is preferred of the last two answers; from now on names are shown.

        Both models go on from B's answer if that is preferred, else from A's. Raises UsageError where there
        is nothing to vote on.
        """
        if self.exchange is None:
            raise UsageError("there are no two answers to vote on; say something first")
        save(self.exchange, preferred)
        self.exchange, self.blind = None, False
        kept = self.turns[preferred == "b"]
        self.turns = [list(kept) for _ in self.turns]


def settings_of(values: Mapping[str, object]) -> ChatSettings:
    """Settings as a form gives them. Raises UsageError for what is not possible."""
    settings = ChatSettings()
    for name, value in values.items():
        settings = settings.with_setting(f"{name}={'null' if value is None else value}")
    return settings


def _note(talk: Conversation, answer: Answer, settings: ChatSettings) -> str:
    context = talk.model.context
    dropped = f"the oldest {talk.dropped} messages no longer fit, and are left out" if talk.dropped else ""
    ended = ENDS.get(answer.ended, "").format(tokens=settings.max_tokens, context=context)
    return "; ".join(filter(None, (dropped, ended)))
