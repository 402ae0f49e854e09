"""Blocks of markdown that text from data, models and judges cannot break out of."""

import re
from collections.abc import Mapping, Sequence

from tasks.show.text import visible

LONGEST = 1200  # characters shown of one text
MARGIN = 20  # characters, for labels

# Marks of spans, tables, headings and HTML; what starts a link without any mark; what starts a list.
ACTING = re.compile(r"[\\`*_\[\]<>#|~&$@]|(?<=www)\.|:(?=//)|^[-+]", re.IGNORECASE)
NUMBERED = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))")


def escaped(text: str) -> str:
    """Text on one line in which no character means anything to markdown, to HTML, or to a finder of links."""
    flat = " ".join(visible(text).split())
    return NUMBERED.sub(r"\1\\", ACTING.sub(r"\\\g<0>", flat))


def fenced(parts: Sequence[tuple[str, str]]) -> str:
    """Labels and texts as a code block whose fence is longer than any run of backticks in it.

    Labels stand in the margin; what follows a line feed is indented, so that no text can write a label.
    """
    text = "\n".join(f"{f'{label}:':<{MARGIN}}{_indented(value)}" for label, value in parts)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _indented(text: str) -> str:
    shown = visible(text)
    cut = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    return cut.replace("\n", "\n" + " " * MARGIN)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows of the same columns, whose names are those of the first."""
    return grid(list(rows[0]), [[str(value) for value in row.values()] for row in rows])


def grid(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [list(map(escaped, line)) for line in (names, *rows)]
    lines.insert(1, ["---"] * len(names))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
