"""The chat templates of this project in the template language of Go, which Ollama renders prompts by.

Ollama knows the Jinja templates of a few models alone. Every text is written as a quoted string of Go, so
that no white space around an action counts.
"""

import json
from dataclasses import dataclass

from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.tokenize.templates import CHATML, OURS, Template, rendered

DEFAULT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
PROBES: tuple[list[Message], ...] = (
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1."},
        {"role": "user", "content": "Two?"},
    ],
)
"""Conversations on which two templates that are one give one prompt."""


@dataclass(frozen=True)
class GoTemplate:
    """What a Modelfile says of prompts."""

    template: str
    stop: list[str]
    """Texts that end a response, should the model go on to write another turn."""
    system: str | None = None
    """What stands in the system's place where a conversation has no system message."""


def go_template(template: Template) -> GoTemplate:
    """Of a template of ours, or of a tokenizer's own that is ChatML.

    Raises StageError for a tokenizer's own template that is another.
    """
    end = template.tokenizer.eos_token
    name, system = template.name, None
    if name == "tokenizer":
        name, system = "chatml", _system_of_chatml(template)
    written, stop = WRITERS[name](end)
    return GoTemplate(written, list(dict.fromkeys([*stop, end])), system)


def _text(text: str) -> str:
    """An action that gives a text: the strings of JSON are strings of Go."""
    return "{{ " + json.dumps(text, ensure_ascii=False, allow_nan=False) + " }}"


IF_ANSWER, ELSE, END = '{{- if eq .Role "assistant" }}', "{{ else }}", "{{- end }}"
ROLE, CONTENT = "{{ .Role }}", "{{ .Content }}"


def _turns(*each: str) -> str:
    return "{{- range .Messages }}" + "".join(each) + END


def _alpaca(end: str) -> tuple[str, list[str]]:
    """A system message takes the preamble's place, and is no turn."""
    response = _text("\n\n### Response:\n")
    turns = _turns(
        IF_ANSWER + response + CONTENT + _text(end),
        '{{- else if eq .Role "user" }}' + _text("\n\n### Instruction:\n") + CONTENT,
        END,
    )
    head = "{{- if .System }}{{ .System }}" + ELSE + _text(DEFAULT) + END
    return head + turns + response, ["\n\n### Instruction:"]


def _phi3(end: str) -> tuple[str, list[str]]:
    turns = _turns(
        IF_ANSWER + _text("<|assistant|>\n") + CONTENT + _text(end + "\n"),
        ELSE + _text("<|") + ROLE + _text("|>\n") + CONTENT + _text("<|end|>\n") + END,
    )
    return turns + _text("<|assistant|>\n"), ["<|end|>", "<|user|>"]


def _chatml(end: str) -> tuple[str, list[str]]:
    turns = _turns(
        _text("<|im_start|>") + ROLE + _text("\n") + CONTENT,
        IF_ANSWER + _text(end) + ELSE + _text("<|im_end|>") + END + _text("\n"),
    )
    return turns + _text("<|im_start|>assistant\n"), ["<|im_end|>", "<|im_start|>"]


def _plain(end: str) -> tuple[str, list[str]]:
    return _turns(CONTENT, IF_ANSWER + _text(end) + END), []


WRITERS = {"alpaca": _alpaca, "phi3": _phi3, "chatml": _chatml, "plain": _plain}


def _system_of_chatml(template: Template) -> str | None:
    """What a tokenizer's own template says where there is no system message; None for nothing.

    Raises StageError when it is not ChatML.
    """
    tokenizer = template.tokenizer

    def both(messages: list[Message], **options: bool) -> tuple[str, str]:
        own = rendered(tokenizer, messages, chat_template=template.chat_template, **options)
        return own, rendered(tokenizer, messages, chat_template=CHATML, **options)

    for messages in PROBES:
        own, ours = both(messages, add_generation_prompt=True)
        if own != ours:
            raise StageError(
                "the tokenizer's own chat template is not ChatML, and no other has its like in Ollama's "
                f"language here. Export it as gguf, or train with a template of ours: {', '.join(OURS)}"
            )
    own, ours = both(PROBES[0][1:], add_generation_prompt=True)
    if own == ours:
        return None
    before = own.removesuffix(ours)
    system = before.removeprefix("<|im_start|>system\n").removesuffix("<|im_end|>\n")
    if both([{"role": "system", "content": system}, *PROBES[0][1:]], add_generation_prompt=True)[1] != own:
        raise StageError(
            "the tokenizer's own chat template begins a conversation without a system message in a way that "
            "Ollama's language has no like for here. Export it as gguf"
        )
    return system
