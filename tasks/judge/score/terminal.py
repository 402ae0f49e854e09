"""The scores of one file of responses in a terminal."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.judge.audit.terminal import STYLES as VERDICT_STYLES
from tasks.judge.audit.wording import found, interval, limits, not_falsifiable
from tasks.judge.audit.wording import headline as audit_headline
from tasks.judge.protocol.refusals import identity_lines, refusal_lines
from tasks.judge.score import scores_wording as words
from tasks.machine.json_files import Json
from tasks.show.text import visible

REASONS = 3  # why scores are missing: the most frequent
BARS = "▁▂▃▄▅▆▇█"


def show(outcome: Json, console: Console) -> None:
    """Print every scorer's mean with its interval, how the responses are, and what the audits said."""
    for part in _parts(outcome["summary"], outcome["audits"], outcome["despite_audit"]):
        console.print(part)


def _parts(summary: Json, audits: list[Json], despite_audit: bool) -> Iterator[RenderableType]:
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
    if criteria := words.criteria_text(summary.get("criteria", {})):
        yield Text(criteria)
    for entry in ordered:
        if not words.has_mean(entry):
            yield Text(f"{words.scorer_title(entry)}: {words.mean_text(entry)}", "bold red")
        if entry["scored"] and entry["missing"]:
            yield Text(f"{words.scorer_title(entry)}: {words.scored_text(entry)}")
        for why in entry["missing_because"][:REASONS] if entry["missing"] else ():
            yield Text(f"  {why['count']:,} because {visible(why['reason'])}", "dim")
    yield Text(f"responses: {words.responses_text(summary['responses'])}", "dim")
    for name, known in ordered[0]["correlations"].items():
        if known["value"] is not None:
            yield Text(f"rank correlation with {_beside(name)}: {_correlation(known)}", "dim")
    if agreed := summary.get("agreement"):
        yield from _agreement(agreed)
    for report in audits:
        yield from _audit(report, despite_audit)


def histogram(counts: list[int]) -> str:
    """Ten bins from 0 to 100 as bars; nothing at all is a dot."""
    most = max(counts, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] if count else "·" for count in counts)


def _beside(name: str) -> str:
    return "length in words" if name == "words" else words.scorer_name(name)


def _correlation(known: Json) -> str:
    text = f"{known['value']:+.2f}"
    return text if known["low"] is None else f"{text} (95% {known['low']:+.2f} to {known['high']:+.2f})"


def _agreement(agreed: Json) -> Iterator[RenderableType]:
    spread = agreed["disagreement"]
    if spread["mean"] is not None:
        yield Text(
            f"the judges are {spread['mean']:.1f} points apart on average "
            f"({spread['low']:.1f} to {spread['high']:.1f}), {len(agreed['apart'])} rows by 40 or more"
        )
    if agreed["alpha"] is not None:
        yield Text(f"Krippendorff's alpha {agreed['alpha']:.2f}")


def _audit(report: Json, despite_audit: bool) -> Iterator[RenderableType]:
    """The verdict, and the gates that did not pass."""
    yield Text(visible(audit_headline(report, despite_audit)), VERDICT_STYLES[report["verdict"]])
    for line in [*identity_lines(report["scorer"]), *refusal_lines(report["refusals"])]:
        yield Text(f"  {visible(line)}", "yellow")
    if told := not_falsifiable(report):
        yield Text(f"  {visible(told)}", "yellow")
    for gate in report["gates"]:
        if gate["verdict"] != "pass":
            told = f"  {gate['verdict']}: {gate['name']} {found(gate)} {interval(gate)} ({limits(gate)})"
            yield Text(told, VERDICT_STYLES[gate["verdict"]])
    for why in report["missing_because"][:REASONS]:
        yield Text(f"  {why['count']:,} answers are missing because {visible(why['reason'])}", "dim")
