"""Files of a word a line, as the shared tasks of CoNLL have them: columns, and a blank line after a sentence.

Between columns stands a tab or white space. Lines that begin with -DOCSTART- begin a document, whose number
each sentence has as its `document`. A file that ends with .conllu has the ten columns of Universal
Dependencies, and comments; its words of several tokens and its empty nodes are left out.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.data.reading import OnMalformed, Record, RowError, read_text
from tasks.data.source_files import ending_of
from tasks.errors import StageError

DOCUMENT = "-DOCSTART-"
UNIVERSAL = ("id", "words", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


def read_conll(
    path: Path, name: str, header: Sequence[str], malformed: OnMalformed, *, encoding: str = ""
) -> Iterator[Record]:
    """A record a sentence: each column as a list. `header` names the columns.

    Without it the first is called words, the last tags, and those between `column 2` and so on. A sentence
    whose lines have not all the same number of columns is `malformed`. Raises StageError for a file without
    a sentence, and for one of a single column.
    """
    is_universal = ending_of(name) == ".conllu"
    names = list(header or (UNIVERSAL if is_universal else ()))
    document = number = 0
    for line, rows in _sentences(read_text(path, name, encoding=encoding)):
        if rows[0][0] == DOCUMENT:
            document += 1
            rows = rows[1:]
        if is_universal:
            rows = [fields for fields in rows if not fields[0].startswith("#") and fields[0].isdigit()]
        if not rows:
            continue
        number += 1
        where = f"{name}, row {number} (line {line})"
        names = names or _names(name, len(rows[0]))
        if odd := next((fields for fields in rows if len(fields) != len(names)), None):
            why = f"a line has {len(odd)} columns ({' '.join(odd)[:60]}), expected {len(names)}"
            malformed(RowError(where, f"{why} ({', '.join(names)}); rows.header names the columns"))
            continue
        columns = {column: [fields[place] for fields in rows] for place, column in enumerate(names)}
        yield where, columns | ({"document": document} if document else {})
    if not number:
        raise StageError(
            f"{name} holds no sentence; expected a word a line, and blank lines between sentences."
        )


def _names(name: str, count: int) -> list[str]:
    if count < 2:
        raise StageError(
            f"{name}: its first line has one column; expected words and tags, with a tab or spaces between "
            "them. Set rows.file_type if it is no file of columns"
        )
    return ["words", *(f"column {number}" for number in range(2, count)), "tags"]


def _sentences(text: str) -> Iterator[tuple[int, list[list[str]]]]:
    """The number of the first line, and the fields of each line."""
    begun, rows = 0, []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            begun = begun if rows else number
            rows.append(line.strip().split("\t") if "\t" in line else line.split())
        elif rows:
            yield begun, rows
            rows = []
