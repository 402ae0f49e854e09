"""What a kind of rows is: what is asked in one, and what the answer is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


def _none(_row: Row) -> Iterable[str]:
    return ()


def _one(_row: Row) -> str:
    return ""


def _whole(_row: Row) -> None:
    return None


@dataclass(frozen=True)
class RowKind:
    """Rows that a model answers by other means than writing: it classifies them."""

    name: str
    """As `rows.json` has it."""
    mark: str
    """The field that such rows have, and those of the kinds behind it in `KINDS` do not."""
    parts: Callable[[Row], Mapping[str, str]]
    """What is asked: texts by the names of the fields that they are from."""
    answer: Callable[[Row], str | None] = _whole
    """By which two questions of nearly the same words are told apart; None where the words alone count."""
    labels: Callable[[Row], Iterable[str]] = _none
    """Those that are counted in `rows.json`."""
    stratum: Callable[[Row], str] = _one
    """What every split is to have its share of."""
    is_labelled: bool = False
    """Whether the answer is a label, which many rows share; a text that holds another one then repeats it."""
    source: str = ""
    """The part that is a source of its own, however short and of however many rows, as a passage is that is
    asked about; none where it is empty."""
    sources: tuple[str, ...] = ()
    """Parts that a source gives to several rows whole, as a passage that has several questions."""
