"""Prompt templates: one object for training, generation and export, so that the prompts cannot differ.

A template is a Jinja chat template, as Hugging Face's tokenizers carry one. Ours end every turn of the
assistant with the tokenizer's end token, whatever that is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError
from transformers import PreTrainedTokenizerBase

from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.machine.time_limit import TooLongError, within
from tasks.tokenize.stage import text_ids

# The format of Stanford Alpaca as the GPT-2 material trains on it: one preamble, with or without input. A
# system message takes the preamble's place.
ALPACA = """\
{%- if messages[0].role == 'system' -%}
  {{ messages[0].content }}
{%- else -%}
  {{ 'Below is an instruction that describes a task. ' }}
  {{- 'Write a response that appropriately completes the request.' }}
{%- endif -%}
{%- for message in messages -%}
  {%- if message.role == 'user' -%}
    {{ '\\n\\n### Instruction:\\n' + message.content }}
    {%- if message.input %}{{ '\\n\\n### Input:\\n' + message.input }}{% endif -%}
  {%- elif message.role == 'assistant' -%}
    {{ '\\n\\n### Response:\\n' + message.content + eos_token }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '\\n\\n### Response:\\n' }}{% endif -%}
"""

# The turns of Phi-3 (Abdin et al. 2024); a third of Alpaca's tokens.
PHI3 = """\
{%- for message in messages -%}
  {%- if message.role == 'assistant' -%}
    {{ '<|assistant|>\\n' + message.content + eos_token + '\\n' }}
  {%- else -%}
    {{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif -%}
"""

# The turns of OpenAI's Chat Markup Language, which Qwen and many others were tuned with.
CHATML = """\
{%- for message in messages -%}
  {{ '<|im_start|>' + message.role + '\\n' + message.content }}
  {{- eos_token if message.role == 'assistant' else '<|im_end|>' }}{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
"""

# Nothing but the words: for prompts that are completions' beginnings already.
PLAIN = """\
{%- for message in messages -%}
  {{ message.content }}{{ eos_token if message.role == 'assistant' }}
{%- endfor -%}
"""

OURS = {"alpaca": ALPACA, "phi3": PHI3, "chatml": CHATML, "plain": PLAIN}
NONCHARACTERS = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # Unicode keeps them out of any text
PROBE = "completion"
CALLS, TOOLS = "calls of tools", "a list of tools"
USER = {"role": "user"}
PROMPT_FIELDS = ("messages", "instruction", "input", "asked_by", "tools")
LONGEST_RENDERING = 5.0  # seconds; a long conversation takes milliseconds
ANOTHER = "Choose a template of ours, or another model"


@dataclass(frozen=True)
class Template:
    """How a row becomes the tokens of a prompt, and a completion its tokens, for one tokenizer.

    The prompt is followed by the completion and what closes it, with nothing put between them. A row of
    plain text (`plain`) has no template: its prompt is the text that it begins with.
    """

    name: str
    chat_template: str
    tokenizer: PreTrainedTokenizerBase

    def messages(self, row: Mapping[str, Any]) -> list[Message]:
        """The turns before the response; Alpaca alone has a section for the input."""
        if self.name == "alpaca":
            asked = {"content": row["instruction"], "input": row.get("input", "")}
        else:
            asked = {"content": "\n".join(filter(None, (row["instruction"], row.get("input"))))}
        return [*row.get("messages", ()), {"role": "user"} | row.get("asked_by", {}) | asked]

    def prompt(self, row: Mapping[str, Any]) -> str:
        """The text a response continues.

        Raises StageError for turns that a tokenizer's template refuses, and for tools that it leaves out.
        """
        if row.get("plain"):
            return self.tokenizer.bos_token * self._begins + row["instruction"]
        if tools_of(row):
            self._require_tools(row)
        try:
            return self.render(self.messages(row), row.get("tools"), add_generation_prompt=True)
        except TemplateError as error:
            raise StageError(
                f"row {row.get('id')} does not fit the tokenizer's chat template: {error}. Choose another "
                "template, or leave the row out"
            ) from error

    def prompt_ids(self, row: Mapping[str, Any]) -> list[int]:
        """The tokens a response continues: the same for training and for generation.

        Special tokens of the template are special; what looks like one in a row's own words is text.
        """
        return self.prompts_ids([row])[0]

    def prompts_ids(self, rows: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """`prompt_ids` of every row, those of which nothing is special to be told apart in one call."""
        ids: dict[int, list[int]] = {}
        ordinary: dict[int, str] = {}
        for place, row in enumerate(rows):
            if row.get("plain"):
                begin = [self.tokenizer.bos_token_id] * self._begins
                ids[place] = begin + text_ids(self.tokenizer, [row["instruction"]])[0]
                continue
            hidden, mark = self.hide_special(row)
            if mark:
                ids[place] = self.ids_of(self.prompt(hidden), mark)
            else:
                ordinary[place] = self.prompt(row)
        if ordinary:
            texts = list(ordinary.values())
            found = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            ids |= zip(ordinary, found, strict=True)
        return [ids[place] for place in range(len(rows))]

    def hide_special(self, row: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """The row with a mark inside whatever looks like a special token, which then is none; and the mark.

        Where nothing does that is the row itself, and no mark.
        """
        words = [*_texts((self.messages(row), row.get("tools")))]
        if not any(self._special.search(text) for text in words):
            return row, ""
        mark = next(mark for mark in NONCHARACTERS if not any(mark in text for text in words))
        return _hiding(row, self._special, mark), mark

    def ids_of(self, text: str, mark: str = "") -> list[int]:
        """The tokens of a rendered conversation; with a mark, of one in which it hides special tokens."""
        if not mark:
            return self._ids(text)
        ids: list[int] = []
        for part in re.split(f"({self._special.pattern})", text):
            own = self._special.fullmatch(part) is not None
            ids += self._ids(part) if own else text_ids(self.tokenizer, [part.replace(mark, "")])[0]
        return ids

    def completion_ids(self, text: str, *, alone: bool = False) -> list[int]:
        """The tokens of a completion and of what closes it; the last is the end token.

        A tokenizer that puts a space before each text, as Llama's does, puts none before a completion: it
        goes on behind the prompt, as it will when it stands in a conversation. What stands `alone`, as the
        target of an encoder-decoder, has the tokens of a text.
        """
        ids = text_ids(self.tokenizer, [text])[0]
        if self._spaces and ids and not alone:
            lead, whole = text_ids(self.tokenizer, ["\n", "\n" + text])
            ids = whole[len(lead) :] if whole[: len(lead)] == lead else ids
        return ids + self._closing

    def response(self, ids: list[int]) -> str:
        """The text of generated tokens, without special tokens and what closes a turn."""
        return self.without_closing(self.tokenizer.decode(ids, skip_special_tokens=True))

    def without_closing(self, text: str) -> str:
        """A generated text without what closes a turn."""
        return text.strip().removesuffix(self._closing_text).strip()

    def export(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
        """Have a tokenizer carry this template, so that whoever loads the model asks as it was trained."""
        tokenizer.chat_template = self.chat_template
        return tokenizer

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """A conversation's text. Raises TemplateError when the template refuses it."""
        return rendered(
            self.tokenizer,
            messages,
            tools=tools,
            chat_template=self.chat_template,
            add_generation_prompt=add_generation_prompt,
        )

    def _require_tools(self, row: Mapping[str, Any]) -> None:
        missing = [what for what in tools_of(row) if what not in self._shows]
        if missing:
            raise StageError(
                f"row {row.get('id')} holds {' and '.join(missing)}, which the template {self.name!r} leaves "
                "out, so they cannot be learned from. Set template: tokenizer with a model whose chat "
                "template has tools, or leave the row out"
            )

    @cached_property
    def _shows(self) -> frozenset[str]:
        """What of tools the template shows: it is asked with some whose names occur nowhere else."""
        call = {"name": "called_probe", "arguments": {"key_probe": "value_probe"}}
        turns = [
            {"role": "user", "content": "prompt"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "probe1234", "type": "function", "function": call}],
            },
            {"role": "tool", "name": "called_probe", "tool_call_id": "probe1234", "content": "result_probe"},
            {"role": "assistant", "content": "answer"},
        ]
        tool = {"name": "tool_probe", "description": "", "parameters": {"type": "object", "properties": {}}}
        found = set()
        for messages, tools, what, probes in (
            (turns, None, CALLS, ("called_probe", "key_probe", "value_probe", "result_probe")),
            (turns[:1], [{"type": "function", "function": tool}], TOOLS, ("tool_probe",)),
        ):
            try:
                text = self.render(messages, tools)
            except (TemplateError, StageError):
                continue
            found |= {what} if all(probe in text for probe in probes) else set()
        return frozenset(found)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]

    @cached_property
    def _begins(self) -> bool:
        return begins_texts(self.tokenizer)

    @cached_property
    def _spaces(self) -> bool:
        """Whether the tokenizer puts a space before a text that begins with none."""
        first = self.tokenizer.convert_ids_to_tokens(text_ids(self.tokenizer, ["a"])[0][:1])
        return [token[:1] for token in first] in (["▁"], ["Ġ"])

    @cached_property
    def _special(self) -> re.Pattern[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        tokens = {*self.tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
        return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or r"(?!)")

    @cached_property
    def turn_end(self) -> str:
        """What the template puts behind what the assistant says, up to the end token where it has one."""
        turns = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": PROBE}]
        rest = self.render(turns).rpartition(PROBE)[2]
        before, end, _ = rest.partition(self.tokenizer.eos_token)
        return before + end if end else before.rstrip()

    @cached_property
    def _closing(self) -> list[int]:
        """What closes a completion: the end of a turn and, where that lacks it, the end token."""
        end = self.tokenizer.eos_token
        return self._ids(self.turn_end if self.turn_end.endswith(end) else self.turn_end + end)

    @cached_property
    def _closing_text(self) -> str:
        return self.tokenizer.decode(self._closing, skip_special_tokens=True).strip()


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], **options: Any) -> str:
    """A conversation by a tokenizer's chat template, which whoever made the model has written.

    Transformers runs it in Jinja's sandbox, where it reaches no attribute that it should not. Raises
    TemplateError when it refuses the conversation; StageError when it does what only a broken or a hostile
    one does: it does not end, or it reaches for what it must not. A single operation of it that takes long,
    such as a power of huge numbers, is waited for.
    """
    with guarded():
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)


