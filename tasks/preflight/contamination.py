"""Whether what is tested stands in the text that the base model was pretrained on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from tasks.data.token_files import Split
from tasks.preflight.checks import Check
from tasks.preflight.ngrams import shares_found
from tasks.preflight.report import CheckResult
from tasks.rows import Row
from tasks.rows.kinds import kind_of

NAME = "corpus holds no tested row"
GRAM = 8  # tokens, about 6 words in a row
LEAST = 16  # tokens of a text that can be told from others
SHARE = 0.8  # of its runs that stand in the corpus make it one that was read (Touvron et al., Llama 2, 2023)
TOLERATED = 0.01  # of the rows: turns of phrase, famous quotations
TESTED = ("test", "validation")
ENCODED = 1000  # texts at once


class Asked(NamedTuple):
    """A part of a row that is looked for: its prompt, or the answer to it."""

    split: str
    row: int
    part: str
    text: str


def check_corpus(
    corpus: Split | None, tokenizer: PreTrainedTokenizerBase, rows: dict[str, list[Row]]
) -> Check:
    return Check(NAME, lambda: corpus_holds_no_tested_row(corpus, tokenizer, rows))


def corpus_holds_no_tested_row(
    corpus: Split | None, tokenizer: PreTrainedTokenizerBase, rows: dict[str, list[Row]]
) -> CheckResult:
    """Prompts and answers of test and validation rows do not stand in `corpus`, what was pretrained on.

    Without one, for a base model that was imported, the check is skipped: nobody here knows what it has read.
    """
    tested = [(name, row) for name in TESTED for row in rows.get(name, ())]
    expected = f"fewer than {TOLERATED:.0%} of the test and validation rows stand in it"
    if corpus is None:
        return CheckResult(
            NAME, "skipped", "the base model was imported: its training text is not known", expected
        )
    parts = [Asked(name, row["id"], part, text) for name, row in tested for part, text in _parts(row)]
    texts = list(_encoded(tokenizer, [part.text for part in parts]))
    long = [place for place, text in enumerate(texts) if len(text) >= LEAST]
    shares = shares_found(corpus.tokens, [texts[place] for place in long], GRAM)
    found = [parts[place] for place, share in zip(long, shares, strict=True) if share >= SHARE]
    looked_at = len({(parts[place].split, parts[place].row) for place in long})
    counted = f"of {looked_at:,} rows with {LEAST} tokens in a row; {len(tested) - looked_at:,} are shorter"
    if not found:
        return CheckResult(NAME, "passed", f"none {counted}", expected)
    count = len({(part.split, part.row) for part in found})
    verdict = "info" if count < TOLERATED * len(tested) else "failed"
    where = f"{found[0].split} row {found[0].row}, its {found[0].part}"
    told = f"{count:,} {counted}. Leave them out of the rows, or their texts out of the corpus"
    return CheckResult(NAME, verdict, told, expected, where)


def _parts(row: Row) -> Iterator[tuple[str, str]]:
    if kind := kind_of(row):
        yield from kind.parts(row).items()
        return
    yield "prompt", "\n".join(filter(None, (row["instruction"], row["input"])))
    yield "answer", next(row[field] for field in ("output", "chosen") if field in row)


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Iterator[np.ndarray]:
    """Token ids without the first and the last, which may be others in the middle of a text."""
    for start in range(0, len(texts), ENCODED):
        batch = tokenizer(texts[start : start + ENCODED], add_special_tokens=False)["input_ids"]
        yield from (np.asarray(ids[1:-1], dtype=np.int64) for ids in batch)
