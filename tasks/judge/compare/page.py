"""A comparison in words, and as a page in markdown."""

from tasks.judge.labels.labels_wording import difference_text
from tasks.judge.protocol.refusals import refusal_lines
from tasks.judge.score.scores_wording import STATUSES, scorer_name, scorer_title
from tasks.machine.json_files import Json
from tasks.show.markdown_blocks import escaped, fenced, table
from tasks.statistics.verdicts import shows

LEAST_P = 0.0001


def shown(found: Json) -> str:
    """What a difference shows, in one sentence; A and B are the two models."""
    if found.get("difference") is None:
        return STATUSES.get(found["status"]) or "no row has both scores"
    verdict = shows(found, found["p"])
    if verdict != "open":
        return f"{'A' if verdict == 'better' else 'B'} is better"
    least = found["smallest_detectable"]
    return "no difference can be shown" + (f"; one of {least:.1f} points could be" if least else "")


def cells(found: Json) -> dict[str, str]:
    """One line of the table of differences."""
    known = found.get("difference") is not None
    return {
        "by": scorer_name(found["scorer"]),
        "A minus B": f"{found['difference']:+.1f}" if known else "none",
        "95% interval": f"{found['low']:+.1f} to {found['high']:+.1f}" if known else "",
        "p": _chance(found["p"]) if known else "",
        "won/tied/lost": "/".join(str(found[name]["count"]) for name in ("wins", "ties", "losses"))
        if known
        else "",
        "rows": f"{found.get('scored', 0)} of {found['rows']}",
    }


def _chance(p: float) -> str:
    """A p-value is never 0."""
    return f"{p:.4f}" if p >= LEAST_P else f"<{LEAST_P}"


def outcome(found: Json) -> str:
    """`12 (8% to 18%)`."""
    return f"{found['count']} ({100 * found['low']:.0f}% to {100 * found['high']:.0f}%)"


def sentences(found: Json) -> list[str]:
    """What a difference shows: who is better, how many rows, and what those without a score allow."""
    both = ", shown both" if "contradictions" in found else ""
    told = [f"{scorer_title(found)}{both}: {shown(found)}."]
    if found.get("difference") is not None:
        told.append(covers(found["seeds"]))
        shares = [outcome(found[name]) for name in ("wins", "ties", "losses")]
        told.append("A wins {} of the rows, ties {}, loses {}.".format(*shares))
    if found.get("scored", found["rows"]) < found["rows"]:
        told.append(
            f"{found['rows'] - found['scored']} rows lack a score: over all between "
            f"{found['lowest_possible']:+.1f} and {found['highest_possible']:+.1f}."
        )
    return told


def covers(seeds: Json) -> str:
    """Whether the interval covers the trainings, of which each side has one or several."""
    several = [name for name in ("a", "b") if seeds[name] > 1]
    if not several:
        return "One seed each: the interval covers rows, not training."
    told = [
        f"{seeds[name]} seeds of {name.upper()} (SD {seeds[f'sd_{name}']:.1f} between them)"
        if name in several
        else f"one of {name.upper()}"
        for name in ("a", "b")
    ]
    what = (
        "rows and training"
        if len(several) == 2
        else f"rows, and of training that of {several[0].upper()} alone"
    )
    alone = f"{seeds['rows_low']:+.1f} to {seeds['rows_high']:+.1f}"
    return f"{' and '.join(told)}: the interval covers {what}; over rows alone it is {alone}."


def moved_title(report: Json) -> str:
    """What the rows with responses are headed by."""
    first = report["differences"][0]["seeds"] if report["differences"] else {"a": 1, "b": 1}
    return "The rows that moved most" + ", of the first seeds" * (max(first["a"], first["b"]) > 1)


def labels_sentence(report: Json) -> str:
    """What people's labels make of the headline's difference; nothing where nobody labelled a response."""
    found = report.get("labels")
    return f"{scorer_title(found)}: {difference_text(found)}." if found else ""


def orders(found: Json) -> str:
    """What exchanging the two did to a judge who was shown both."""
    apart, first = found["contradictions"], found["chose_the_first"]
    refused = "".join(f" The judge: {line}." for line in refusal_lines(found["refusals"]))
    if not apart["of"]:
        asked = found["rows"] - found["decided_in_code"]
        without = "All" if not asked else f"{found['decided_in_code']} of"
        unread = (
            f" The judge's answers to the other {asked} could not be read in both orders." if asked else ""
        )
        return f"{without} {found['rows']} rows were decided without the judge.{unread}{refused}"
    return (
        f"Shown in the other order, the judge contradicted itself on {outcome(apart)} of {apart['of']} rows, "
        f"which count as ties; it chose what stood first in {outcome(first)} of {first['of']} answers. "
        f"{found['decided_in_code']} rows were decided without it.{refused}"
    )


def as_markdown(report: Json) -> str:
    parts = [
        f"# Comparison of {report['rows']} rows",
        "Positive differences mean that A is better. Intervals and p-values are of one test, row by row, and "
        "hold whatever rows without a score would have had.",
        table([cells(found) for found in report["differences"]]),
        *(escaped(" ".join(sentences(found))) for found in report["differences"][:1]),
    ]
    if told := labels_sentence(report):
        parts.append(escaped(told))
    if found := report["pairwise"]:
        parts += ["## Shown both", table([cells(found)]), escaped(" ".join(sentences(found)))]
        if "contradictions" in found:
            parts.append(escaped(orders(found)))
    parts.append(f"## {moved_title(report)}")
    for row in report["moved"]:
        parts.append(
            fenced(
                [
                    ("instruction", row["instruction"]),
                    *([("input", row["input"])] if row["input"] else []),
                    ("reference", row["reference"]),
                    *(part for name in ("a", "b") for part in _answer(name.upper(), row[name])),
                ]
            )
        )
    if not report["moved"]:
        parts.append("None moved.")
    return "\n\n".join(parts)


def _answer(name: str, answer: Json) -> list[tuple[str, str]]:
    score = "missing" if answer["score"] is None else f"{answer['score']:.1f}"
    reason = [("reason", answer["reason"])] if answer["reason"] else []
    return [(f"{name} ({score})", answer["response"]), *reason]
