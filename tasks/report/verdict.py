"""The card in one line, whatever it is about."""

from tasks.classify import card as classes
from tasks.classify.tasks import card_of
from tasks.judge.labels import labels_wording as labelling
from tasks.judge.score import scores_wording as scores
from tasks.machine.json_files import Json
from tasks.report import judges as judging
from tasks.report import seeds
from tasks.report.kinds import is_classified, is_judged
from tasks.report.training import measures_text, unit_of
from tasks.show.document import Verdict
from tasks.show.text import capital, percent, percents, signed, whatever_missing
from tasks.statistics.verdicts import shows

# What was done between two models.
DONE = {
    ("fine-tuned", "base"): "Fine-tuning",
    ("preferred", "base"): "Fine-tuning with preferences",
    ("preferred", "fine-tuned"): "Preference optimization",
    ("reinforced", "base"): "Fine-tuning with rewards",
    ("reinforced", "fine-tuned"): "Reinforcement by rewards",
    ("reinforced", "preferred"): "Reinforcement by rewards",
}


def verdict(report: Json) -> Verdict:
    """Whether training helped, by the interval of the paired difference on the headline scorer.

    Of a classifier, whether it is better than its strongest baseline; without rows, how far pretraining came.
    """
    if is_classified(report):
        return _classified_over_seeds(report) if seeds.is_over_seeds(report) else _classified(report)
    if is_judged(report):
        return _judged(report)
    return _reached(report)


def _judged(report: Json) -> Verdict:
    """Of the last model against the first; nothing is compared where a judge is not to be believed."""
    first, *_, last = scores.models(report)
    if failed := judging.unbelieved(report):
        sentence = f"{judging.failed_text(report)}: whether {_lower(DONE[last, first])} helped is not known"
        why = "; ".join(judging.why_failed(judge) for judge in failed)
        return Verdict("none", sentence, "", why, "The reference metrics below do not need a judge.")
    shown = report["seeds"] if seeds.is_over_seeds(report) else report
    headline = scores.of_scorer(shown["differences"], report["headline"])
    found = next(one for one in headline if (one["model"], one["against"]) == (last, first))
    kind = scores.tone(found)
    title, done = scores.scorer_title(found), DONE[last, first]
    steps = [one for one in headline if one["model"] == last and one["against"] != first]
    step = steps[-1] if steps else None  # against the model before it
    more, warning = _step(step) if step else "", judging.against_audit(report)
    labels = next(
        (one for one in labelling.differences(report) if (one["model"], one["against"]) == (last, first)),
        None,
    )
    if labels and labels["estimate"] is not None:
        told = f"By people's labels: {labelling.difference_text(labels)}"
        if shows(labels) == kind:
            more = "; ".join(filter(None, (more, told)))
        else:
            warning = " ".join(filter(None, (warning, f"{told}. Its scores alone say otherwise.")))
    if kind == "none":
        reasons = {scores.mean_text(entry) for entry in scores.of_scorer(shown["scores"], report["headline"])}
        why = next((reason for reason in sorted(reasons) if reason.startswith("no mean")), "no row has both")
        sentence = f"Whether {_lower(done)} helped is not known"
        return Verdict("none", sentence, "", f"{title}: {why}", more, warning)
    detail = (
        f"points of 100 by {title}; 95% interval {scores.difference_interval(found)}, "
        f"{found['rows']:,} test rows, paired{whatever_missing(found.get('missing', 0))}; "
        f"{seeds.covers(report)}"
    )
    sentence = {
        "better": f"{done} helped",
        "worse": f"{done} made it worse",
        "open": "No difference can be shown",
    }[kind]
    return Verdict(kind, sentence, signed(found["difference"]), detail, more, warning)


def _step(found: Json) -> str:
    """`Preferred minus fine-tuned: +0.4, no difference can be shown; 95% interval −0.8 to +1.7`."""
    text = f"{scores.minus_text(found)}: {scores.difference_text(found)}, {scores.difference_note(found)}"
    interval = scores.difference_interval(found)
    return f"{text}; 95% interval {interval}" if interval else text


def _lower(words: str) -> str:
    return words[0].lower() + words[1:]


def _classified(report: Json) -> Verdict:
    evaluation = report["evaluation"]
    card, test, baseline = card_of(evaluation), evaluation["splits"]["test"], classes.strongest(evaluation)
    found = test[card.measure]
    detail = f"test {card.headline}, 95% interval {classes.headline_interval(found)}, {test['rows']:,} "
    detail += f"{card.thing}s; {seeds.covers(report)}"
    theirs = f"{capital(baseline['name'])}: {percent(baseline[card.measure]['mean'])}"
    more = f"{theirs}; the difference {card.of_scores}is {classes.comparison_detail(baseline, card.test)}"
    sentence = classes.comparison(baseline)
    return Verdict(classes.verdict_on(baseline), sentence, percent(found["mean"]), detail, more)


def _classified_over_seeds(report: Json) -> Verdict:
    """The mean score of the seeds, against the baseline that was strongest beside the first."""
    evaluation = report["evaluation"]
    card, baseline = card_of(evaluation), classes.strongest(evaluation)
    (own,) = report["seeds"]["scores"]
    found = seeds.difference_of(report, own["model"], baseline["name"])
    kind, name = scores.tone(found), baseline["name"]
    detail = f"mean test {card.score or card.headline}, 95% interval "
    detail += f"{percents(own['low'] / 100, own['high'] / 100)}, "
    detail += f"{own['rows']:,} {card.thing}s; {seeds.covers(report)}"
    more = f"{capital(name)}: {percent(baseline[card.measure]['mean'])} beside the first seed; the "
    more += f"difference over the seeds is {signed(found['difference'])} points, "
    more += f"95% interval {scores.difference_interval(found)}; {classes.p_text(found['p'])}"
    return Verdict(kind, classes.comparison_of(kind, name), percent(own["mean"] / 100), detail, more)


def _reached(report: Json) -> Verdict:
    pretraining = report["pretraining"]
    losses = report["seeds"]["losses"] if seeds.is_over_seeds(report) else None
    unit = unit_of("pretraining", pretraining, report)
    if losses:
        detail = f"{unit}, the mean of {len(losses['by_seed'])} seeds; 95% interval "
        detail += f"{losses['low']:.3f} to {losses['high']:.3f} covers training, not the text"
        return Verdict("none", "Best validation loss", f"{losses['mean']:.3f}", detail)
    if pretraining.get("best_validation_loss") is None:
        return Verdict(
            "none",
            "Last training loss",
            f"{pretraining['train_loss']:.3f}",
            f"{unit}, after {pretraining['steps']:,} steps; no validation split",
        )
    return Verdict(
        "none",
        "Best validation loss",
        f"{pretraining['best_validation_loss']:.3f}",
        f"{unit}, at step {pretraining['best_step']:,} of {pretraining['steps']:,}: "
        f"{measures_text(pretraining)}",
    )
