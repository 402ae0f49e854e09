"""What a terminal or a pipe can show that takes no UTF-8: nothing that is printed ends a command.

`LC_ALL=C` or `PYTHONIOENCODING=latin-1` make a stream raise for a bar or a quote. People are shown what comes
nearest; JSON has escapes for what it is about.
"""

import codecs
import io
import json
import sys

PEOPLE, JSON = "touchstone.people", "touchstone.json"  # handlers of what cannot be encoded
NEAREST = {
    **{bar: str(height) for height, bar in enumerate("▁▂▃▄▅▆▇█", start=1)},
    **dict.fromkeys("━─", "-"),
    **dict.fromkeys("╸╺", " "),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’‚", "'"),
    **dict.fromkeys("–—−", "-"),
    **{"≥": ">=", "≤": "<=", "≠": "!=", "→": "->", "…": "...", "±": "+-"},
    **{"·": ".", "•": "*", "●": "o", "│": "|", "×": "x", "░": ":", "\xa0": " "},
}


def forgive() -> None:
    """Let standard output and standard error show what comes nearest to what they cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PEOPLE)


def as_json_can_be_written(text: str) -> str:
    """A JSON text with escapes for what standard output cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, JSON).decode(encoding)


def _failed_at(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return error.object[error.start : error.end], error.end


def _nearest(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands for characters that cannot be shown."""
    failed, end = _failed_at(error)
    return "".join(NEAREST.get(character, "?") for character in failed), end


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    failed, end = _failed_at(error)
    return "".join(json.dumps(character)[1:-1] for character in failed), end


codecs.register_error(PEOPLE, _nearest)
codecs.register_error(JSON, _escaped)
