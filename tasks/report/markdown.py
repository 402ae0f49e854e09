"""The card as a Prefect artifact: markdown for the summary, rows for the table of scores."""

from tasks.judge.labels import labels_wording as labelling
from tasks.judge.score import scores_wording as scores
from tasks.machine.json_files import Json
from tasks.registry.promote.promotion_wording import decision_rows
from tasks.report import classes_wording as classes
from tasks.report import judging_wording as judging
from tasks.report import seeds_wording as seeds
from tasks.report import wording as words
from tasks.report.verdict import verdict
from tasks.show.markdown_blocks import escaped, fenced, grid, table
from tasks.show.text import duration, percent, short, visible


def score_rows(report: Json) -> list[Json]:
    """One row for each model and scorer, for a table artifact; a mean that is not there says why."""
    return [
        {
            "model": entry["model"],
            "scorer": scores.configured_name(entry),
            "kind": entry["kind"],
            "mean": scores.mean_text(entry),
            "95% interval": scores.interval_text(entry),
            "rows": entry["rows"],
            "scored": entry["scored"],
            "missing": entry["missing"],
        }
        for entry in report["scores"]
    ]


def as_markdown(report: Json, cost: Json) -> str:
    """The card in short. Text from data, models and judges is escaped, or in fences it cannot close."""
    found = verdict(report)
    parts = [
        f"# {escaped(report['title'])} {words.under_title(report)}: {words.standing(report)}",
        f"**{escaped(f'{found.sentence} {found.number}'.rstrip())}** {escaped(found.detail)}",
        escaped(found.more),
        f"**{escaped(found.warning)}**" if found.warning else "",
        *(_seeds(report) if "seeds" in report else ()),
        *(_judged(report) if words.is_judged(report) else ()),
        *(_classified(report) if words.is_classified(report) else ()),
        *(() if words.is_pretrained_only(report) else _promotion(report)),
        "## Training",
        _training(report, cost),
        *(_texts(cost) if words.is_pretrained_only(report) else ()),
        "## Cost",
        escaped(words.cost_text(cost)),
    ]
    if cost["stages"]:
        parts.append(table([_stage(stage, cost) for stage in cost["stages"]]))
    return "\n\n".join(filter(None, parts)) + "\n"


def _seeds(report: Json) -> list[str]:
    parts = [f"## {seeds.title(report).capitalize()}", *map(escaped, seeds.explained(report))]
    parts += [f"**{escaped(line)}**" for line in seeds.failures(report)]
    parts += [table(seeds.run_rows(report)), escaped(seeds.loss_text(report))]
    tables = (seeds.score_rows(report), seeds.difference_rows(report))
    return parts + [table(rows) for rows in tables if rows]


def _judged(report: Json) -> list[str]:
    models = scores.models(report)
    parts = ["## Scores", table(score_rows(report)), *_bounds(report)]
    parts += [escaped(judging.criteria_text(report))]
    parts += [escaped(line) for line in judging.correlation_lines(report)]
    parts += ["## Differences", table([_difference(found) for found in report["differences"]])]
    parts += _judges(report) + _labels(report)
    parts += ["## Responses", _by_model(models, scores.response_rows(report))]
    if categories := scores.headline_categories(report):
        parts += ["## By category", table([_category(row, models) for row in categories])]
    parts += ["## Samples", escaped(scores.sampling_text(report))]
    return parts + [fenced(_sample(row, models)) for row in report["samples"]["rows"]]


def _by_model(models: list[str], rows: list[Json]) -> str:
    """Rows of `name` and `cells`, a value with its interval for each model."""

    def cell(value: str, interval: str) -> str:
        return f"{value} ({interval})" if interval else value

    return grid(["", *models], [[row["name"], *(cell(*pair) for pair in row["cells"])] for row in rows])


def _judges(report: Json) -> list[str]:
    """Who judged, what the audits found, and how far several judges agree."""
    judges = judging.judges(report)
    parts = ["## Judges" if len(judges) > 1 else "## Judge"] if judges else []
    for judge in judges:
        parts.append(f"{escaped(judging.judge_text(judge))}. {escaped(judging.audit_text(judge))}.")
        parts.append("\n".join(f"- {escaped(line)}" for line in judging.gate_lines(judge)))
    if report["agreements"]:
        parts += ["### Agreement", _by_model(scores.models(report), judging.agreement_rows(report))]
        parts.append(table(judging.pair_rows(report)))
    return parts


def _labels(report: Json) -> list[str]:
    """What people's labels make of the scores; nothing where nobody labelled any."""
    means = labelling.means(report)
    if not means:
        return []
    parts = ["## People's labels", table(labelling.mean_rows(report))]
    if labelling.differences(report):
        parts.append(table(labelling.difference_rows(report)))
    told = (line for entry in means for line in labelling.lines(entry))
    return [*parts, "\n".join(f"- {escaped(line)}" for line in told)]


