"""Rows of several families, which take turns."""

from collections.abc import Iterator, Mapping
from typing import TypeVar

Row = TypeVar("Row", bound=Mapping[str, object])


def rows_in_turn(families: Mapping[str, Iterator[Row]], count: int, what: str) -> list[Row]:
    """`count` rows, each with its family as `category`; a family that has no row left gives up its turn.

    Raises ValueError when all of them are exhausted before that; `what` tells how many there are, as in
    `the quiz has only {} distinct questions`.
    """
    streams = dict(families)
    rows: list[Row] = []
    while len(rows) < count and streams:
        for name in list(streams):
            row = next(streams[name], None)
            if row is None:
                del streams[name]
            elif len(rows) < count:
                rows.append({**row, "category": name})
    if len(rows) < count:
        raise ValueError(f"{what.format(len(rows))}; {count} were asked for")
    return rows
