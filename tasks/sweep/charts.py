"""The pictures of a sweep: each setting against the value, and all settings of a trial in one line."""

import math
from collections.abc import Mapping, Sequence

from tasks.machine.json_files import Json
from tasks.show.document import PAGE_ONLY, Chart, Curve, Hue

OTHERS: Hue = "slate"
BEST: Hue = "teal"
LOWEST, HIGHEST = (0.0, "low"), (1.0, "high")


def best_so_far(report: Json, done: Sequence[Json], title: str) -> Chart:
    """The best value after each trial."""
    choose = min if report["direction"] == "minimize" else max
    values: list[float] = []
    points = []
    for trial in done:
        values.append(choose([trial["value"], *values[-1:]]))
        points.append((float(trial["number"]), values[-1], values[-1], values[-1]))
    own = [(float(one["number"]), *(one["value"],) * 3) for one in done]
    curves = [Curve("best so far", BEST, points, len(points))]
    dots = [Curve("each trial", OTHERS, own, len(own), is_joined=False)]
    return Chart(title, "trial", [*dots, *curves], from_zero=False, keep=PAGE_ONLY)


def slices(report: Json, done: Sequence[Json], title: str) -> list[Chart]:
    """A chart of each setting: the value of every trial over the setting's."""
    charts = []
    for dimension in report["space"]:
        ticks = _ticks(dimension)
        curves = []
        for name, hue, trials in _by_hue(report, done):
            points = [(place_of(dimension, one["settings"]), *(one["value"],) * 3) for one in trials]
            curves.append(Curve(name, hue, points, len(points), is_joined=False))
        charts.append(
            Chart(title, dimension["setting"], curves, from_zero=False, x_ticks=ticks, keep=PAGE_ONLY)
        )
    return charts


def parallel(report: Json, done: Sequence[Json], by: str) -> Chart:
    """A line for each trial through the places of its settings, which end at its value."""
    names = [short_name(one["setting"]) for one in report["space"]]
    values = [one["value"] for one in done]
    low, high = min(values), max(values)
    curves = []
    for name, hue, trials in _by_hue(report, done):
        for at, one in enumerate(trials):
            heights = [place_of(dimension, one["settings"]) for dimension in report["space"]]
            heights.append((one["value"] - low) / (high - low) if high > low else 0.5)
            points = [(float(x), *(y,) * 3) for x, y in enumerate(heights)]
            curves.append(Curve("" if at else name, hue, points, len(points)))
    ticks = [(float(x), name) for x, name in enumerate([*names, by])]
    title = "Each line is a trial: where its settings lie in what was tried, and where its value"
    return Chart(title, "", curves, x_ticks=ticks, y_ticks=(LOWEST, HIGHEST), keep=PAGE_ONLY)


def place_of(dimension: Json, settings: Mapping[str, str]) -> float:
    """Where a setting lies in what was tried of it, from 0 to 1."""
    text = settings[dimension["setting"]]
    if dimension["values"]:
        values = ordered(dimension["values"])
        return values.index(text) / (len(values) - 1)
    scale = math.log if dimension["log"] else float
    low, high = scale(dimension["low"]), scale(dimension["high"])
    return min(max((scale(float(text)) - low) / (high - low), 0.0), 1.0)


def ordered(values: Sequence[str]) -> list[str]:
    """The values of a list from the lowest to the highest, where they are numbers; else as they are."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return list(values)


def _ticks(dimension: Json) -> list[tuple[float, str]]:
    if dimension["values"]:
        values = ordered(dimension["values"])
        return [(place / (len(values) - 1), value) for place, value in enumerate(values)]
    low, high = dimension["low"], dimension["high"]
    middle = math.sqrt(low * high) if dimension["log"] else (low + high) / 2
    return [(place, f"{number:.3g}") for place, number in ((0.0, low), (0.5, middle), (1.0, high))]


def _by_hue(report: Json, done: Sequence[Json]) -> list[tuple[str, Hue, list[Json]]]:
    """The trials that were not chosen, then the one that was, which is drawn over them."""
    others = [one for one in done if one["number"] != report["best"]]
    best = [one for one in done if one["number"] == report["best"]]
    return [("other trials", OTHERS, others), (f"trial {report['best']}", BEST, best)]


def short_name(setting: str) -> str:
    """`learning_rate` of `finetune.learning_rate`."""
    return setting.rpartition(".")[2]
