"""The series stage: the fit of losses to sizes, and whether it foretells the largest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks.config import SeriesConfig, SeriesRung
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.series.document import document
from tasks.series.outputs import Series
from tasks.statistics.scaling import (
    LEAST,
    PowerLaw,
    fit_power_law,
    fit_power_laws,
    interval,
)
from tasks.statistics.selection import resampled_ratios
from tasks.sweep.outputs import RowValues, are_of_same_parts

NO_FIT = "the losses of these sizes do not say what the law is: they do not fall, or not ever more slowly"


def series(config: SeriesConfig, run: StageRun, **measured: Path) -> None:
    """Fit the losses; `measured` are what the validate stage made of each size: `rung_<place>`.

    Writes `series.json`; aside, the page `series.html`.
    """
    done = [one for one in config.rungs if one.state == "done"]
    values = [
        RowValues.read(measured[name])
        for place, one in enumerate(config.rungs)
        if one.state == "done" and (name := f"rung_{place}") in measured
    ]
    draws = _draws(config, done, values)
    fit, held_out, why_not = _fits(done, draws)
    made = Series(
        profile=config.profile,
        tokens_per_parameter=config.tokens_per_parameter,
        flops=config.flops,
        rungs=[one.model_dump(mode="json") | {"flops": one.flops} for one in config.rungs],
        fit=fit,
        held_out=held_out,
        why_not=why_not,
        parts=None if draws is None else {"count": len(values[0].validation["sums"]), "unit": values[0].unit},
    )
    made.write(run.out)
    run.log_document("series", document(made.as_json()), f"{len(config.rungs)} sizes")
    run.progress(len(config.rungs), len(config.rungs), "sizes", "")


def _draws(
    config: SeriesConfig, done: Sequence[SeriesRung], values: Sequence[RowValues]
) -> np.ndarray | None:
    """Losses (draws, sizes) of parts of the text that are drawn anew; None without parts that all share."""
    if len(values) < max(2, len(done)) or not are_of_same_parts(values):
        return None
    sums, counts = (np.array([one.validation[name] for one in values]) for name in ("sums", "counts"))
    return resampled_ratios(sums, counts, config.resamples)


def _fits(done: Sequence[SeriesRung], draws: np.ndarray | None) -> tuple[Json | None, Json | None, str]:
    """The fit of all, the largest as the others foretell it, and why there is none of one of them."""
    if len(done) < LEAST:
        return None, None, f"a fit needs {LEAST} sizes that were trained, and there are {len(done)}"
    sizes = np.array([one.parameters for one in done], dtype=float)
    losses = np.array([one.loss for one in done])
    whole = fit_power_law(sizes, losses)
    if whole is None:
        return None, None, NO_FIT
    fit = _told(whole, None if draws is None else fit_power_laws(sizes, draws))
    if len(done) == LEAST:
        return fit, None, f"holding the largest out needs {LEAST + 1} sizes"
    others = fit_power_law(sizes[:-1], losses[:-1])
    if others is None:
        return fit, None, f"without the largest, {NO_FIT}"
    return fit, _held_out(others, sizes, losses, draws), ""


def _told(law: PowerLaw, drawn: np.ndarray | None) -> Json:
    found: Json = {"floor": law.floor, "scale": law.scale, "alpha": law.alpha}
    return found | {
        f"{name}_95": None if drawn is None else interval(drawn[:, column])
        for name, column in (("floor", 0), ("alpha", 2))
    }


def _held_out(law: PowerLaw, sizes: np.ndarray, losses: np.ndarray, draws: np.ndarray | None) -> Json:
    """The largest, as the fit of the others foretells it; the gap is what was measured minus that."""
    found: Mapping[str, float] = {"predicted": law.at(sizes[-1]), "measured": float(losses[-1])}
    predicted_95 = gap_95 = None
    if draws is not None:
        floor, scale, alpha = fit_power_laws(sizes[:-1], draws[:, :-1]).T
        drawn = floor + scale * sizes[-1] ** -alpha
        predicted_95, gap_95 = interval(drawn), interval(draws[:, -1] - drawn)
    gap = found["measured"] - found["predicted"]
    return {**found, "predicted_95": predicted_95, "gap": gap, "gap_95": gap_95}
