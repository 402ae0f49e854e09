"""Models that answered the same test rows, side by side: scores, differences, responses."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from tasks.config import PANEL, ReportConfig, parts_of
from tasks.errors import StageError
from tasks.generate.outputs import GenerateSummary
from tasks.judge.labels.corrected import Pairs, corrected_difference, corrected_mean
from tasks.judge.labels.stage import Labels
from tasks.judge.score.outputs import Judges, ScoreEntry, ScoreSummary, read_score_lines
from tasks.machine.json_files import Json
from tasks.models import MODELS
from tasks.report.samples import lowest_first, worst_first
from tasks.rows.responses import read_responses
from tasks.statistics.comparing import paired_test


@dataclass(frozen=True)
class ModelAnswers:
    """The responses of one model with their scores; both by row id, in the order of the test split."""

    responses: dict[int, Json]
    lines: dict[int, Json]
    summary: ScoreSummary
    judges: Judges | None
    """Who judged, each with its audit; None when only metrics scored."""
    labels: Labels | None = None
    """What people have said of the responses."""
    served: str | None = None
    """The server's name of the model, where a server gave the responses."""

    def entry(self, scorer: str) -> ScoreEntry | None:
        return self.summary.entry(scorer)


Models = dict[str, ModelAnswers]
"""By the models' names, in the order in which they were trained."""


def read_models(inputs: Mapping[str, Path]) -> Models:
    """Each model's responses and scores. Raises StageError when they are of other rows or another scorer."""
    models = {
        model: _answers(*(inputs.get(f"{name}_{part}") for part in ("responses", "scores", "labels")))
        for name, model in MODELS.items()
        if f"{name}_scores" in inputs
    }
    if models:
        _check_comparable(models)
    return models


def judged(config: ReportConfig, models: Models) -> Json:
    """What responses and scores say."""
    last = list(models)[-1]
    headline, judges = models[last].summary.headline, models[last].judges
    # People grade by what the reference says, which scores on criteria are not about.
    answers = any(own.labels for own in models.values()) and not models[last].summary.criteria
    labelled = {"labels": _labels(models, headline)} if answers else {}
    drawn, worst = worst_first(_scored_rows(models[last], headline), config.samples, config.seed)
    return {
        "headline": headline,
        "judge": judges.as_json() if judges else None,
        "scores": [
            {"model": model} | _named(entry, own) | entry
            for model, own in models.items()
            for entry in own.summary.scores
        ],
        "agreements": [
            {"model": model} | own.summary.agreement for model, own in models.items() if own.summary.agreement
        ],
        "differences": list(_differences(models)),
        "categories": _categories(models),
        "responses": [
            {"model": model} | own.summary.responses | ({"served": own.served} if own.served else {})
            for model, own in models.items()
        ],
        "samples": {
            "seed": config.seed,
            "of": len(models[last].lines),
            "by": last,
            "worst": worst,
            "rows": [_sample(row, models, headline) for row in drawn],
        },
    } | labelled


def all_rows(config: ReportConfig, models: Models) -> list[Json]:
    """Every test row as the samples show it, from the last model's lowest score to its highest."""
    last = models[list(models)[-1]]
    headline = last.summary.headline
    order = lowest_first(_scored_rows(last, headline), config.seed)
    return [_sample(row, models, headline) for row in order]


def _answers(responses: Path, scores: Path, labels: Path | None) -> ModelAnswers:
    return ModelAnswers(
        responses={row["id"]: row for row in read_responses(responses)},
        lines=read_score_lines(scores),
        summary=ScoreSummary.read(scores),
        judges=Judges.find(scores),
        labels=Labels.read(labels) if labels else None,
        served=_served(responses),
    )


def _served(responses: Path) -> str | None:
    made = GenerateSummary.find(responses)  # imported responses have none
    return made.served["model"] if made and made.served else None


def _check_comparable(models: Models) -> None:
    (first, base), *others = models.items()
    for name, own in others:
        if own.summary.headline != base.summary.headline:
            raise StageError(
                f"the {first} model was scored by {base.summary.headline} and the {name} one by "
                f"{own.summary.headline}; score both by the same"
            )
    ids = [set(part) for own in models.values() for part in (own.responses, own.lines)]
    if any(own != ids[0] for own in ids[1:]):
        raise StageError("responses and scores of the models are not of the same rows; run again")


