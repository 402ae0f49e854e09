"""Formats of what a model writes: prompts with their answers, conversations, preferences, plain texts."""

from tasks.data.reading import Message, short
from tasks.rows.canonical import is_splittable
from tasks.rows.conversations import as_row, pairs_of, transcript
from tasks.rows.fields import Fields, Format
from tasks.rows.row_kind import Row
from tasks.rows.tool_calls import tools_of


def _before(fields: Fields) -> list[Message]:
    """The turns that columns of their own hold: the system's, and what was said before."""
    system = fields.text("system", required=False)
    turns = [{"role": "system", "content": system}] if system.strip() else []
    if history := fields.value("history"):
        turns += pairs_of(fields.where, fields.columns["history"], history)
    return turns


def _joined(fields: Fields, before: list[Message], turns: list[Message]) -> list[Message]:
    if before and turns[0]["role"] == "system":
        raise fields.fault(
            "the system speaks twice, in the first turn and in a column; leave one of them out"
        )
    return before + turns


def _turn(role: str, content: str) -> list[Message]:
    return [{"role": role, "content": content}]


def _turns(fields: Fields, name: str, role: str) -> list[Message]:
    """A column's text as one turn of `role`, or its turns when it holds some."""
    if isinstance(fields.value(name), list | dict):
        return fields.messages(name)
    return _turn(role, fields.text(name))


def _alpaca(fields: Fields) -> Row:
    asked = _turn("user", fields.text("instruction"))
    given = fields.text("input", required=False)
    answered = _turn("assistant", fields.text("output"))
    return as_row(fields.where, _before(fields) + asked + answered) | {"input": given}


def _prompt_completion(fields: Fields) -> Row:
    prompt, completion = _turns(fields, "prompt", "user"), _turns(fields, "completion", "assistant")
    row = as_row(fields.where, _joined(fields, _before(fields), prompt) + completion)
    return row | {"input": fields.text("input", required=False)}


def _chat(fields: Fields) -> Row:
    row = as_row(fields.where, _joined(fields, _before(fields), fields.messages("messages")))
    listed = tools_of(fields.where, fields.columns.get("tools", ""), fields.value("tools"))
    return row | ({"tools": listed} if listed else {})


def _preference(fields: Fields) -> Row:
    *shared, chosen = _answered(fields, "chosen")
    *also_shared, rejected = _answered(fields, "rejected")
    if shared != also_shared:
        raise fields.fault(
            "'chosen' and 'rejected' answer different conversations; only the last turn may differ"
        )
    if chosen["content"].strip() == rejected["content"].strip():
        raise fields.fault("'chosen' and 'rejected' are the same, so neither can be preferred")
    row = as_row(fields.where, [*shared, chosen])
    as_row(fields.where, [*shared, rejected])
    return row | {
        "input": fields.text("input", required=False),
        "output": fields.text("output", required=False) or chosen["content"],
        "chosen": chosen["content"],
        "rejected": rejected["content"],
    }


def _answered(fields: Fields, name: str) -> list[Message]:
    """The whole conversation that ends with a column's answer, which may hold the prompt itself."""
    prompt = next((each for each in ("instruction", "prompt", "messages") if each in fields.columns), None)
    if prompt is None and isinstance(fields.value(name), str):
        turns = transcript(fields.where, fields.columns[name], fields.text(name))
    else:
        turns = _turns(fields, name, "assistant")
    if len(turns) > 1:
        return _joined(fields, _before(fields), turns)
    if prompt is None:
        raise fields.fault(f"{name!r} is one turn, and no column holds the prompt; name it with rows.columns")
    asked = fields.messages(prompt) if prompt == "messages" else _turns(fields, prompt, "user")
    return _joined(fields, _before(fields), asked) + turns


def _text(fields: Fields) -> Row:
    text = fields.text("text")
    if not is_splittable(text):
        raise fields.fault(f"the text has fewer than 2 words, so it cannot be asked to go on: {short(text)}")
    return {"instruction": "", "input": "", "output": text, "plain": True}


BEFORE = {"system": (), "history": ()}
TURNS = ("conversations", "conversation")
ASKED = ("question", "query")

PREFERENCE = Format(
    "preference",
    _preference,
    {"chosen": (), "rejected": ()},
    {
        "instruction": (),
        "input": ("context",),
        "output": (),
        "prompt": ASKED,
        "messages": TURNS,
        **BEFORE,
    },
    level=0,
)
ALPACA = Format(
    "completion",
    _alpaca,
    {"instruction": (), "output": ("response",)},
    {"input": ("context",), **BEFORE},
)
PROMPT_COMPLETION = Format(
    "completion",
    _prompt_completion,
    {"prompt": ASKED, "completion": ("response", "answer")},
    {"input": ("context",), **BEFORE},
)
CHAT = Format("completion", _chat, {"messages": TURNS}, {"system": (), "tools": ()})
TEXT = Format("completion", _text, {"text": ()}, level=3)
