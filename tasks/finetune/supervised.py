"""A row as supervised tokens: the completion is learned, the prompt is only read, or learned too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tasks.errors import StageError
from tasks.templates import Template
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


def supervise(
    template: Template,
    row: Mapping[str, Any],
    max_length: int,
    loss: Literal["completion", "all"] = "completion",
    completion: str = "output",
) -> Example:
    """Prompt, completion and end token; the last two have labels, or all tokens but the first.

    No token stands before the first to predict it. `completion` names the row's field. A completion that
    does not fit into `max_length` is cut before what closes it, which stays. Raises StageError when the
    prompt leaves no room for a single token of it.
    """
    prompt = template.prompt_ids(row)
    learned = template.completion_ids(str(row[completion]))
    closing = template.completion_ids("")
    words = learned[: len(learned) - len(closing)]
    room = max_length - len(prompt) - len(closing)
    if room < 1:
        raise StageError(
            f"row {row['id']} cannot be trained on: its prompt has {len(prompt)} tokens, so max_length "
            f"{max_length} leaves no room for a completion. Raise max_length, or leave the row out"
        )
    input_ids = [*prompt, *words[:room], *closing]
    read = max(1, len(prompt)) if loss == "completion" else 1
    return Example(
        input_ids=input_ids,
        labels=[IGNORED] * read + input_ids[read:],
        lost=max(0, len(words) - room),
    )