def _bounds(report: Json) -> list[str]:
    return [
        f"{entry['model']}, {escaped(scores.scorer_title(entry))}: {escaped(scores.scored_text(entry))}"
        for entry in report["scores"]
        if scores.is_incomplete(entry)
    ]


def _difference(found: Json) -> dict[str, str]:
    return {
        "difference": scores.minus_text(found),
        "scorer": scores.scorer_title(found),
        "points": scores.difference_text(found),
        "95% interval": scores.difference_interval(found),
        "shown": scores.difference_note(found),
    }


def _category(row: Json, models: list[str]) -> dict[str, str]:
    means = {model: scores.category_mean(row[model]) for model in models}
    return {"category": row["category"], "rows": f"{row['rows']:,}"} | means


def _sample(row: Json, models: list[str]) -> list[tuple[str, str]]:
    parts = [("prompt", "\n".join(filter(None, (row["instruction"], row["input"]))))]
    for model in models:
        answer = row[model]
        remark = f" [{scores.remarks(answer)}]" if scores.remarks(answer) else ""
        parts.append((f"{model} ({scores.score_text(answer['score'])})", answer["response"] + remark))
    return [*parts, ("reference", row["reference"])]


def _classified(report: Json) -> list[str]:
    evaluation = report["evaluation"]
    parts = ["## Test accuracy", table(_accuracies(evaluation))]
    parts += [
        f"{escaped(classes.comparison(baseline))}: {escaped(classes.comparison_detail(baseline))}"
        for baseline in evaluation["baselines"]
    ]
    parts += ["## Splits", table(classes.split_rows(evaluation))]
    parts += [f"## {classes.f1_title(evaluation)}", table(classes.f1_rows(evaluation))]
    for name, matrix in classes.confusions(evaluation):
        parts += [f"## Confusions: {escaped(name)}", _matrix(evaluation, matrix)]
    parts += ["## Examples", escaped(classes.examples_text(report))]
    return parts + [fenced(_example(row)) for row in report["examples"]["rows"]]


def _accuracies(evaluation: Json) -> list[dict[str, str]]:
    test = evaluation["splits"]["test"]
    return [
        {
            "model": name,
            "accuracy": percent(one["accuracy"]["mean"]),
            "95% interval": classes.accuracy_interval(one["accuracy"]),
            "macro F1": f"{one['macro_f1']:.3f}",
        }
        for name, one in (
            ("classifier", test),
            *((visible(baseline["name"]), baseline) for baseline in evaluation["baselines"]),
        )
    ]


def _matrix(evaluation: Json, matrix: list[list[int]]) -> str:
    if not classes.fits(evaluation):
        mistakes = classes.common_mistakes(evaluation, matrix)
        rows = [[true, predicted, f"{count:,}"] for true, predicted, count in mistakes]
        return grid(["true", "predicted", "texts"], rows)
    labels = evaluation["labels"]
    rows = [[label, *map(str, counts)] for label, counts in zip(labels, matrix, strict=True)]
    return grid(["true, by predicted", *labels], rows)


def _example(row: Json) -> list[tuple[str, str]]:
    probability = percent(row["probability"])
    parts = [("text", row["text"]), ("label", row["label"])]
    parts.append(("classifier", f"{row['predicted']} ({probability})"))
    return parts + [("baseline", f"{said} ({name})") for name, said in row["baselines"].items()]


def _promotion(report: Json) -> list[str]:
    promotion = report["promotion"]
    lines = [f"- {name}: {escaped(value)}" for name, value in decision_rows(promotion)]
    return ["## Promotion", escaped(promotion["reason"]), "\n".join(lines)]


def _texts(cost: Json) -> list[str]:
    parts = ["## Samples", words.texts_text(cost)]
    for row in cost["texts"]["rows"]:
        label = f"step {row['step']:,}, loss {row['validation_loss']:.3f}"
        parts.append(fenced([(label, f"\n{row['text']}")]))
    return parts


def _training(report: Json, cost: Json) -> str:
    model = report["model"]
    lines = [("Model", f"{short(model['parameters'])} parameters, {words.shape_text(model)}")]
    if origin := report.get("origin"):
        lines.append(("Base model imported", words.origin_text(origin)))
    lines += [
        (words.TRAINING_TITLES[name], ". ".join(words.training_lines(name, summary)))
        for name, summary in words.trainings(report).items()
    ]
    if cost["speed"]:
        lines.append(("Speed", words.speed_text(cost["speed"])))
    lines += [(title, words.data_text(name, report)) for name, title in words.DATA.items() if name in report]
    return "\n".join(f"- {name}: {escaped(text)}" for name, text in lines)


def _stage(stage: Json, cost: Json) -> dict[str, str]:
    return {
        "output": stage["output"].replace("_", " "),
        "stage": stage["stage"],
        "took": duration(stage["seconds"]),
        "note": words.stage_note(stage, cost),
        "MLflow run": stage["run_id"],
        "digest": stage["digest"][:12],
    }
