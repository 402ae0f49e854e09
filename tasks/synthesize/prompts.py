"""What a model is asked for: a prompt in a file, which a user may replace, and the form of the answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config import SynthesisKind, SynthesizeConfig
from tasks.data.reading import Message
from tasks.errors import UsageError
from tasks.judge.protocol.prompts import neutralise
from tasks.judge.protocol.scoring_protocols import AskingProtocol, UnusableError, json_answer
from tasks.record.manifest import canonical_json, digest_of

VERSION = 1
"""Raised when the same prompt comes to be asked otherwise."""
FOLDER = Path(__file__).parent
LONGEST = 100_000  # bytes of a prompt
PASSAGE, QUESTION, INPUT = "passage", "question", "input"

KEYS: Mapping[SynthesisKind, tuple[str, ...]] = {
    "questions": ("question", "response"),
    "answers": ("response",),
    "rewordings": ("question",),
    "preferences": ("response",),
}
"""What an answer holds, in alphabetical order: so Ollama returns keys, and a question comes first."""
NEEDS: Mapping[SynthesisKind, str] = {
    "questions": PASSAGE,
    "answers": QUESTION,
    "rewordings": QUESTION,
    "preferences": QUESTION,
}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Task:
    """One row that is asked for; `texts` fill the prompt's places."""

    id: int
    texts: Mapping[str, str]
    seed: int
    source: int
    """The passage, or the given row, that it is of: its place among all."""


@dataclass(frozen=True)
class Prompt:
    """A prompt and where it comes from."""

    text: str
    name: str

    @property
    def digest(self) -> str:
        return digest_of(canonical_json([VERSION, self.text]))

    def filled(self, texts: Mapping[str, str]) -> str:
        """The prompt with each place filled; what looks like a chat template in a text is broken by a space.

        Other braces stay as they are, so that a prompt may show an example in JSON.
        """
        return _PLACEHOLDER.sub(
            lambda match: neutralise(texts[match[1]]) if match[1] in texts else match[0], self.text
        )


def prompt_of(config: SynthesizeConfig) -> Prompt:
    """The user's prompt, or the one that comes with this version.

    Raises UsageError for a file that cannot be used, and for one without its placeholder.
    """
    path = config.prompt or FOLDER / f"{config.kind}.txt"
    try:
        data = path.read_bytes()
        text = data[: LONGEST + 1].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the prompt {path} cannot be read: {error}. Give a text file in UTF-8") from error
    if len(data) > LONGEST:
        raise UsageError(f"the prompt {path} has {len(data)} bytes; expected at most {LONGEST}")
    needed = NEEDS[config.kind]
    found = _PLACEHOLDER.findall(text)
    if needed not in found:
        told = f"it has {', '.join(f'{{{name}}}' for name in dict.fromkeys(found)) or 'none'}"
        raise UsageError(
            f"the prompt {path} lacks the placeholder {{{needed}}}, where the {needed} goes; {told}. Write "
            f"{{{needed}}} there: kind: {config.kind} asks about one {needed} each time"
        )
    return Prompt(text.strip(), path.name if config.prompt else f"{config.kind}.txt, version {VERSION}")


def protocol_of(config: SynthesizeConfig, prompt: Prompt, temperature: float) -> AskingProtocol:
    """How a model is asked for one row, and how its answer is read: a mapping from keys to texts."""
    keys = KEYS[config.kind]

    def messages(task: Task) -> list[Message]:
        return [{"role": "user", "content": prompt.filled(task.texts)}]

    return AskingProtocol(
        config.kind, messages, lambda text: _read(text, keys), _schema(keys), temperature=temperature
    )


def _schema(keys: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: {"type": "string"} for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }


def _read(text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """Raises UnusableError for anything but the object that was asked for."""
    try:
        value = json_answer(text)
    except (ValueError, RecursionError) as error:
        raise UnusableError(f"the answer is not the JSON that was asked for: {error}") from error
    if not isinstance(value, dict) or set(value) != set(keys):
        raise UnusableError(f"the answer is not an object with {' and '.join(map(repr, keys))}")
    if strange := [key for key in keys if not isinstance(value[key], str)]:
        raise UnusableError(f"{strange[0]!r} of the answer is no text")
    return {key: value[key].encode("utf-8", "replace").decode().strip() for key in keys}
