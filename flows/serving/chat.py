"""`touchstone chat` at the terminal, and for scripts that pipe lines into it."""

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flows.process.interrupts import interrupts
from tasks.errors import StageError, UsageError
from tasks.rows import Row
from tasks.serve.chat_models import Answer, ChatModel, ChatSettings
from tasks.serve.conversation import Conversation
from tasks.show.text import visible

SIDE_BY_SIDE = 100  # columns of a terminal from which two models stand beside each other
FRAMES = 10  # a second
BLOCK = '"""'
HELP = """\
/reset            forget what was said
/system TEXT      the system message of the conversation; without TEXT there is none
/set NAME=VALUE   how answers are chosen; without NAME: all settings
/tokens           the last prompt, token by token, as the model saw it
/bye              end the chat, as the end of input does
A line that ends with \\ goes on in the next one; so does all between two lines of \"\"\".
A message that begins with / is written with two. Ctrl-C ends an answer, and twice at the prompt the chat."""
ENDS = {
    "length": "cut after {tokens} tokens: /set max_tokens=N lets it say more",
    "context": "cut: the context of {context:,} tokens is full; /reset begins anew",
}

Read = Callable[[str], str]
"""The next line, after a prompt; raises EOFError at the end."""


class Chat:
    """One or two models, and a person or a script."""

    def __init__(self, models: Sequence[ChatModel], out: Console, notices: Console, *, person: bool) -> None:
        """Answers go to `out`, and what the chat itself says to `notices`; without a `person` a line each."""
        self.conversations = [Conversation(model) for model in models]
        self.out, self.notices, self.person = out, notices, person
        self.settings = ChatSettings()
        self._prompted: list[Row] = []
        """What the models saw last."""

    def run(self, read: Read) -> int:
        """Until the end of input. Returns the status of the command: 130 where Ctrl-C ended it."""
        again = False
        while True:
            try:
                text = self._text(read)
                again = False
                if text == "/bye":
                    return 0
                self.hear(text)
            except EOFError:
                return 0
            except KeyboardInterrupt:
                if again or interrupts.asked or not self.person:
                    return interrupts.status
                again = True
                self._say("\nonce more ends the chat")
            except (UsageError, StageError) as error:
                if not self.person:
                    raise
                self._say(str(error), "red")

    def _text(self, read: Read) -> str:
        """What is said next. Raises UsageError for bytes that are no text."""
        try:
            text = self._message(read)
            text.encode()  # Python may read such bytes as halves of surrogate pairs
        except UnicodeError as error:
            raise UsageError(f"what was read is not UTF-8: {error}; expected text in UTF-8") from error
        return text

    def _message(self, read: Read) -> str:
        line = read("> ")
        if not self.person:
            return line
        lines = []
        if line.strip() == BLOCK:
            while (line := read("  ")).strip() != BLOCK:
                lines.append(line)
            return "\n".join(lines)
        while line.endswith("\\"):
            lines.append(line[:-1])
            line = read("  ")
        return "\n".join([*lines, line])

    def hear(self, text: str) -> None:
        """Do what a command says, or answer. Raises UsageError for an unknown command."""
        if text.startswith("/") and not text.startswith("//"):
            return self._command(*text[1:].partition(" ")[::2])
        if text.startswith("//"):
            text = text[1:]
        if not text.strip():
            return None if self.person else self.out.print()
        return self._answer(text)

    def _command(self, name: str, rest: str) -> None:
        match name:
            case "help":
                self._say(HELP)
            case "reset":
                for one in self.conversations:
                    one.reset()
                self._prompted = []
            case "system":
                for one in self.conversations:
                    one.system = rest.strip()
            case "set":
                if rest:
                    self.settings = self.settings.with_setting(rest)
                self._say(self.settings.told())
            case "tokens":
                self._tokens()
            case _:
                raise UsageError(f"there is no /{name}; /help lists what there is")

    def _tokens(self) -> None:
        if not self._prompted:
            raise UsageError("nothing was said yet")
        for one, row in zip(self.conversations, self._prompted, strict=True):
            tokens = one.model.tokens(row)
            shown = " ".join(f"{token.id}:{token.text!r}" for token in tokens)
            self._say(f"{one.model.name}, {len(tokens)} of {one.model.context:,} tokens\n{shown}")

    def _answer(self, text: str) -> None:
        rows = []
        for one in self.conversations:
            rows.append(one.fitting(text, self.settings))
            if one.dropped:
                self._say(
                    f"{one.model.name}: the context of {one.model.context:,} tokens is full; the oldest "
                    f"{one.dropped} messages are left out from now on"
                )
        self._prompted = rows
        answers = [
            one.model.answer(row, self.settings) for one, row in zip(self.conversations, rows, strict=True)
        ]
        said = [""] * len(answers)
        stopped = False
        try:
            self._show(answers, said)
        except KeyboardInterrupt:
            if interrupts.asked or not self.person:
                raise
            stopped = True
            self._say("\n(stopped)")
        for one, answer, words in zip(self.conversations, answers, said, strict=True):
            one.add(text, words)
            if not stopped and (ended := ENDS.get(answer.ended)):
                name = f"{one.model.name}: " if len(answers) > 1 else ""
                told = ended.format(tokens=self.settings.max_tokens, context=one.model.context)
                self._say(f"({name}{told})")

    def _show(self, answers: Sequence[Answer], said: list[str]) -> None:
        """Print the answers as they come; `said` has what came until now."""
        if not self.person:
            for place, answer in enumerate(answers):
                said[place] = "".join(answer.pieces)
            self.out.file.write("\t".join(map(_one_line, said)) + "\n")
            self.out.file.flush()
        elif len(answers) > 1 and self.out.width >= SIDE_BY_SIDE:
            with Live(console=self.out, refresh_per_second=FRAMES, transient=True) as live:
                for place, piece in _in_turn(answers):
                    said[place] += piece
                    live.update(self._columns(said))
            self.out.print(self._columns(said))
        else:
            for place, answer in enumerate(answers):
                if len(answers) > 1:
                    self.out.print(Text(self.conversations[place].model.name, "bold"))
                for piece in answer.pieces:
                    said[place] += piece
                    self.out.print(Text(visible(piece)), end="", soft_wrap=True)
                    self.out.file.flush()
                self.out.print()

    def _columns(self, said: Sequence[str]) -> Table:
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
        for one in self.conversations:
            table.add_column(Text(one.model.name), ratio=1, overflow="fold")
        table.add_row(*(Text(visible(words)) for words in said))
        return table

    def _say(self, text: str, style: str = "dim") -> None:
        self.notices.print(Text(visible(text), style), soft_wrap=True)


def _in_turn(answers: Sequence[Answer]) -> Iterator[tuple[int, str]]:
    """A piece of each answer in turn."""
    for pieces in itertools.zip_longest(*(answer.pieces for answer in answers), fillvalue=""):
        yield from enumerate(pieces)


def _one_line(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def piped(_prompt: str) -> str:
    """The next line of standard input, for a script."""
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")
