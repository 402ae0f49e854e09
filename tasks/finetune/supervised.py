"""An instruction row as supervised tokens: the completion is learned, the prompt is only read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from tasks.errors import StageError
from tasks.templates import Template
from tasks.tokenize import text_ids
from tasks.tokens import IGNORED


@dataclass(frozen=True)
class Example:
    """`input_ids` and `labels` of one length; of the completion `lost` tokens did not fit."""

    input_ids: list[int]
    labels: list[int]
    lost: int

    @property
    def cut(self) -> bool:
        return self.lost > 0


def prompt_ids(tokenizer: PreTrainedTokenizerBase, template: Template, row: Mapping[str, str]) -> list[int]:
    """The tokens a response continues: the same for training and for generation, with no special token."""
    return text_ids(tokenizer, [template.prompt(row)])[0]


def supervise(
    tokenizer: PreTrainedTokenizerBase, template: Template, row: Mapping[str, str], max_length: int
) -> Example:
    """Prompt, completion and end token; only the last two have labels.

    A completion that does not fit into `max_length` is cut before its end token, which stays. Raises
    StageError when the prompt leaves no room for a single token of it.
    """
    prompt = prompt_ids(tokenizer, template, row)
    completion = text_ids(tokenizer, [str(row["output"])])[0]
    room = max_length - len(prompt) - 1
    if room < 1:
        raise StageError(
            f"row {row['id']} cannot be trained on: its prompt has {len(prompt)} tokens, so max_length "
            f"{max_length} leaves no room for a completion. Raise finetune.max_length, or leave the row out"
        )
    supervised = [*completion[:room], tokenizer.eos_token_id]
    return Example(
        input_ids=prompt + supervised,
        labels=[IGNORED] * len(prompt) + supervised,
        lost=max(0, len(completion) - room),
    )


def supervise_all(
    tokenizer: PreTrainedTokenizerBase, template: Template, rows: Iterable[Mapping[str, str]], max_length: int
) -> list[Example]:
    return [supervise(tokenizer, template, row, max_length) for row in rows]
