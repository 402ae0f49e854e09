"""The card's words on scores and responses: means, differences, shares, samples."""

from collections.abc import Mapping

from tasks.config import PANEL, parts_of
from tasks.machine.json_files import Json
from tasks.show.text import percent, percents, signed, visible
from tasks.statistics.verdicts import shows

BLEU = "metric:bleu"
SCORERS = {
    "metric:chrf": "chrF++",
    BLEU: "BLEU",
    "metric:rouge-1": "ROUGE-1",
    "metric:rouge-2": "ROUGE-2",
    "metric:rouge-l": "ROUGE-L",
    "metric:exact": "exact match",
    "metric:accuracy": "accuracy",
    "metric:labels-f1": "F1 of labels",
    "metric:sentence-f1": "F1 of a sentence",
    "metric:f1": "F1 of an answer",
}
COMPARES = {
    "metric:chrf": "characters and words in common with the reference",
    BLEU: "runs of one to four words in common, mean over the rows",
    "metric:rouge-1": "words in common",
    "metric:rouge-2": "pairs of neighbouring words in common",
    "metric:rouge-l": "words in common and in order",
    "metric:exact": "the same text as the reference",
}
STATUSES = {
    "ok": "",
    "too_many_missing": "no mean: too many missing",
    "judge_failed_audit": "no mean: the judge failed its audit",
    "judge_contradicts_itself": "nothing can be said: shown in the other order, the judge contradicts itself",
}
SHARES = {
    "share_empty": "empty",
    "share_looping": "looping",
    "share_echoed": "echoing the prompt",
    "share_identical": "the reference itself",
    "share_cut": "cut at the length limit",
}
LENGTHS = {"length_tokens": "tokens", "length_words": "words"}
PERPLEXITY = "reference_perplexity"
LEGIBLE = 1_000_000  # from there on only the size of a number says something


# Scorers and means


def models(report: Json) -> list[str]:
    """The names of the models that were scored, in the order of training."""
    return list(dict.fromkeys(entry["model"] for entry in report["scores"]))


def scorer_name(scorer: str) -> str:
    """`chrF++`, `llama3.2`, or `polite, by llama3.2`."""
    who, criterion = parts_of(scorer)
    name = SCORERS.get(who) or visible(who.partition(":")[2] or who)
    return name if criterion is None else f"{criterion}, by {name}"


def scorer_title(entry: Json) -> str:
    """`chrF++, a metric`, `llama3.2, a judge` or `mean of 2 judges`: never one in place of the other.

    Of scores on a criterion `polite, by llama3.2, a judge`.
    """
    who, criterion = parts_of(entry["scorer"])
    title = f"{scorer_name(who)}, a {entry['kind']}"
    if who == PANEL:
        title = f"mean of {entry.get('judges', 'the')} judges"  # a comparison does not say of how many
    return title if criterion is None else f"{criterion}, by {title}"


def criteria_text(weights: Mapping[str, float]) -> str:
    """`The overall score of a row is the mean of its scores on correct (weight 2) and polite (weight 1).`"""
    if not weights:
        return ""
    equal = len(set(weights.values())) == 1
    names = [name if equal else f"{name} (weight {weight:g})" for name, weight in weights.items()]
    if len(names) == 1:
        return f"The overall score of a row is its score on {names[0]}."
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"The overall score of a row is the mean of its scores on {listed}."


def configured_name(entry: Json) -> str:
    """`ollama:llama3.2`, as a configuration has it; of a panel also what it is."""
    name = visible(entry["scorer"])
    return f"{name}: {scorer_title(entry)}" if name == PANEL else name


def scorer_note(kind: str) -> str:
    """What kind of number this is."""
    if kind == "metric":
        return "A metric compares characters and words with the reference, and reads nothing for its meaning."
    return "A judge is a language model that reads each response, beside its reference where one is shown."


def score_text(score: float | None) -> str:
    return "missing" if score is None else f"{score:.1f}"


def category_mean(mean: float | None) -> str:
    return "no mean" if mean is None else f"{mean:.1f}"


def known_means(row: Json, models: list[str]) -> list[float]:
    """The models' means in a category, of those that have one."""
    return [row[model] for model in models if row[model] is not None]


def has_mean(entry: Json) -> bool:
    """Whether there is a mean that may be shown."""
    return entry["status"] == "ok" and entry["mean"] is not None


def mean_text(entry: Json) -> str:
    """The mean, or why there is none; never 0 for a mean that is not there."""
    if not has_mean(entry):
        return STATUSES.get(entry["status"], entry["status"])
    return f"{entry['mean']:.1f}"


def interval_text(entry: Json) -> str:
    return f"{entry['low']:.1f} to {entry['high']:.1f}" if has_mean(entry) else ""


def is_incomplete(entry: Json) -> bool:
    """Whether rows remained without a score; where the judge failed its audit, none was asked for."""
    return entry["missing"] > 0 and entry["status"] != "judge_failed_audit"


def scored_text(entry: Json) -> str:
    """How many rows have a score, and where the mean would lie with the others."""
    text = f"{entry['scored']:,} of {entry['rows']:,} rows scored"
    if is_incomplete(entry):
        low, high = entry["lowest_possible"], entry["highest_possible"]
        text += f", {entry['missing']:,} missing: over all rows between {low:.1f} and {high:.1f}"
    return text


