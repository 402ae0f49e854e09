"""What the sections of the terminal's card have in common: colours, columns, and a line from 0 to 100."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

SAMPLES = 3
TRACK = 30  # characters from 0 to 100
STYLES = {"base": "bright_blue", "fine-tuned": "yellow", "preferred": "green", "classifier": "yellow"}


def loss_style(split: str) -> str:
    return STYLES["base"] if split == "train" else STYLES["fine-tuned"]


def grid_of(*widths: int) -> Table:
    """A grid of columns at least that wide, so that one grid below the other lines up."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(overflow="fold", min_width=width)
    return grid


def track(low: float, means: Sequence[float], high: float) -> str:
    """The interval and the means on a line from 0 to 100."""
    first, last, *places = (round(value / 100 * (TRACK - 1)) for value in (low, high, *means))
    cells = ["─" if first <= at <= last else "·" for at in range(TRACK)]
    for place in places:
        cells[place] = "●"
    return "".join(cells)


def bar(
    name: str, style: str, numbers: tuple[float, float, float], value: str, interval: str
) -> tuple[Text, ...]:
    """A row of a grid: who, the line from 0 to 100, and the number with its interval."""
    low, mean, high = numbers
    return (
        Text(name, style),
        Text(track(low, [mean], high), style),
        Text.assemble((value, "bold"), (f"  {interval}", "dim")),
    )
