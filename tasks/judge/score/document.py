"""The scores of one file of responses as a document."""

from collections.abc import Iterator

from tasks.judge.audit.document import in_short
from tasks.judge.audit.wording import judge_name
from tasks.judge.score import scores_wording as words
from tasks.machine.json_files import Json
from tasks.show.document import (
    Block,
    Bullet,
    Bullets,
    Document,
    Group,
    Interval,
    Intervals,
    Point,
    Section,
    Text,
)

REASONS = 3  # why scores are missing: the most frequent


def document(outcome: Json) -> Document:
    """Every scorer's mean with its interval, how the responses are, and what the audits said."""
    summary, audits = outcome["summary"], outcome["audits"]
    entries = sorted(summary["scores"], key=lambda entry: entry["scorer"] != summary["headline"])
    judged = [Group(judge_name(report), in_short(report, outcome["despite_audit"])) for report in audits]
    names = dict.fromkeys(entry["model"] for entry in outcome["scores"])
    beside = [*_beside(summary, entries[0])]
    return Document(
        kind="scores",
        title="Scores",
        subtitle=f"of {', '.join(names)}" if names else "",
        alarms=[
            f"{words.scorer_title(entry)}: {words.mean_text(entry)}"
            for entry in entries
            if not words.has_mean(entry)
        ],
        sections=[
            Section(
                "Means", [*_means(entries), Text(words.criteria_text(summary.get("criteria", {})), "muted")]
            ),
            Section("Responses", [Text(words.responses_text(summary["responses"]))]),
            *([Section("What the scores go along with", beside)] if beside else []),
            *([Section("Audits", judged)] if judged else []),
        ],
    )


def _means(entries: list[Json]) -> Iterator[Block]:
    yield Intervals([_interval(entry) for entry in entries])
    yield Bullets(
        [
            Bullet(f"{words.scorer_title(entry)}: {why['count']:,} because {why['reason']}", "muted")
            for entry in entries
            if entry["missing"]
            for why in entry["missing_because"][:REASONS]
        ]
    )


def _interval(entry: Json) -> Interval:
    known = words.has_mean(entry)
    median = "" if entry["median"] is None else f"median {entry['median']:.1f}, "
    bounds = (entry["lowest_possible"], entry["highest_possible"]) if words.is_incomplete(entry) else None
    return Interval(
        name=words.scorer_title(entry),
        value=f"{entry['mean']:.1f}" if known else "none",
        interval=words.interval_text(entry),
        points=[Point(entry["mean"])] if known else [],
        low=entry["low"] if known else None,
        high=entry["high"] if known else None,
        possible=bounds,
        histogram=entry["histogram"],
        under=median + words.scored_text(entry),
    )


def _beside(summary: Json, headline: Json) -> Iterator[Block]:
    """What the headline's scores go along with, and how far the judges agree."""
    for name, known in headline["correlations"].items():
        if known["value"] is not None:
            beside = "length in words" if name == "words" else words.scorer_name(name)
            yield Text(f"Rank correlation of the scores with {beside}: {_correlation(known)}.", "muted")
    if agreed := summary.get("agreement"):
        spread = agreed["disagreement"]
        if spread["mean"] is not None:
            yield Text(
                f"The judges are {spread['mean']:.1f} points apart on average ({spread['low']:.1f} to "
                f"{spread['high']:.1f}), {len(agreed['apart'])} rows by 40 or more."
            )
        if agreed["alpha"] is not None:
            yield Text(f"Krippendorff's alpha of the judges: {agreed['alpha']:.2f}.")


def _correlation(known: Json) -> str:
    text = f"{known['value']:+.2f}"
    return text if known["low"] is None else f"{text} (95% {known['low']:+.2f} to {known['high']:+.2f})"
