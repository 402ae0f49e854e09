"""Rows to fine-tune on: read from many formats, checked, and split so that nothing tested was trained on.

What a row is, and what is asked of rows that were written, is in `canonical`; how they come to be in the
other modules, in this order: `file_names`, `tables`, `files`, `formats`, `conversations`, `splits`, `stage`.
"""

from tasks.rows.canonical import SPLITS, Row, load_split, prompt_groups, prompt_of, texts_of, write_rows
from tasks.rows.groups import Alike, distinct_texts_of, load_groups, write_groups
from tasks.rows.mixing import MIXED_FROM
from tasks.rows.sources import source_groups
from tasks.rows.stage import rows

__all__ = [
    "MIXED_FROM",
    "SPLITS",
    "Alike",
    "Row",
    "distinct_texts_of",
    "load_groups",
    "load_split",
    "prompt_groups",
    "prompt_of",
    "rows",
    "source_groups",
    "texts_of",
    "write_groups",
    "write_rows",
]
