"""The card on a reward model: how many held-out pairs it orders, how surely, and what else does as well."""

from collections.abc import Iterator

from tasks.machine.json_files import Json
from tasks.show.document import (
    ALL,
    NOT_IN_TERMINAL,
    Bar,
    Bars,
    Block,
    Cell,
    Excerpt,
    Excerpts,
    Fold,
    Interval,
    Intervals,
    Keep,
    Point,
    Quote,
    Section,
    Table,
    Text,
    table_of,
)
from tasks.show.text import percent, percents, plural, signed
from tasks.statistics.verdicts import shows

HUES = ("amber", "slate")  # of the model, and of what it must beat


def section(evaluation: Json, version: Json | None) -> Section:
    """All that is known of it; `version` is that of the registry, if it is one."""
    return Section("Reward model on the test pairs", list(_blocks(evaluation, version)))


def _blocks(evaluation: Json, version: Json | None) -> Iterator[Block]:
    registered = f" It is {version['name']} version {version['version']}." if version else ""
    yield Text(
        f"How often the chosen response of {evaluation['pairs']:,} held-out pairs is worth more than the "
        f"rejected one. The line is the 95% interval.{registered}",
        "muted",
    )
    yield Intervals(
        [
            _accuracy("reward model", evaluation["accuracy"], HUES[0]),
            *(
                _accuracy(one["name"], one["accuracy"], HUES[1], one["description"])
                for one in evaluation["baselines"]
            ),
        ],
        unit="%",
    )
    for one in evaluation["baselines"]:
        yield Text(f"{_comparison(one)}: {_difference(one)}.")
    for warning in evaluation["warnings"]:
        yield Text(f"Warning: {warning}.", "worse")
    yield Text(f"{_margins(evaluation)}. {_calibration(evaluation)}.")
    yield Fold("Margins", [_histogram(evaluation)], keep=NOT_IN_TERMINAL)
    yield Fold("Reliability", [_reliability(evaluation)], is_open=True, keep=ALL)
    if (wrong := evaluation["wrong"])["of"]:
        shown = "all of them" if len(wrong["rows"]) == wrong["of"] else f"the first {len(wrong['rows'])}"
        count = plural(wrong["of"], "pair")
        yield Text(f"{count} in the wrong order, the surest mistake first, {shown}.", "muted")
        yield Excerpts([_excerpt(row) for row in wrong["rows"]], keep=Keep(terminal=1))


def _excerpt(row: Json) -> Excerpt:
    quotes = [
        Quote(side, row[side]["text"], score=f"{row[side]['reward']:.2f}") for side in ("chosen", "rejected")
    ]
    margin = row["chosen"]["reward"] - row["rejected"]["reward"]
    return Excerpt(
        f"Row {row['id']}", [Quote("prompt", row["prompt"]), *quotes], score=f"{margin:.2f}", tone="worse"
    )


def _accuracy(name: str, found: Json, hue: str, under: str = "") -> Interval:
    low, mean, high = (100 * found[part] for part in ("low", "mean", "high"))
    interval = percents(found["low"], found["high"]) if low < high else ""
    return Interval(name, percent(found["mean"]), interval, hue, [Point(mean)], low, high, under=under)


def _comparison(baseline: Json) -> str:
    shown = {"better": "Better than", "worse": "Worse than", "open": "Not shown to be better than"}
    name = baseline["name"]
    named = name if name == "chance" else f"taking the {name.partition(' ')[0]} response"
    return f"{shown[shows(baseline['difference'], baseline['p_value'])]} {named}"


def _difference(baseline: Json) -> str:
    found = baseline["difference"]
    low, mean, high = (signed(100 * found[part]) for part in ("low", "difference", "high"))
    return f"{mean} points, 95% interval {low} to {high}, paired"


def _margins(evaluation: Json) -> str:
    margin, rewards = evaluation["margin"], evaluation["rewards"]
    text = (
        f"Mean reward {rewards['chosen']:.2f} of the chosen and {rewards['rejected']:.2f} of the rejected: "
    )
    text += f"a margin of {margin['mean']:.2f}, from {margin['quantiles']['5']:.2f} to "
    text += f"{margin['quantiles']['95']:.2f} in nine of ten pairs"
    if (found := evaluation["length_correlation"]) is not None:
        text += f"; its rank correlation with the difference in words is {found:+.2f}".replace("-", "−")
    return text


def _calibration(evaluation: Json) -> str:
    error = evaluation["calibration"]["error"]
    return (
        f"Expected calibration error {percent(error)}: how far its confidence is from how often it is right"
    )


def _histogram(evaluation: Json) -> Bars:
    bars = evaluation["margin"]["histogram"]
    return Bars(
        [
            Bar(
                f"{one['low']:g} to {one['high']:g}",
                one["pairs"] / evaluation["pairs"],
                f"{one['pairs']:,}",
                remark="" if one["low"] >= 0 else "in the wrong order",
            )
            for one in bars
        ]
    )


def _reliability(evaluation: Json) -> Table:
    return table_of(
        [
            {
                "confidence": f"{100 * one['low']:.0f} to {100 * one['high']:.0f}%",
                "pairs": f"{one['pairs']:,}",
                "mean confidence": percent(one["sure"]),
                "right": Cell(
                    percent(one["right"]["mean"]), percents(one["right"]["low"], one["right"]["high"])
                ),
            }
            for one in evaluation["calibration"]["bins"]
            if one["pairs"]
        ]
    )


def summary_text(evaluation: Json) -> str:
    """`87.3% of 110 test pairs in order`."""
    return f"{percent(evaluation['accuracy']['mean'])} of {evaluation['pairs']:,} test pairs in order"
