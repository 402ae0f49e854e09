"""The seeds stage: how far apart one recipe's trainings are, and what holds of it over seeds and rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

from tasks.classify.outputs import Evaluation, read_predictions, require_measured
from tasks.classify.tasks import task_of
from tasks.config import SeedsConfig
from tasks.errors import StageError
from tasks.judge.score.outputs import ScoreEntry, ScoreSummary, read_score_lines
from tasks.machine.json_files import Json
from tasks.models import CLASSIFIER, MODELS
from tasks.models.summary import ModelSummary, was_trained
from tasks.record.stage import StageRun
from tasks.seeds.benchmarks import benchmarks_over_seeds
from tasks.seeds.outputs import Spread
from tasks.statistics.intervals import Sources
from tasks.statistics.seeds import gain_over_seeds, interval_of_seeds, over_seeds

Folders = list[Path]
"""The outputs of one kind, in the order of the seeds."""


def seeds(config: SeedsConfig, run: StageRun, **made: Path) -> None:
    """Compare the trainings; inputs are `seed_<number>_<name>`, of those that came to their end.

    Names are `base_scores`, `tuned_scores` and so on of every model that writes, `classifier`, and `base`
    for what pretraining came to; `base_benchmark` and so on of those that were asked a benchmark. Writes
    `seeds.json`.

    Raises StageError when seeds were not scored on the same rows by the same scorers, or not asked the same,
    and for a classifier that was not measured on test rows.
    """
    numbers = [one.number for one in config.runs if one.error is None]
    scored = {
        model: _folders(made, numbers, name)
        for name, model in [(f"{name}_scores", model) for name, model in MODELS.items()]
        + [(CLASSIFIER, CLASSIFIER)]
        if f"seed_{numbers[0]}_{name}" in made
    }
    for folder in scored.get(CLASSIFIER, ()):
        require_measured(folder)
    models = {model: _Model(folders) for model, folders in scored.items()}
    asked = {
        model: folders
        for name, model in MODELS.items()
        if (folders := _folders(made, numbers, f"{name}_benchmark"))
    }
    entries = [entry for model, own in models.items() for entry in _scores(model, own)]
    Spread(
        runs=[one.model_dump(mode="json") for one in config.runs],
        done=numbers,
        headline=next((own.summaries[0].headline for own in models.values()), None),
        scores=entries,
        differences=[*_differences(models), *_against_baselines(models)],
        losses=_losses(_folders(made, numbers, "base")),
        benchmarks=benchmarks_over_seeds(asked) if asked else None,
    ).write(run.out)
    run.progress(len(numbers), len(config.runs), "seeds", "")


class _Model:
    """One model's scores of every seed, on the same rows."""

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self.summaries = [ScoreSummary.read(folder) for folder in folders]
        self.lines = [read_score_lines(folder) for folder in folders]
        self.ids = list(self.lines[0])
        self._require(self.ids)
        if len({summary.headline for summary in self.summaries}) > 1:
            raise StageError("the seeds were scored by different scorers; run again")

    @property
    def sources(self) -> Sources:
        return [self.lines[0][row].get("source") for row in self.ids]

    def points(self, scorer: str, ids: Sequence[object] | None = None) -> list[list[float | None]]:
        """By seed, then by row, in the order of `ids`, by default their own.

        Raises StageError when these are not of the same rows.
        """
        if ids is not None:
            self._require(ids)
        return [[own[row][scorer] for row in ids or self.ids] for own in self.lines]

    def _require(self, ids: Sequence[object]) -> None:
        if any(own.keys() != set(ids) for own in self.lines):
            raise StageError("the scores to be compared are not of the same rows; run again")

    def status(self, scorer: str) -> str:
        """The first that is not ok of the seeds' scores."""
        statuses = (entry["status"] for entry in self.entries(scorer))
        return next((status for status in statuses if status != "ok"), "ok")

    def entries(self, scorer: str) -> list[ScoreEntry]:
        return [entry for summary in self.summaries if (entry := summary.entry(scorer))]


def _folders(made: Mapping[str, Path], numbers: list[int], name: str) -> Folders:
    return [made[f"seed_{number}_{name}"] for number in numbers if f"seed_{number}_{name}" in made]


def _scores(model: str, own: _Model) -> Iterator[Json]:
    for entry in own.summaries[0].scores:
        scorer, rows = entry["scorer"], len(own.ids)
        status = own.status(scorer)
        found = over_seeds(own.points(scorer), sources=own.sources) if status == "ok" else None
        numbers = _numbers(found)
        del numbers["p"]
        yield {
            "model": model,
            "scorer": scorer,
            "kind": entry["kind"],
            "status": status if found or status != "ok" else "too_many_missing",
            **numbers,
            "rows": rows,
            "scored": numbers["scored"],
            "missing": rows - numbers["scored"],
        }


def _numbers(found: Any) -> Json:
    """An `OverSeeds` as JSON, all of it empty where there is none."""
    names = ("mean", "low", "high", "rows_low", "rows_high", "by_seed", "sd", "p")
    known = asdict(found) if found else dict.fromkeys(names)
    return {name: known[name] for name in names} | {"scored": found.rows if found else 0}


def _differences(models: Mapping[str, _Model]) -> Iterator[Json]:
    """For every scorer, each later model minus each earlier one, seed by seed."""
    for entry in next(iter(models.values())).summaries[0].scores if models else ():
        scorer = entry["scorer"]
        for against, model in combinations(models, 2):
            ours, theirs = models[model], models[against]
            trusted = ours.status(scorer) == theirs.status(scorer) == "ok"
            points = (ours.points(scorer), theirs.points(scorer, ours.ids))
            found = gain_over_seeds(*points, ours.sources) if trusted else None
            yield _difference(model, against, entry, found, len(ours.ids))


def _against_baselines(models: Mapping[str, _Model]) -> Iterator[Json]:
    """A classifier's scores minus those of each of its baselines, seed by seed."""
    if CLASSIFIER not in models:
        return
    own = models[CLASSIFIER]
    (entry,) = own.summaries[0].scores
    predictions = [{line["id"]: line for line in read_predictions(folder)} for folder in own.folders]
    evaluation = Evaluation.read(own.folders[0])
    task = task_of(evaluation.task)
    for name in evaluation.baseline_names:
        theirs = [
            [task.score(task.truth(lines[row]), lines[row][name]) for row in own.ids] for lines in predictions
        ]
        found = gain_over_seeds(own.points(entry["scorer"]), theirs, own.sources)
        yield _difference(CLASSIFIER, name, entry, found, len(own.ids))


def _difference(model: str, against: str, entry: Json, found: Any, rows: int) -> Json:
    numbers = _numbers(found)
    return {
        "model": model,
        "against": against,
        "scorer": entry["scorer"],
        "kind": entry["kind"],
        "difference": numbers.pop("mean"),
        **numbers,
        "rows": numbers["scored"],
        "missing": rows - numbers["scored"],
    }


def _losses(bases: Folders) -> Json | None:
    """The best validation loss of pretraining, over the seeds; None where there was none to measure."""
    if not all(map(was_trained, bases)):
        return None
    losses = [ModelSummary.read(folder).best_validation_loss for folder in bases]
    if not losses or None in losses:
        return None
    mean, low, high, sd = interval_of_seeds(losses)
    return {"by_seed": losses, "mean": mean, "low": low, "high": high, "sd": sd}