def scorers(report: Json) -> list[Json]:
    """What `scorer_title` needs of each scorer: of the headline, then of judges, then of metrics."""
    found = {
        entry["scorer"]: {name: entry[name] for name in ("scorer", "kind", "judges") if name in entry}
        for entry in report["scores"]
    }
    return sorted(
        found.values(), key=lambda own: (own["scorer"] != report["headline"], own["kind"] == "metric")
    )


def of_scorer(entries: list[Json], scorer: str) -> list[Json]:
    return [entry for entry in entries if entry["scorer"] == scorer]


def headline_categories(report: Json) -> list[Json]:
    """The categories by the headline; none where it has no mean at all."""
    rows = of_scorer(report["categories"], report["headline"])
    return rows if any(known_means(row, models(report)) for row in rows) else []


# Differences


def tone(difference: Json) -> str:
    """What a paired interval shows: better, worse, open (nothing), or none (nothing is known)."""
    if difference["difference"] is None:
        return "none"
    return shows(difference, difference.get("p"))


def minus_text(difference: Json) -> str:
    """`Fine-tuned minus base`."""
    return f"{difference['model'].capitalize()} minus {difference['against']}"


def difference_text(difference: Json) -> str:
    """`+1.2`, or that it is not known."""
    return "not known" if difference["difference"] is None else signed(difference["difference"])


def difference_interval(difference: Json) -> str:
    if difference["difference"] is None:
        return ""
    return f"{signed(difference['low'])} to {signed(difference['high'])}"


def difference_note(difference: Json) -> str:
    """What the interval shows, in words."""
    return {
        "better": "better",
        "worse": "worse",
        "open": "no difference can be shown",
        "none": "a mean is missing",
    }[tone(difference)]


# Responses


def share_text(share: Json) -> str:
    """`3 of 300`."""
    return f"{share['count']:,} of {share['of']:,}"


def response_rows(report: Json) -> list[Json]:
    """The table of how the models respond: `name`, and a value with its interval of each model under `cells`.

    A row that no model has is left out.
    """
    entries = report["responses"]
    rows = [(label, [_share_cell(entry.get(name)) for entry in entries]) for name, label in SHARES.items()]
    rows += [
        (f"length in {unit}", [_length_cell(entry.get(name)) for entry in entries])
        for name, unit in LENGTHS.items()
    ]
    rows.append(
        ("perplexity of the references", [_perplexity_cell(entry.get(PERPLEXITY)) for entry in entries])
    )
    return [{"name": name, "cells": cells} for name, cells in rows if any(value for value, _ in cells)]


def served_texts(report: Json) -> list[str]:
    """Of each model that a server had, what of its responses is not known."""
    return [
        f"The {entry['model']} model's responses are those of a server's model {visible(entry['served'])}: "
        "OpenAI's protocol gives no losses, so its perplexity of the references is not known."
        for entry in report["responses"]
        if "served" in entry
    ]


def has_perplexity(report: Json) -> bool:
    """Whether the models' perplexity of the references is known."""
    return any(PERPLEXITY in entry for entry in report["responses"])


def _share_cell(share: Json | None) -> tuple[str, str]:
    if share is None:
        return "", ""
    return percent(share["share"]), f"{share_text(share)}, {percents(share['low'], share['high'])}"


def _length_cell(length: Json | None) -> tuple[str, str]:
    if length is None:
        return "", ""
    return (
        f"{length['mean']:,.1f}",
        f"{length['low']:,.1f} to {length['high']:,.1f}, median {length['median']:g}",
    )


def _perplexity_cell(found: Json | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    perplexity, low, high = (_perplexity(found[name]) for name in ("perplexity", "low", "high"))
    return perplexity, f"{low} to {high}"


def _perplexity(value: float) -> str:
    """`3.10`, and `8.6e+33` of a model that has learned nothing."""
    return f"{value:,.2f}" if value < LEGIBLE else f"{value:.1e}"


def responses_text(entry: Json) -> str:
    """`12 cut, 3 empty, 2 looping, 6.3 tokens on average, references of perplexity 3.1`, of one model."""
    names = {"share_empty": "empty", "share_looping": "looping", "share_echoed": "echoed"}
    names |= {"share_identical": "identical", "share_cut": "cut"}
    parts = [f"{entry[name]['count']:,} {word}" for name, word in names.items() if name in entry]
    unit = "tokens" if "length_tokens" in entry else "words"
    parts.append(f"{entry[f'length_{unit}']['mean']:,.1f} {unit} on average")
    if PERPLEXITY in entry:
        parts.append(f"references of perplexity {_perplexity(entry[PERPLEXITY]['perplexity'])}")
    return ", ".join(parts)


# Samples


def sampling_text(report: Json) -> str:
    """How the samples were drawn."""
    samples = report["samples"]
    count, by, worst = len(samples["rows"]), samples["by"], samples["worst"]
    if count == samples["of"]:
        return f"All {count} test rows."
    first = f"first the {worst} lowest scores of the {by} model, then " if worst else ""
    return (
        f"{count} of {samples['of']:,} test rows: {first}{count - worst} drawn by seed {samples['seed']} "
        f"over its whole range of scores{' and the categories' if _has_categories(samples) else ''}. None "
        "was picked by hand."
    )


def _has_categories(samples: Json) -> bool:
    return any(row["category"] for row in samples["rows"])


def remarks(answer: Json) -> str:
    """What a reader should know of a response: that it was cut, or what it is when it is no answer."""
    found = [] if answer["kind"] in ("ok", "identical") else [answer["kind"]]
    return ", ".join(found + ["cut at the length limit"] * answer["cut"])
