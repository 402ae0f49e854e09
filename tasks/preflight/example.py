"""One sequence as a person reads it: which tokens are trained on, which are only read."""

from collections.abc import Sequence
from itertools import groupby

from transformers import PreTrainedTokenizerBase

SHOWN = 24  # tokens at each end of a long run
READ, TRAINED, PADDING = "read only", "trained on", "padding"


def decoded(tokenizer: PreTrainedTokenizerBase, input_ids: Sequence[int], trained: Sequence[bool]) -> str:
    """Lines of tokens, each line of one kind; between tokens stands a │.

    `trained` says of each token whether the model learns to give it; it may be shorter: what is left is
    padding. Long runs are shown by their ends.
    """
    kinds = [TRAINED if learns else READ for learns in trained]
    kinds += [PADDING] * (len(input_ids) - len(trained))
    lines = []
    for kind, members in groupby(zip(kinds, input_ids, strict=True), key=lambda pair: pair[0]):
        texts = [_visible(tokenizer.decode([token])) for _, token in members]
        if len(texts) > 2 * SHOWN + 4:
            left_out = f"… {len(texts) - 2 * SHOWN} more tokens …"
            texts = [*texts[:SHOWN], left_out, *texts[-SHOWN:]]
        lines.append(f"{kind:<10} │{'│'.join(texts)}│")
    return "\n".join(lines)


def _visible(text: str) -> str:
    """Line breaks and other characters that cannot be seen, escaped."""
    escapes = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
    return "".join(
        escapes.get(sign) or (sign if sign.isprintable() else f"\\u{ord(sign):04x}") for sign in text
    )
