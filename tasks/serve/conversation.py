"""A conversation with a model: what was said, and what of it the model's context still holds."""

from dataclasses import dataclass, field

from tasks.data.reading import Message
from tasks.errors import UsageError
from tasks.rows import Row
from tasks.serve.chat_models import ChatModel, ChatSettings

SHARE = 4  # of the context that an answer has at least, unless it may have fewer tokens


@dataclass
class Conversation:
    """Turns of a person and a model, oldest first."""

    model: ChatModel
    system: str = ""
    turns: list[Message] = field(default_factory=list)
    dropped: int = 0
    """Messages that the last prompt had no room for."""

    def row(self, text: str) -> Row:
        """The conversation with what is said now, as a row to respond to."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        turns = self.turns if self.model.remembers else []
        return {"messages": [*system, *turns], "instruction": text, "input": ""}

    def fitting(self, text: str, settings: ChatSettings) -> Row:
        """As `row`, without the oldest turns that would leave an answer no room; `dropped` counts them.

        Raises UsageError for a text that does not even fit alone.
        """
        self.dropped = 0
        context = self.model.context
        needed = min(settings.max_tokens, context // SHARE) if self.model.remembers else 0
        while (count := len(self.model.tokens(row := self.row(text)))) + needed > context and self.turns:
            del self.turns[:2]
            self.dropped += 2
        if count == 0:
            raise UsageError("the prompt has no tokens: say something")
        if count + bool(needed) > context:
            raise UsageError(
                f"this is {count} tokens, and {self.model.name} has a context of {context}. Say it shorter"
                + (", or leave the system message out: /system" if self.system else "")
            )
        return row

    def add(self, text: str, answer: str) -> None:
        if self.model.remembers:
            self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]

    def reset(self) -> None:
        self.turns.clear()