def _differences(models: Models) -> Iterator[Json]:
    """For every scorer, each later model minus each earlier one."""
    first = next(iter(models.values()))
    for entry in first.summary.scores:
        scorer = entry["scorer"]
        for against, model in combinations(models, 2):
            yield (
                _named(entry, first)
                | {"model": model, "against": against}
                | _difference(scorer, models[model], models[against])
            )


def _named(entry: Json, answers: ModelAnswers) -> Json:
    """The scorer and its kind; of a panel also how many judges it is the mean of."""
    known = {"scorer": entry["scorer"], "kind": entry["kind"]}
    if parts_of(entry["scorer"])[0] != PANEL or answers.judges is None:
        return known
    return known | {"judges": len({judge["scorer"] for judge in answers.judges.judges})}


def _difference(scorer: str, ours: ModelAnswers, theirs: ModelAnswers) -> Json:
    """Of `rows` with both scores and `missing` that lack one; None where either has no mean to trust."""
    own = [line[scorer] for line in ours.lines.values()]
    other = [theirs.lines[row][scorer] for row in ours.lines]
    rows = sum(None not in pair for pair in zip(own, other, strict=True))
    trusted = ours.entry(scorer)["status"] == theirs.entry(scorer)["status"] == "ok"
    sources = [line.get("source") for line in ours.lines.values()]
    test = paired_test(own, other, sources) if trusted else None
    numbers = asdict(test) if test else dict.fromkeys(("difference", "low", "high", "p"))
    return numbers | {"rows": rows, "missing": len(own) - rows}


def _labels(models: Models, scorer: str) -> Json:
    """What people's labels make of the headline's means and differences; none where nobody labelled any."""
    first = next(iter(models.values()))
    named = _named(first.entry(scorer), first)
    sources = {row: line.get("source") for row, line in first.lines.items()}
    means = [
        {"model": model, **named, "mean": own.entry(scorer)["mean"]}
        | corrected_mean(own.labels, _scores(own, scorer), sources)
        for model, own in models.items()
        if own.labels
    ]
    return {"means": means, "differences": list(_corrected_differences(models, scorer, named, sources))}


def _corrected_differences(
    models: Models, scorer: str, named: Json, sources: Mapping[int, str | None]
) -> Iterator[Json]:
    rows = list(sources)
    for against, model in combinations(models, 2):
        ours, theirs = models[model], models[against]
        if ours.labels or theirs.labels:
            scores = [[own.lines[row][scorer] for row in rows] for own in (ours, theirs)]
            pairs = Pairs(rows, rows, *scores, list(sources.values()))
            found = corrected_difference(ours.labels, theirs.labels, pairs)
            yield named | {"model": model, "against": against} | found


def _scores(answers: ModelAnswers, scorer: str) -> dict[int, float | None]:
    return {row: line[scorer] for row, line in answers.lines.items()}


def _categories(models: Models) -> list[Json]:
    """Every model's mean for every category and scorer, in order of name; empty without categories."""
    first = next(iter(models.values())).summary.categories
    return [
        {"category": category, "scorer": scorer, "rows": numbers["rows"]}
        | {model: own.summary.categories[category][scorer]["mean"] for model, own in models.items()}
        for category, scorers in first.items()
        for scorer, numbers in scorers.items()
    ]


def _scored_rows(answers: ModelAnswers, scorer: str) -> list[tuple[int, str | None, float | None]]:
    return [
        (row, answers.responses[row].get("category"), line[scorer]) for row, line in answers.lines.items()
    ]


def _sample(row: int, models: Models, scorer: str) -> Json:
    asked = next(iter(models.values())).responses[row]
    shown = {
        "id": row,
        "category": asked.get("category"),
        "instruction": asked["instruction"],
        "input": asked["input"],
        "reference": asked["output"],
    }
    for model, own in models.items():
        line = own.lines[row]
        shown[model] = {
            "response": own.responses[row]["response"],
            "cut": own.responses[row]["cut"],
            "kind": line["response_kind"],
            "score": line[scorer],
            "reason": line.get("reason"),
            "missing_because": line.get("missing_because"),
        }
    return shown
