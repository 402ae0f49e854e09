"""The rows that one person is asked about, one after another: where they stand, and what was given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tasks.judge.protocol.responses import ResponseRow

Save = Callable[[int, int], None]
"""Keeps the label of a row, by its id."""


@dataclass
class LabelQueue:
    """Begins at the first row that has no label; those that have one are only seen by going back."""

    rows: Sequence[ResponseRow]
    given: dict[int, int]
    """The person's labels by row, those of earlier times too."""
    save: Save
    """Called before the next row is shown."""
    place: int = field(init=False)

    def __post_init__(self) -> None:
        self.place = self._next(0)

    @property
    def row(self) -> ResponseRow | None:
        """The one that is asked about; None after the last."""
        return self.rows[self.place] if self.place < len(self.rows) else None

    @property
    def present(self) -> int | None:
        """The label that the row has."""
        return self.given.get(self.row.id) if self.row else None

    @property
    def done(self) -> int:
        """How many of the rows have a label."""
        return sum(row.id in self.given for row in self.rows)

    def label(self, value: int) -> None:
        """Keep the label of the row, and go to the next one that has none."""
        self.save(self.row.id, value)
        self.given[self.row.id] = value
        self.skip()

    def skip(self) -> None:
        """Go to the next row that has no label."""
        self.place = self._next(self.place + 1)

    def back(self) -> None:
        """Go to the row before, labelled or not."""
        self.place = max(self.place - 1, 0)

    def _next(self, start: int) -> int:
        unlabelled = (
            place for place in range(start, len(self.rows)) if self.rows[place].id not in self.given
        )
        return next(unlabelled, len(self.rows))
