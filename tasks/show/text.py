"""Numbers as people read them, and texts that nobody vouches for made fit to be shown.

Responses, prompts, judges' reasons, labels and file names can hold anything: `visible` makes what would act
on a screen into something that can be read, and each rendering escapes its own markup.
"""

import re
import unicodedata

# Embeddings, overrides and isolates: an unclosed one turns around the text that follows the response.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """`text` with every control character but the line feed and the tab made visible, as in `\\x1b`."""
    text = text.replace("\r\n", "\n")
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    acts = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or _TURNING.match(character)
    return character.encode("unicode_escape").decode() if acts else character


def one_line(text: str, width: int) -> str:
    """`text` on one line of at most `width` characters, an ellipsis where it was shortened."""
    flat = " ".join(visible(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"


def short(number: float) -> str:
    """Three digits and a unit: 890 k, 124 M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size * 0.9995:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:g}"


def size(count: int) -> str:
    """Bytes in decimal units."""
    return f"{count} bytes" if count < 1000 else f"{short(count)}B"


def signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def percent(share: float) -> str:
    """A fraction as `96.3%`; never 0.0% or 100.0% of what is neither none nor all."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 < share < 1 else f"{share:.1%}"


def percents(low: float, high: float) -> str:
    """An interval of fractions as `94.1 to 98.0%`."""
    return f"{100 * low:.1f} to {100 * high:.1f}%"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def whatever_missing(rows: int) -> str:
    """What an interval of a difference says of rows that lack a score on either side; nothing without any."""
    return f", whatever the {rows:,} rows without both scores would have had" if rows else ""


def capital(words: str) -> str:
    """`words` with a capital first letter, the others as they are; a name in front stays as it is."""
    first = words.partition(" ")[0].rstrip(".:")
    is_name = any(sign in first for sign in "_.:/@")  # of a setting, a model or a version
    return words if is_name else words[:1].upper() + words[1:]


def plural(count: int, noun: str) -> str:
    """`1 row`, `1,200 rows`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
