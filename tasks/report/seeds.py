"""The card on several trainings of one recipe: each seed, and what holds over all of them."""

from tasks.judge.score import scores_wording as scores
from tasks.machine.json_files import Json
from tasks.report.hues import MODELS, tone_of
from tasks.show.document import Cell, Group, Interval, Intervals, Point, Section, Table, Text, table_of
from tasks.show.text import signed

ONE = "one seed: the interval covers rows, not training"
SEEDS_OF = "seeds of the stages"
OVER_ROWS = (
    "One recipe, trained with several seeds on the same rows and scored on the same test rows. "
    "Intervals of 95% cover the rows that could have been drawn and the trainings: Student's t on "
    "the seeds' means, joined with the interval of the rows."
)
OVER_TRAININGS = (
    "One recipe, trained with several seeds on the same text. The interval of 95% is Student's t on the "
    "seeds' losses."
)
PROMOTED = (
    "The first seed was fixed before any was scored, and is the only one that may become champion: the best "
    "of several would be chosen by its luck."
)


def is_over_seeds(report: Json) -> bool:
    """Whether the card is of several trainings, of which more than one came to its end."""
    return len(report.get("seeds", {}).get("done", ())) > 1


def covers(report: Json) -> str:
    """What the interval of the headline covers: `3 seeds: ...`, or that one seed says nothing of training."""
    if not is_over_seeds(report):
        return ONE
    return f"{len(report['seeds']['done'])} seeds: the interval covers rows and training"


def title(report: Json) -> str:
    """`3 seeds`, or how many of them came to their end."""
    done, of = len(report["seeds"]["done"]), len(report["seeds"]["runs"])
    return f"{of} seeds" if done == of else f"{done} of {of} seeds"


def explained(report: Json) -> list[str]:
    """How to read the section, a paragraph each."""
    spread = report["seeds"]
    first = spread["done"][0]
    told = f"Only seed {first} came to its end{f': {ONE}' if spread['scores'] else ''}."
    if is_over_seeds(report):
        told = OVER_ROWS if spread["scores"] else OVER_TRAININGS
    promoted = PROMOTED if "promotion" in report else ""
    parts = "scores, responses, curves and cost" if spread["scores"] else "curves, samples and cost"
    but = " but the benchmarks" if is_over_seeds(report) and spread.get("benchmarks") else ""
    of_one = f"All that follows below{but} is of seed {first}: {parts}."
    return [told, " ".join(filter(None, (promoted, of_one)))]


def failures(report: Json) -> list[str]:
    """A line for each training that failed, and so is in no number."""
    return [
        f"Seed {one['number']} failed and is in no number here: {one['error']}"
        for one in report["seeds"]["runs"]
        if one["error"]
    ]


def section(report: Json) -> Section:
    """Every seed on one line from 0 to 100 with the interval over all; then each number, seed by seed."""
    blocks: list[Text | Intervals | Group] = [Text(line, "muted") for line in explained(report)]
    blocks += [Text(line, "worse") for line in failures(report)]
    if entries := headline(report):
        name = _title(report, entries[0])
        note = f"{name}: a dot for each seed; the line is the 95% interval over seeds and rows."
        blocks += [Text(note, "muted"), Intervals([_interval(entry) for entry in entries])]
    blocks.append(Group("Each seed", [_runs(report), Text(loss_text(report), "muted")]))
    if report["seeds"]["scores"]:
        blocks.append(Group("By every scorer", [_scores(report)]))
    if report["seeds"]["differences"]:
        blocks.append(Group("Differences", [_differences(report)]))
    return Section(title(report).capitalize(), blocks)


def _interval(entry: Json) -> Interval:
    return Interval(
        entry["model"],
        f"{entry['mean']:.1f}",
        scores.interval_text(entry),
        MODELS[entry["model"]],
        [Point(mean) for mean in entry["by_seed"]],
        entry["low"],
        entry["high"],
        under=spread_text(entry),
    )


