"""The sweep stage: which trial is best by validation, which settings mattered, and what is luck."""

from collections.abc import Sequence
from pathlib import Path

from tasks.config import SweepConfig, SweepTrial
from tasks.judge.score.outputs import ScoreSummary
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.statistics.selection import lead_of_noise
from tasks.sweep.document import document
from tasks.sweep.importance import importance
from tasks.sweep.outputs import Sweep


def sweep(config: SweepConfig, run: StageRun, *, scores: Path | None = None) -> None:
    """Tell what the trials show. `scores` are those of the chosen trial's model on the test rows.

    Writes `sweep.json`; aside, the page `sweep.html`.
    """
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
        flattery=_flattery(done),
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


def _flattery(done: Sequence[SweepTrial]) -> Json:
    values = [one.value for one in done]
    return {
        "mean": sum(values) / len(values) if values else None,
        "noise": lead_of_noise(values),
        "rows": None,
    }