@contextmanager
def guarded() -> Iterator[None]:
    """What goes wrong in a template within a limit of time, as `rendered` raises it."""
    try:
        with within(LONGEST_RENDERING):
            yield
    except SecurityError as error:
        raise StageError(f"the tokenizer's chat template is not used: {error}. {ANOTHER}") from error
    except TemplateError:
        raise
    except TooLongError as error:
        raise StageError(
            f"the tokenizer's chat template had not ended after {LONGEST_RENDERING:.0f} s. {ANOTHER}"
        ) from error
    except (ArithmeticError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        raise StageError(f"the tokenizer's chat template fails ({told}). {ANOTHER}") from error


def load_template(name: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The named template for a tokenizer; `tokenizer` names the one that this carries.

    Raises StageError when it carries none, and for a tokenizer without an end token.
    """
    if tokenizer.eos_token is None:
        raise StageError(
            "the tokenizer has no end token, so a model could not learn to stop. Choose a base model that "
            "writes text, or name the end token as eos_token in its tokenizer_config.json"
        )
    if name == "tokenizer":
        if not isinstance(tokenizer.chat_template, str):
            raise StageError(
                "template is tokenizer, but the tokenizer carries no chat template of its own. Choose one of "
                f"{', '.join(OURS)}"
            )
        return Template(name, tokenizer.chat_template, tokenizer)
    begin = "{{- bos_token -}}\n" if begins_texts(tokenizer) else ""
    return Template(name, begin + OURS[name], tokenizer)


def own_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The name of the template that a tokenizer carries, which is `tokenizer` for one that is not ours.

    None where it carries none. Alpaca has a section for the input, so it matters that it is known as ours.
    """
    if not isinstance(tokenizer.chat_template, str):
        return None
    ours = (name for name in OURS if load_template(name, tokenizer).chat_template == tokenizer.chat_template)
    return next(ours, "tokenizer")


def require_room(row: int | str, prompt: Sequence[int], context: float) -> None:
    """Raise StageError for a prompt that a model of this context, in tokens, cannot answer."""
    if len(prompt) >= context:
        raise StageError(
            f"row {row} cannot be answered: its prompt has {len(prompt)} tokens and the model's context is "
            f"{context}. Pretrain with a larger context, or leave the row out"
        )
    if not prompt:
        raise StageError(
            f"row {row} cannot be answered: its prompt has no tokens. Choose a template with words of its "
            "own, or leave the row out"
        )


def begins_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer puts its beginning token before every text, as Llama's does, GPT-2's not."""
    with_special, without = (tokenizer("a", add_special_tokens=add)["input_ids"] for add in (True, False))
    begin = tokenizer.bos_token_id
    return begin is not None and with_special[:1] == [begin] and without[:1] != [begin]


def tools_of(row: Mapping[str, Any]) -> list[str]:
    """What of tools a row holds: calls with their results, tools that could be called, or neither."""
    calls = any(turn["role"] == "tool" for turn in (*row.get("messages", ()), row.get("asked_by", USER)))
    return [what for what, held in ((CALLS, calls), (TOOLS, row.get("tools"))) if held]


def _texts(value: Any) -> Iterator[str]:
    """Every text within lists and objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _texts(tuple(value.items()))
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)


def _hiding(row: Mapping[str, Any], special: re.Pattern[str], mark: str) -> dict[str, Any]:
    """The row with a mark inside whatever looks like a special token, which then is none."""

    def hide(value: Any) -> Any:
        if isinstance(value, str):
            return special.sub(lambda found: found.group()[0] + mark + found.group()[1:], value)
        if isinstance(value, Mapping):
            return {hide(name): hide(each) for name, each in value.items()}
        return [hide(each) for each in value] if isinstance(value, Sequence) else value

    return {**row, **{name: hide(row[name]) for name in PROMPT_FIELDS if name in row}}
