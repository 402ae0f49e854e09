"""How a model responds, whatever the responses say: how long, how often none, and what it expected."""

from collections.abc import Sequence

import numpy as np

from tasks.judge.protocol.responses import Kind, ResponseRow
from tasks.machine.json_files import Json
from tasks.statistics.bounded import perplexity_interval, unbounded_interval
from tasks.statistics.intervals import Sources, share_of

SHARES: tuple[Kind, ...] = ("empty", "looping", "echoed", "identical")


def behaviour(rows: Sequence[ResponseRow], kinds: Sequence[Kind], words: Sequence[int]) -> Json:
    """The numbers under `responses` in `scores.json`; what no row carries (`cut`, `tokens`, ...) is absent.

    `words` are the lengths of the responses in words. Shares are fractions, lengths and perplexity means over
    the rows that carry them; all have 95% intervals.
    """
    found = {f"share_{kind}": share_of(sum(own == kind for own in kinds), len(kinds)) for kind in SHARES}
    if cut := [row.cut for row in rows if row.cut is not None]:
        found["share_cut"] = share_of(sum(cut), len(cut))
    if counted := [row for row in rows if row.tokens is not None]:
        found["length_tokens"] = _length([row.tokens for row in counted], [row.source for row in counted])
    found["length_words"] = _length(words, [row.source for row in rows])
    weighed = [(row.reference_loss, row.reference_tokens, row.source) for row in rows if row.reference_tokens]
    if known := [each for each in weighed if each[0] is not None]:
        losses, counts, sources = zip(*known, strict=True)
        perplexity, low, high = perplexity_interval(losses, counts, sources)
        found["reference_perplexity"] = {
            "perplexity": perplexity,
            "low": low,
            "high": high,
            "rows": len(known),
            "tokens": sum(counts),
        }
    return found


def behaviour_metrics(found: Json) -> dict[str, float]:
    """The same as flat names for MLflow: `share_looping`, `length_words_mean`, `reference_perplexity`."""
    metrics = {}
    for name, numbers in found.items():
        if name.startswith("share_"):
            metrics[name] = numbers["share"]
        elif name.startswith("length_"):
            metrics |= {f"{name}_mean": numbers["mean"], f"{name}_median": numbers["median"]}
        else:
            metrics[name] = numbers["perplexity"]
    return metrics


def _length(lengths: Sequence[int], sources: Sources) -> Json:
    mean, low, high = unbounded_interval(lengths, sources)
    return {"mean": mean, "low": low, "high": high, "median": float(np.median(lengths)), "rows": len(lengths)}
