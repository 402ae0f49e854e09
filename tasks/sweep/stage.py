"""The sweep stage: which trial is best by validation, which settings mattered, and what is luck."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tasks.config import SweepConfig, SweepTrial
from tasks.judge.score.outputs import ScoreSummary
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.statistics.selection import lead_of_noise, optimism, ratio_interval
from tasks.sweep.document import document
from tasks.sweep.importance import importance
from tasks.sweep.outputs import RowValues, Sweep, are_of_same_parts


def sweep(config: SweepConfig, run: StageRun, *, scores: Path | None = None, **measured: Path) -> None:
    """Tell what the trials show. `scores` are those of the chosen trial's model on the test rows.

    `measured` are what the validate stage made: `trial_<number>` of each trial, and `chosen`, which has the
    test rows too; of a sweep that they are not all of, how far it is flattered is told without them.

    Writes `sweep.json`; aside, the page `sweep.html`.
    """
    values = {name: RowValues.read(folder) for name, folder in measured.items()}
    if config.metric is None:  # a classifier's is known by its rows
        metric = next((one.scorer for one in values.values() if one.scorer), None)
        config = config.model_copy(update={"metric": metric})
    done = distinct(config.trials)
    best = best_of(done, config.direction)
    made = Sweep(
        profile=config.profile,
        command=config.command,
        stage=config.stage,
        by=config.by,
        direction=config.direction,
        sampler=config.sampler,
        space=[one.model_dump(mode="json") for one in config.space],
        trials=[one.model_dump(mode="json") for one in config.trials],
        best=best.number if best else None,
        survived=len(done),
        importance=importance(config.space, done, config.direction),
        flattery=_flattery(config, done, values),
        metric=config.metric,
        test=_test_scores(config, scores) if scores else (),
    )
    made.write(run.out)
    run.log_document("sweep", document(made.as_json()), f"{len(config.trials)} trials")
    run.progress(len(config.trials), len(config.trials), "trials", "")


def distinct(trials: Sequence[SweepTrial]) -> list[SweepTrial]:
    """The trials that came to their end, each of other settings."""
    return [one for one in trials if one.state == "done" and one.repeats is None]


def best_of(done: Sequence[SweepTrial], direction: str) -> SweepTrial | None:
    """The trial with the best value, of equal ones the first; None of none."""
    sign = 1.0 if direction == "minimize" else -1.0
    return min(done, key=lambda one: (sign * one.value, one.number), default=None)


def _test_scores(config: SweepConfig, scores: Path) -> list[Json]:
    found = ScoreSummary.read(scores)
    return [dict(one) for one in found.scores if one["scorer"] in (found.headline, config.metric)]


def _flattery(config: SweepConfig, done: Sequence[SweepTrial], measured: Mapping[str, RowValues]) -> Json:
    values = [one.value for one in done]
    chosen = measured.get("chosen")
    return {
        "mean": sum(values) / len(values) if values else None,
        "noise": lead_of_noise(values),
        "rows": _of_rows(config, [measured.get(f"trial_{one.number}") for one in done]),
        "test": _of_test(chosen.test, chosen.unit) if chosen and chosen.test else None,
    }


def _of_rows(config: SweepConfig, trials: Sequence[RowValues | None]) -> Json | None:
    """The bootstrap over validation rows; None where some trial was not measured on those of the others."""
    if len(trials) < 2 or None in trials or not are_of_same_parts(trials):
        return None
    found = optimism(
        np.array([one.validation["sums"] for one in trials]),
        np.array([one.validation["counts"] for one in trials]),
        minimize=config.direction == "minimize",
        resamples=config.resamples,
    )
    count = len(trials[0].validation["sums"])
    return asdict(found) | {"unit": trials[0].unit, "count": count, "resamples": config.resamples}


def _of_test(values: Json, unit: str) -> Json | None:
    if len(values["sums"]) < 2:
        return None
    value, low, high = ratio_interval(np.array(values["sums"]), np.array(values["counts"]))
    return {"value": value, "low": low, "high": high, "unit": unit, "count": len(values["sums"])}
