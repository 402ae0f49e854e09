"""A row as supervised tokens: the completion is learned, the prompt is only read, or learned too."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.tokenize.templates import Template


@dataclass(frozen=True)
class Example:
    """`input_ids` and `labels` of one length; of the completion and its end `lost` tokens did not fit."""

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

    No token stands before the first to predict it. `completion` names the row's field. What does not fit
    into `max_length` is cut off with its end token: one that followed in mid-sentence would teach the model
    to stop there. Raises StageError when the prompt leaves no room for a single token and the end.
    """
    prompt = template.prompt_ids(row)
    learned = template.completion_ids(str(row[completion]))
    closing = template.completion_ids("")
    if len(prompt) + 1 + len(closing) > max_length:
        raise StageError(
            f"row {row['id']} cannot be trained on: its prompt has {len(prompt)} tokens, so max_length "
            f"{max_length} leaves no room for a completion. Raise max_length, or leave the row out"
        )
    whole = [*prompt, *learned]
    input_ids = whole[:max_length]
    read = max(1, len(prompt)) if loss == "completion" else 1
    return Example(
        input_ids=input_ids,
        labels=[IGNORED] * read + input_ids[read:],
        lost=len(whole) - len(input_ids),
    )


class Cuttable(Protocol):
    """A row's tokens, of which some may not have fitted."""

    @property
    def lost(self) -> int: ...


def tell_cuts(say: Callable[[str], None], examples: Iterable[Cuttable], max_length: int, of: str) -> None:
    """Say what a person should know when rows did not fit; `of` says what they are: `rows`, `texts`."""
    every = list(examples)
    if cut := sum(example.lost > 0 for example in every):
        say(
            f"{cut:,} of {len(every):,} {of} have more than max_length={max_length} tokens and are cut: "
            f"{sum(example.lost for example in every):,} tokens, their ends, are not learned"
        )
