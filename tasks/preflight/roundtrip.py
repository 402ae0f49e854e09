"""Whether the rows' texts come back from their tokens: what a tokenizer loses, no model can write."""

from transformers import PreTrainedTokenizerBase

from tasks.batches.tuning import TuningData
from tasks.data.reading import short
from tasks.preflight.report import CheckResult
from tasks.tokenize.stage import text_ids

READ = 1000  # rows a split
BATCH = 64
SHOWN = 40  # characters around the first difference


def text_comes_back(data: TuningData) -> CheckResult:
    """Completions and prompts are encoded and decoded again, as generation does; never fails.

    A vocabulary of words or of lower-case pieces is a choice; what it costs should be known.
    """
    expected = "what is decoded is what was encoded, but for space around it"
    unknown = data.tokenizer.unk_token_id
    texts = {
        f"{split} row {row['id']}": (row["instruction"], row["output"])
        for split in data.rows
        for row in data.rows[split][:READ]
    }
    changed, lacking, first = 0, 0, ""
    names, parts = list(texts), [text for pair in texts.values() for text in pair]
    for start in range(0, len(parts), BATCH):
        batch = parts[start : start + BATCH]
        for place, (text, ids) in enumerate(zip(batch, text_ids(data.tokenizer, batch), strict=True), start):
            lacks = unknown in ids
            lacking += lacks
            back = data.tokenizer.decode(ids)
            if back.strip() != text.strip():
                changed += 1
                first = first or f"{names[place // 2]}: {_difference(data.tokenizer, text, back, lacks)}"
    if not changed:
        return CheckResult("text comes back", "passed", f"all {len(parts):,} texts", expected)
    found = f"{changed:,} of {len(parts):,} texts do not, {lacking:,} of them with unknown tokens"
    return CheckResult("text comes back", "info", f"{found}; the first, {first}", expected)


def _difference(tokenizer: PreTrainedTokenizerBase, text: str, back: str, lacks: bool) -> str:
    text, back = text.strip(), back.strip()
    place = next(
        (place for place, pair in enumerate(zip(text, back, strict=False)) if pair[0] != pair[1]),
        min(len(text), len(back)),
    )
    part = slice(max(0, place - SHOWN // 4), place + SHOWN)
    told = f"{short(text[part])!r} becomes {short(back[part])!r}"
    return f"{told} ({tokenizer.unk_token} stands for what is unknown)" if lacks else told
