"""Sources with their targets: documents and summaries, sentences and their translations."""

from tasks.rows.conversations import as_row
from tasks.rows.fields import Fields, Format
from tasks.rows.row_kind import Row


def _pair(fields: Fields) -> Row:
    source, target = fields.text("source"), fields.text("target")
    turns = [{"role": "user", "content": source}, {"role": "assistant", "content": target}]
    return as_row(fields.where, turns) | {"input": ""}


FORMAT = Format(
    "completion",
    _pair,
    {"source": ("document", "article", "dialogue"), "target": ("summary", "highlights")},
    level=2,
)
"""Behind the formats of instructions, whose files may say in a column `source` where a row is from."""
