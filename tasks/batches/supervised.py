"""A row as supervised tokens: replies of the assistant are learned, the rest is only read, or learned too."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.tokenize.replies import Reply, earlier_replies
from tasks.tokenize.templates import Template

Turns = Literal["all", "last"]


@dataclass(frozen=True)
class Example:
    """`input_ids` and `labels` of one length; of the row's tokens `lost` did not fit.

    `ends` is false where the last reply lost its end. `replies` counts what the assistant says in the row,
    `replies_lost` those of it that did not fit at all; `unlearned` says why others are only read.
    """

    input_ids: list[int]
    labels: list[int]
    lost: int
    ends: bool = True
    replies: int = 1
    replies_lost: int = 0
    unlearned: tuple[str, ...] = ()

    @property
    def cut(self) -> bool:
        return self.lost > 0

    @property
    def replies_learned(self) -> int:
        return self.replies - self.replies_lost - len(self.unlearned)


def supervise(
    template: Template,
    row: Mapping[str, Any],
    max_length: int,
    loss: Literal["completion", "all"] = "completion",
    completion: str = "output",
    turns: Turns = "last",
) -> Example:
    """The row's conversation, with labels at what the assistant says and at the end of each of its turns.

        system  user  assistant  end  user  assistant  end
                      └──────labels────┘    └──────labels───┘    turns: all
                                            └──────labels───┘    turns: last

    With `loss` all every token but the first has a label: none stands before that one to predict it.
    `completion` names the field that holds the last turn. What does not fit into `max_length` is cut off, a
    reply with its end token: one that followed in mid-sentence would teach the model to stop there. Raises
    StageError when there is no room for a single token of a reply and its end.
    """
    prompt = template.prompt_ids(row)
    learned = template.completion_ids(str(row[completion]))
    whole = [*prompt, *learned]
    earlier = earlier_replies(template, row) if turns == "all" else []
    spans = [*(each for each in earlier if not each.unlearned), Reply(len(prompt), len(whole))]
    least = 1 + len(template.completion_ids(""))
    fitting = [span for span in spans if span.start + least <= max_length]
    if not fitting:
        raise StageError(
            f"row {row['id']} cannot be trained on: its prompt has {spans[0].start} tokens, so max_length "
            f"{max_length} leaves no room for a completion. Raise max_length, or leave the row out"
        )
    input_ids = whole[: min(fitting[-1].stop, max_length)]
    labels = [IGNORED, *input_ids[1:]] if loss == "all" else [IGNORED] * len(input_ids)
    for span in fitting:
        start = max(1, span.start)
        labels[start : span.stop] = input_ids[start : span.stop]
    return Example(
        input_ids=input_ids,
        labels=labels,
        lost=len(whole) - len(input_ids),
        ends=fitting[-1].stop <= max_length,
        replies=len(earlier) + 1,
        replies_lost=len(spans) - len(fitting),
        unlearned=tuple(each.unlearned for each in earlier if each.unlearned),
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


def tell_conversations(say: Callable[[str], None], rows: Iterable[Mapping[str, Any]]) -> None:
    """Say that of conversations only the last answer is learned by preference."""
    held = (row.get("messages", ()) for row in rows)
    if count := sum(any(turn["role"] == "assistant" for turn in turns) for turns in held):
        say(
            f"in {count:,} conversations only the last answer is learned: a preference is between two "
            "answers to the same conversation"
        )


def tell_replies(say: Callable[[str], None], examples: Iterable[Example]) -> None:
    """Say which turns of conversations are not learned, and why."""
    every = list(examples)
    replies = sum(example.replies for example in every)
    if lost := sum(example.replies_lost for example in every):
        say(f"{lost:,} of {replies:,} replies of the assistant did not fit at all")
    for why, count in Counter(why for example in every for why in example.unlearned).items():
        say(f"{count:,} of {replies:,} replies of the assistant are only read, not learned: {why}")
