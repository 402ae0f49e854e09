"""Which tokens of a conversation's prompt are what the assistant said, so that each turn can be learned.

A reply is learned where it follows what the model is asked with in that turn: the tokens of that prompt are
the beginning of the tokens of the whole. Some chat templates write an earlier turn differently once others
follow (Qwen3's leaves its thinking out): such a turn is only read.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from tasks.data.reading import Message
from tasks.tokenize.templates import Template, guarded

GENERATION = re.compile(r"{%-?\s*generation\s*-?%}")
REWRITTEN = "the chat template writes them differently once other turns follow"
MERGED = "their first or last characters are one token with what stands beside them"
ENDLESS = "the chat template puts nothing behind what the assistant says, so no end could be learned"
UNMARKED = "the chat template's {% generation %} leaves them out"


@dataclass(frozen=True)
class Reply:
    """Tokens `start` to `stop` of a prompt, the end of the turn included; or why they cannot be learned."""

    start: int = 0
    stop: int = 0
    unlearned: str = ""


def earlier_replies(template: Template, row: Mapping[str, Any]) -> list[Reply]:
    """What the assistant said before the last turn, in the tokens of `template.prompt_ids(row)`."""
    turns = row.get("messages", ())
    if row.get("plain") or not any(turn["role"] == "assistant" for turn in turns):
        return []
    hidden, mark = template.hide_special(row)
    text = template.prompt(hidden)
    ids = template.ids_of(text, mark)
    marked = GENERATION.search(template.chat_template) is not None
    spans = _marked(template, hidden, text) if marked else _by_prefix(template, hidden, text)
    return [span if isinstance(span, Reply) else _reply(template, text, ids, span, mark) for span in spans]


def _reply(template: Template, text: str, ids: list[int], span: tuple[int, int], mark: str) -> Reply:
    before, whole = (template.ids_of(text[:place], mark) for place in span)
    start, stop = len(before), len(whole)
    if start == stop or ids[:start] != before or ids[:stop] != whole:
        return Reply(unlearned=MERGED)
    return Reply(start, stop)


def _marked(template: Template, row: Mapping[str, Any], text: str) -> Iterator[tuple[int, int] | Reply]:
    """By the marks of the template; what it puts behind the end token, such as a line break, is only read."""
    spans = _generation_blocks(template, template.messages(row), row.get("tools"))
    end = template.tokenizer.eos_token
    for begin, stop in spans:
        ended = text.rfind(end, begin, stop)
        yield begin, stop if ended < 0 else ended + len(end)
    replies = sum(turn["role"] == "assistant" for turn in row["messages"])
    yield from [Reply(unlearned=UNMARKED)] * (replies - len(spans))


def _generation_blocks(
    template: Template, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
) -> list[tuple[int, int]]:
    """Where in a conversation's prompt the template's `{% generation %}` marks what the assistant says."""
    with guarded():
        _, indices = render_jinja_template(
            conversations=[messages],
            tools=tools,
            chat_template=template.chat_template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=True,
            **template.tokenizer.special_tokens_map,
        )
    return [(begin, end) for begin, end in indices[0]]


def _by_prefix(template: Template, row: Mapping[str, Any], text: str) -> Iterator[tuple[int, int] | Reply]:
    """By what the model is asked with in each turn, which the whole should begin with."""
    messages, tools = template.messages(row), row.get("tools")
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if not template.turn_end:
            yield Reply(unlearned=ENDLESS)
            continue
        try:
            begun = template.render(messages[:place], tools, add_generation_prompt=True)
            written = _written(template, messages[: place + 1], tools, begun)
        except TemplateError:  # it refuses a conversation that ends there
            yield Reply(unlearned=REWRITTEN)
            continue
        ends = [len(begun) + len(each) for each in written if text.startswith(begun + each)]
        yield (len(begun), ends[0]) if ends else Reply(unlearned=REWRITTEN)


def _written(
    template: Template, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, begun: str
) -> list[str]:
    """What the last message may be written as, with the end of its turn; templates may strip what is said."""
    said = messages[-1]["content"]
    if not messages[-1].get("tool_calls"):
        variants = dict.fromkeys((said, said.strip(), said.lstrip(), said.rstrip()))
        return [variant + template.turn_end for variant in variants]
    whole = template.render(messages, tools)
    if not whole.startswith(begun):
        return []
    written, end, _ = whole.removeprefix(begun).rpartition(template.tokenizer.eos_token)
    return [written + end or whole.removeprefix(begun).rstrip()]
