"""Conversations in the shapes that data sets have them in, as OpenAI's messages, and rows made of those."""

import json
import re
from typing import Any

from tasks.data.reading import Message, RowError, short, type_of, whole_characters
from tasks.rows.row_kind import Row
from tasks.rows.tool_calls import calls_of

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",  # of ShareGPT, which has the call as the turn's text
    "tool": "tool",
    "observation": "tool",
}
TRANSCRIPT = re.compile(r"\s*\n\n(Human|Assistant): ?")  # Bai et al. 2022 (HH-RLHF)


def messages_of(where: str, column: str, value: Any) -> list[Message]:
    """The turns of a list, of one turn, or of either as JSON text; in OpenAI's form or ShareGPT's.

    A system that says nothing is no turn.

    Raises RowError for a turn whose role is not known or whose content is not text.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise RowError(
                where, f"{column!r} should be a list of turns, found text: {short(value)}"
            ) from error
    turns = [value] if isinstance(value, dict) else value
    if not isinstance(turns, list):
        found = f"{type_of(value)}: {short(value)}"
        raise RowError(where, f"{column!r} should be a list of turns, found {found}")
    said = [_message(where, f"turn {number} of {column!r}", turn) for number, turn in enumerate(turns, 1)]
    if messages := [message for message in said if message["role"] != "system" or message["content"].strip()]:
        return messages
    raise RowError(where, f"{column!r} holds no turn")


def _message(where: str, what: str, turn: Any) -> Message:
    if not isinstance(turn, dict):
        raise RowError(where, f"{what} should be an object, found {type_of(turn)}: {short(turn)}")
    role, content = (_first(turn, *names) for names in (("role", "from"), ("content", "value")))
    if not isinstance(role, str) or role not in ROLES:
        raise RowError(
            where,
            f"{what} has the role {short(role)!r}; expected system, user (human), assistant (gpt) or tool",
        )
    if role == "function_call":
        return {"role": "assistant", "content": "", "tool_calls": calls_of(where, what, content)}
    calls = calls_of(where, what, _first(turn, "tool_calls", "function_call") or [])
    if calls and ROLES[role] != "assistant":
        raise RowError(where, f"{what} calls a tool and is of the {ROLES[role]}; only the assistant does")
    if calls and content is None:
        return {"role": "assistant", "content": "", "tool_calls": calls}
    text = _content(where, what, content, required=ROLES[role] in ("user", "assistant") and not calls)
    message = {"role": ROLES[role], "content": text} | ({"tool_calls": calls} if calls else {})
    names = ("tool_call_id", "name") if role == "tool" else ()
    return message | {name: turn[name] for name in names if isinstance(turn.get(name), str)}


def _first(turn: dict[str, Any], *names: str) -> Any:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _content(where: str, what: str, content: Any, *, required: bool = True) -> str:
    if isinstance(content, list):
        content = "".join(_part(where, what, part) for part in content)
    if not isinstance(content, str):
        found = "is missing" if content is None else f"is {type_of(content)}: {short(content)}"
        raise RowError(where, f"the content of {what} should be text, but {found}")
    if required and not content.strip():
        raise RowError(where, f"{what} is empty")
    return whole_characters(where, what, content)


def _part(where: str, what: str, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text" or not isinstance(part.get("text"), str):
        found = f"one of type {kind!r}" if kind else short(part)
        raise RowError(
            where, f"the content of {what} holds more than text: {found}; only text can be learned"
        )
    return part["text"]


def pairs_of(where: str, column: str, value: Any) -> list[Message]:
    """The turns of LLaMA-Factory's `history`: a list of pairs of what was asked and answered."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else []
        except ValueError as error:
            raise RowError(where, f"{column!r} should be a list of pairs, found: {short(value)}") from error
    if not isinstance(value, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        raise RowError(where, f"{column!r} should be a list of [user, assistant] pairs, found {short(value)}")
    return [
        {"role": role, "content": _content(where, f"pair {number} of {column!r}", text)}
        for number, pair in enumerate(value, 1)
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def transcript(where: str, column: str, text: str) -> list[Message]:
    """The turns of a text in which `\\n\\nHuman:` and `\\n\\nAssistant:` begin them."""
    begin, *parts = TRANSCRIPT.split(f"\n\n{text.lstrip()}")
    if begin or not parts:
        raise RowError(
            where, f"there is no prompt, and {column!r} is no conversation either; name the prompt's column"
        )
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": _content(where, f"turn {number} of {column!r}", content)}
        for number, (speaker, content) in enumerate(zip(parts[::2], parts[1::2], strict=True), 1)
    ]


def as_row(where: str, messages: list[Message]) -> Row:
    """A completion: the last turn is the output, the turn before it the instruction.

    Raises RowError unless user and assistant alternate, after at most one system turn, and end with the
    assistant; between a call of the assistant and its reply stand the results of tools.
    """
    first = messages[0]["role"] == "system"
    before: Message = {"role": "assistant"}
    for number, message in enumerate(messages[first:], first + 1):
        expected = _who_follows(before)
        if message["role"] not in expected:
            raise RowError(
                where,
                f"turn {number} is of the {message['role']}, expected the {' or the '.join(expected)}: after "
                "at most one turn of the system, user and assistant must alternate, and what a tool gives "
                "follows the assistant's call",
            )
        before = message
    if messages[-1]["role"] != "assistant":
        raise RowError(
            where, f"the last turn is of the {messages[-1]['role']}; expected the assistant's, to be learned"
        )
    *before, instruction, output = messages
    if output.get("tool_calls"):
        raise RowError(
            where, "the last turn calls a tool; end the conversation with the reply, which is what is tested"
        )
    row = {"instruction": instruction["content"], "input": "", "output": output["content"]}
    asked_by = {name: value for name, value in instruction.items() if name != "content"}
    tool = {"asked_by": asked_by} if asked_by["role"] == "tool" else {}
    return row | ({"messages": before} if before else {}) | tool


def _who_follows(message: Message) -> tuple[str, ...]:
    """Of a conversation whose beginning is as if the assistant had said something."""
    if message["role"] == "assistant":
        return ("tool",) if message.get("tool_calls") else ("user",)
    return ("assistant", "tool") if message["role"] == "tool" else ("assistant",)
