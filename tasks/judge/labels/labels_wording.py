"""The words on people's labels: what they make of scores, how far the two agree, what more would do."""

from tasks.judge.score.scores_wording import minus_text, scorer_title
from tasks.machine.json_files import Json
from tasks.show.text import signed, visible
from tasks.statistics.verdicts import shows


def means(report: Json) -> list[Json]:
    """The models whose responses people have labelled; none on most cards."""
    return report.get("labels", {"means": []})["means"]


def differences(report: Json) -> list[Json]:
    return report.get("labels", {"differences": []})["differences"]


def mean_rows(report: Json) -> list[Json]:
    """The table of means as text by column."""
    return [
        {
            "model": entry["model"],
            "as scored": "none" if entry["mean"] is None else f"{entry['mean']:.1f}",
            "corrected": "too few labels" if entry["estimate"] is None else f"{entry['estimate']:.1f}",
            "95% interval": interval_text(entry),
            "labelled": f"{entry['labelled']:,} of {entry['rows']:,}",
            "weight": "" if entry["weight"] is None else f"{entry['weight']:.2f}",
        }
        for entry in means(report)
    ]


def interval_text(entry: Json) -> str:
    return "" if entry["estimate"] is None else f"{entry['low']:.1f} to {entry['high']:.1f}"


def mean_text(entry: Json) -> str:
    """`Fine-tuned by llama3.2, a judge: 71.2 as scored; 64.3 corrected by people's labels (95% ...)`."""
    scored = "no mean" if entry["mean"] is None else f"{entry['mean']:.1f}"
    name = f"{visible(_capital(entry['model']))} by {scorer_title(entry)}"
    return f"{name}: {scored} as scored; {_corrected(entry)}"


def _corrected(entry: Json) -> str:
    rows = f"{entry['labelled']:,} of {entry['rows']:,} rows labelled"
    if entry["estimate"] is None:
        return f"not corrected: {rows}, and a correction needs {entry['least']:,}"
    return (
        f"{entry['estimate']:.1f} corrected by people's labels (95% {interval_text(entry)}; {rows}, the "
        f"scores weigh {entry['weight']:.2f})"
    )


def lines(entry: Json) -> list[str]:
    """All that labels say of one model's scores, a sentence each, without full stops."""
    return [
        line
        for line in (mean_text(entry), agreement_text(entry), people_text(entry), more_text(entry))
        if line
    ]


def agreement_text(entry: Json) -> str:
    """`Scores and people agree over 40 rows: rank correlation 0.81, quadratic-weighted kappa 0.74, ...`."""
    own = entry["agreement"]
    if own is None:
        return ""
    bias = own["bias"]
    return (
        f"Scores against people over {own['rows']:,} rows: rank correlation {_hundredths(own['spearman'])}, "
        f"quadratic-weighted kappa {_hundredths(own['kappa'])}, scores minus labels {signed(bias['mean'])} "
        f"points (95% {signed(bias['low'])} to {signed(bias['high'])})"
    )


def people_text(entry: Json) -> str:
    """`Labelled by ann (40 rows) and bob (12 rows); on 12 rows of several people: alpha 0.71, ...`."""
    if not entry["people"]:
        return ""
    named = " and ".join(f"{visible(own['by'])} ({own['rows']:,} rows)" for own in entry["people"])
    shared = entry["between_people"]
    if shared is None:
        return f"Labelled by {named}"
    return (
        f"Labelled by {named}; over the {shared['rows']:,} rows that several labelled, whose mean counts: "
        f"Krippendorff's alpha {_hundredths(shared['alpha'])}, {shared['apart']:.1f} grades apart on average"
    )


def more_text(entry: Json) -> str:
    """How many labels would make the interval half as wide."""
    if entry["estimate"] is None:
        return ""
    if entry["half_as_wide"] is None:
        return "No number of labels makes the interval half as wide: it would take more test rows"
    return f"About {entry['half_as_wide']:,} labelled rows in all would make the interval half as wide"


def difference_rows(report: Json) -> list[Json]:
    return [
        {
            "difference": minus_text(found),
            "corrected": "too few labels" if found["estimate"] is None else signed(found["estimate"]),
            "95% interval": _signed_interval(found),
            "labelled for both": f"{found['labelled']:,} of {found['rows']:,}",
            "shown": difference_note(found),
        }
        for found in differences(report)
    ]


def _signed_interval(found: Json) -> str:
    return "" if found["estimate"] is None else f"{signed(found['low'])} to {signed(found['high'])}"


def difference_note(found: Json) -> str:
    """What a corrected difference shows, and what would decide where it shows nothing."""
    if found["estimate"] is None:
        return f"{found['labelled']:,} rows are labelled for both; a correction needs {found['least']:,}"
    verdict = shows(found)
    if verdict != "open":
        return verdict
    if found["to_decide"] is None:
        return "no difference can be shown, however many rows were labelled"
    return (
        f"no difference can be shown; about {found['to_decide']:,} rows labelled for both would, were the "
        "difference to stay"
    )


def difference_text(found: Json) -> str:
    """`+8.1 points corrected by 44 rows that people labelled for both (95% +2.0 to +14.2): better`."""
    if found["estimate"] is None:
        return f"not corrected by people's labels: {difference_note(found)}"
    return (
        f"{signed(found['estimate'])} points corrected by {found['labelled']:,} rows that people labelled "
        f"for both (95% {_signed_interval(found)}): {difference_note(found)}"
    )


def _hundredths(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}".replace("-", "−")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
