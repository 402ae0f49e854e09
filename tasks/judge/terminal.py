"""The scores of one file of responses in a terminal."""

from collections.abc import Iterator
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.audit.terminal import STYLES as VERDICT_STYLES
from tasks.audit.wording import headline as audit_headline
from tasks.report import scores_wording as words
from tasks.report.text import visible

BARS = "▁▂▃▄▅▆▇█"

Json = dict[str, Any]


def show(outcome: Json, console: Console) -> None:
    """Print every scorer's mean with its interval, how the responses are, and what the audits said."""
    for part in _parts(outcome["summary"], outcome["audits"]):
        console.print(part)


def _parts(summary: Json, audits: list[Json]) -> Iterator[RenderableType]:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("scorer", "mean", "95% interval", "median", "0 to 100", "rows"):
        table.add_column(column, overflow="fold")
    ordered = sorted(summary["scores"], key=lambda entry: entry["scorer"] != summary["headline"])
    for entry in ordered:
        cells = [
            words.scorer_title(entry),
            f"{entry['mean']:.1f}" if words.has_mean(entry) else "none",
            words.interval_text(entry),
            "" if entry["median"] is None else f"{entry['median']:.1f}",
            histogram(entry["histogram"]),
            f"{entry['scored']:,} of {entry['rows']:,}",
        ]
        table.add_row(*map(Text, cells), style="bold" if entry is ordered[0] else "")
    yield table
    for entry in ordered:
        if not words.has_mean(entry):
            yield Text(f"{words.scorer_title(entry)}: {words.mean_text(entry)}", "bold red")
        if entry["scored"] and entry["missing"]:
            yield Text(f"{words.scorer_title(entry)}: {words.scored_text(entry)}")
    yield Text(f"responses: {words.responses_text(summary['responses'])}", "dim")
    for name, found in ordered[0]["correlations"].items():
        if found["value"] is not None:
            yield Text(f"rank correlation with {_beside(name)}: {_correlation(found)}", "dim")
    if found := summary.get("agreement"):
        yield from _agreement(found)
    for report in audits:
        yield Text(visible(audit_headline(report)), VERDICT_STYLES[report["verdict"]])


def histogram(counts: list[int]) -> str:
    """Ten bins from 0 to 100 as bars; nothing at all is a dot."""
    most = max(counts, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] if count else "·" for count in counts)


def _beside(name: str) -> str:
    return "length in words" if name == "words" else words.scorer_name(name)


def _correlation(found: Json) -> str:
    text = f"{found['value']:+.2f}"
    return text if found["low"] is None else f"{text} (95% {found['low']:+.2f} to {found['high']:+.2f})"


def _agreement(found: Json) -> Iterator[RenderableType]:
    spread = found["disagreement"]
    if spread["mean"] is not None:
        yield Text(
            f"the judges are {spread['mean']:.1f} points apart on average "
            f"({spread['low']:.1f} to {spread['high']:.1f}), {len(found['apart'])} rows by 40 or more"
        )
    if found["alpha"] is not None:
        yield Text(f"Krippendorff's alpha {found['alpha']:.2f}")