def _runs(report: Json) -> Table:
    """A line for each seed that came to its end: its seeds, every model's mean, the best validation loss."""
    spread = report["seeds"]
    entries = scores.of_scorer(spread["scores"], spread["headline"])
    named = {one["number"]: one for one in spread["runs"]}
    rows = []
    for place, number in enumerate(spread["done"]):
        row: dict[str, str | Cell] = {"seed": str(number)}
        for entry in entries:
            known = scores.has_mean(entry)
            mean = f"{entry['by_seed'][place]:.1f}" if known else "no mean"
            row[entry["model"]] = Cell(mean, hue=MODELS[entry["model"]])
        if spread["losses"]:
            row["validation loss"] = f"{spread['losses']['by_seed'][place]:.3f}"
        seeds = (f"{stage} {seed}" for stage, seed in named[number]["seeds"].items())
        rows.append(row | {SEEDS_OF: ", ".join(seeds)})
    return table_of(rows, empty="no seed came to its end")


def loss_text(report: Json) -> str:
    """`Best validation loss of pretraining: 3.214 on average, 95% 3.101 to 3.327 ...`; or nothing."""
    losses = report["seeds"]["losses"]
    if not losses or losses["low"] is None:
        return ""
    return (
        f"Best validation loss of pretraining: {losses['mean']:.3f} on average over the seeds, 95% interval "
        f"{losses['low']:.3f} to {losses['high']:.3f}, SD between seeds {losses['sd']:.3f}; it covers "
        "training, not the text"
    )


def _scores(report: Json) -> Table:
    """A line for each model and scorer: the mean over seeds, what it covers, and how far seeds are apart."""
    return table_of([_score_row(report, entry) for entry in report["seeds"]["scores"]])


def _score_row(report: Json, entry: Json) -> dict[str, str | Cell]:
    known = scores.has_mean(entry)
    return {
        "model": entry["model"],
        "scorer": _title(report, entry),
        "mean": scores.mean_text(entry),
        "95% over seeds and rows": scores.interval_text(entry),
        "95% over rows alone": f"{entry['rows_low']:.1f} to {entry['rows_high']:.1f}" if known else "",
        "SD between seeds": sd_text(entry),
        "rows": f"{entry['scored']:,} of {entry['rows']:,}",
    }


def _differences(report: Json) -> Table:
    """A line for each difference, seed by seed."""
    rows = [
        {
            "difference": f"{found['model'].capitalize()} minus {found['against']}",
            "scorer": _title(report, found),
            "points": Cell(scores.difference_text(found), tone=tone_of(found)),
            "95% over seeds and rows": scores.difference_interval(found),
            "SD between seeds": sd_text(found),
            "each seed": ", ".join(signed(one) for one in found["by_seed"] or ()),
            "shown": scores.difference_note(found),
        }
        for found in report["seeds"]["differences"]
    ]
    return table_of(rows)


def sd_text(entry: Json) -> str:
    return "" if entry["sd"] is None else f"{entry['sd']:.1f}"


def _title(report: Json, entry: Json) -> str:
    judges = {one["scorer"]: one["judges"] for one in report["scores"] if "judges" in one}
    own = {"judges": judges[entry["scorer"]]} if entry["scorer"] in judges else {}
    return scores.scorer_title(entry | own)


def headline(report: Json) -> list[Json]:
    """Each model's numbers over seeds by the headline, where there is a mean; for a plot."""
    spread = report["seeds"]
    return [one for one in scores.of_scorer(spread["scores"], spread["headline"]) if scores.has_mean(one)]


def spread_text(entry: Json) -> str:
    """`95% 12.0 to 31.5 over seeds and rows, 15.1 to 28.0 over rows alone, SD between seeds 2.2`."""
    alone = f"{entry['rows_low']:.1f} to {entry['rows_high']:.1f} over rows alone"
    if entry["sd"] is None:
        return alone
    return f"{scores.interval_text(entry)} over seeds and rows, {alone}; SD between seeds {sd_text(entry)}"


def difference_of(report: Json, model: str, against: str) -> Json:
    """A difference by the headline over the seeds."""
    found = scores.of_scorer(report["seeds"]["differences"], report["seeds"]["headline"])
    return next(one for one in found if (one["model"], one["against"]) == (model, against))
