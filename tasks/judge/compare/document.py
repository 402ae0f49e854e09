"""A comparison as a document: which is better, by how much, by whom, and the rows that moved most."""

from collections.abc import Iterator

from tasks.judge.labels.labels_wording import difference_text
from tasks.judge.protocol.refusals import refusal_lines
from tasks.judge.score.scores_wording import STATUSES, score_text, scorer_name, scorer_title
from tasks.machine.json_files import Json
from tasks.show.document import (
    NOT_IN_TERMINAL,
    PAGE_ONLY,
    Bar,
    Bars,
    Block,
    Cell,
    Document,
    Excerpt,
    Excerpts,
    Fact,
    Quote,
    Section,
    Text,
    Verdict,
    table_of,
)
from tasks.show.text import signed
from tasks.statistics.verdicts import shows

LEAST_P = 0.0001
OUTCOMES = {"wins": "A wins", "ties": "ties", "losses": "B wins"}
HUES = {"a": "slate", "b": "amber"}
RULE = (
    "Positive differences mean that A is better. Intervals and p-values are of one test, row by row, and "
    "hold whatever rows without a score would have had."
)


def document(report: Json) -> Document:
    """The comparison; `a` and `b` say what was compared, where that is known."""
    both = [report["pairwise"] | {"is_both": True}] if report["pairwise"] else []
    every = [*both, *report["differences"]]
    return Document(
        kind="comparison",
        title=f"Comparison of {report['rows']:,} rows",
        facts=[Fact(name.upper(), report[name]) for name in HUES if name in report],
        verdict=_verdict(every[0]) if every else None,
        sections=[
            Section(
                "Differences",
                [
                    Text(RULE, "muted", keep=NOT_IN_TERMINAL),
                    table_of([_cells(found) for found in every], empty="A and B have no scorer in common"),
                    *(block for found in every[: len(both) + 1] for block in _explained(found)),
                    Text(labels_sentence(report)),
                ],
            ),
            Section(moved_title(report), [_moved(report["moved"])]),
        ],
    )


def _verdict(found: Json) -> Verdict:
    sentence = f"{_who(found)}: {shown(found)}"
    if found.get("difference") is None:
        return Verdict("none", sentence)
    tone = "open" if shows(found, found["p"]) == "open" else "better"
    between = f"{signed(found['low'])} to {signed(found['high'])}"
    detail = f"points, A minus B (95% {between}, p {_chance(found['p'])})"
    least = found["smallest_detectable"] if tone == "open" else None
    more = f"A difference of {least:.1f} points could be shown." if least else ""
    return Verdict(tone, sentence, signed(found["difference"]), detail, more)


def _who(found: Json) -> str:
    return scorer_title(found) + ", shown both" * ("is_both" in found)


def shown(found: Json) -> str:
    """What a difference shows, in one sentence; A and B are the two models."""
    if found.get("difference") is None:
        return STATUSES.get(found["status"]) or "no row has both scores"
    verdict = shows(found, found["p"])
    return {"better": "A is better", "worse": "B is better"}.get(verdict, "no difference can be shown")


def _cells(found: Json) -> dict[str, str | Cell]:
    known = found.get("difference") is not None
    difference = Cell("none")
    if known:
        difference = Cell(signed(found["difference"]), f"{signed(found['low'])} to {signed(found['high'])}")
    return {
        "by": scorer_name(found["scorer"]) + ", both" * ("is_both" in found),
        "A minus B": difference,
        "p": _chance(found["p"]) if known else "",
        "won/tied/lost": "/".join(str(found[name]["count"]) for name in OUTCOMES) if known else "",
        "rows": f"{found.get('scored', 0):,} of {found['rows']:,}",
    }


def _chance(p: float) -> str:
    """A p-value is never 0."""
    return f"{p:.4f}" if p >= LEAST_P else f"<{LEAST_P}"


def _outcome(found: Json) -> str:
    """`12 (8% to 18%)`."""
    return f"{found['count']:,} ({_share(found)})"


def _share(found: Json) -> str:
    return f"{100 * found['low']:.0f}% to {100 * found['high']:.0f}%"


def _explained(found: Json) -> Iterator[Block]:
    """What a difference rests on: how many rows, which trainings, and what those without a score allow."""
    told = [f"{_who(found)}: {shown(found)}."]
    if found.get("difference") is not None:
        shares = [_outcome(found[name]) for name in OUTCOMES]
        told += [covers(found["seeds"]), "A wins {} of the rows, ties {}, loses {}.".format(*shares)]
    if (without := found["rows"] - found.get("scored", found["rows"])) > 0:
        low, high = (signed(found[f"{end}_possible"]) for end in ("lowest", "highest"))
        told.append(f"{without:,} rows lack a score: over all between {low} and {high}.")
    yield Text(" ".join(told))
    if "contradictions" in found:
        yield Text(orders(found))
    if found.get("difference") is not None:
        of = sum(found[name]["count"] for name in OUTCOMES)
        bars = [
            Bar(title, own["count"] / of if of else None, f"{own['count']:,}", note=_share(own))
            for name, title in OUTCOMES.items()
            for own in [found[name]]
        ]
        yield Bars(bars, keep=PAGE_ONLY)


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
        f"Shown in the other order, the judge contradicted itself on {_outcome(apart)} of {apart['of']} "
        f"rows, which count as ties; it chose what stood first in {_outcome(first)} of {first['of']} "
        f"answers. {found['decided_in_code']} rows were decided without it.{refused}"
    )


def _moved(moved: list[Json]) -> Block:
    """Those that A lost first, since they are what there is to do; in each half the widest first."""
    rows = [
        Excerpt(
            meta="B is ahead" if row["by"] < 0 else "A is ahead",
            score=signed(row["by"]),
            tone="worse" if row["by"] < 0 else "",
            asked=[Quote("instruction", row["instruction"])]
            + ([Quote("input", row["input"])] if row["input"] else []),
            answers=[_answer(name, row[name]) for name in HUES],
            facts=[Fact("reference", row["reference"])],
        )
        for row in sorted(moved, key=lambda row: (row["by"] > 0, -abs(row["by"])))
    ]
    return Excerpts(rows, with_remarks=True, empty="No row moved.")


def _answer(name: str, answer: Json) -> Quote:
    reasons = [answer["reason"]] if answer["reason"] else []
    score = score_text(answer["score"])
    return Quote(name.upper(), answer["response"], HUES[name], score, reasons, empty="(nothing)")
