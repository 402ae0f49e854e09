"""The card's words on judges: who they are, what their audits found, what their scores go along with."""

from collections.abc import Callable, Sequence

from tasks.config import on
from tasks.judge.audit.wording import (
    NOT_MEASURED,
    OVERRIDDEN,
    VERDICTS,
    fails,
    found,
    interval,
    limits,
    not_falsifiable,
    passes,
)
from tasks.judge.protocol.refusals import identity_lines, refusal_lines
from tasks.judge.score import scores_wording as scores
from tasks.judge.score.scores_wording import models, of_scorer
from tasks.machine.json_files import Json
from tasks.show.text import signed, visible

APART = 40  # points; the judge stage counts rows from there on, and takes NumPy to be imported
NAMED = 3  # gates in one line
BESIDE = {"words": "length in words", "metric:chrf": "chrF++"}
OUTCOMES = {"fail": "failed", "warn": "warns", NOT_MEASURED: NOT_MEASURED, "pass": "passed"}

Cell = tuple[str, str]
"""A value and its interval."""


# Who judged


def judges(report: Json) -> list[Json]:
    """The judges in the order of the configuration, once for each criterion; none when a metric is the
    headline."""
    return report["judge"]["judges"] if report["judge"] else []


def judge_title(judge: Json) -> str:
    """`ollama:llama3.2`, or `ollama:llama3.2 on polite`."""
    return visible(on(judge["scorer"], judge["criterion"]))


def criteria_text(report: Json) -> str:
    """What the overall score is made of, where judges score by criteria."""
    criteria = report["judge"]["criteria"] if report["judge"] else []
    return scores.criteria_text({criterion["name"]: criterion["weight"] for criterion in criteria})


def open_text(judge: Json) -> str:
    """What the audit cannot show, where it cannot."""
    return not_falsifiable(judge | judge["audit"]) if judge["audit"] else ""


def judge_text(judge: Json) -> str:
    """`ollama:llama3.2:3b, digest a80c4f08bd5a, version 0.9, form anchored`, as far as it is known."""
    parts = [judge_title(judge), f"digest {judge['digest'][:12]}", f"version {judge['version']}"]
    parts += [f"form {judge['form']}"] if judge["form"] else []
    return visible(", ".join(parts))


def audit_text(judge: Json) -> str:
    """`Its audit on 30 of 110 rows passed: its scores count`."""
    audit = judge["audit"]
    if audit is None:
        return "It was not audited: an earlier version made this card"
    words = OVERRIDDEN if _failed(judge) and judge["believed"] else VERDICTS[audit["verdict"]]
    return f"Its audit on {audit['rows']:,} of {audit['of']:,} rows {words}"


def gates(judge: Json, *verdicts: str) -> list[Json]:
    """The gates of a judge's audit that came to one of the verdicts."""
    return [gate for gate in (judge["audit"] or {"gates": []})["gates"] if gate["verdict"] in verdicts]


def gate_lines(judge: Json) -> list[str]:
    """What its server refuses, what no audit shows, what failed, what warns, a line each; what was not
    measured in one."""
    told = [gate_text(gate) for verdict in ("fail", "warn") for gate in gates(judge, verdict)]
    left_open = [text] if (text := open_text(judge)) else []
    return [*refused_lines(judge), *left_open, *told, *unmeasured_lines(judge)]


def unmeasured_lines(judge: Json) -> list[str]:
    """`not measured, of too few rows: taken for right: changed-number`."""
    names = [gate["name"] for gate in gates(judge, NOT_MEASURED)]
    return [f"{NOT_MEASURED}, of too few rows: {', '.join(names)}"] if names else []


def refused_lines(judge: Json) -> list[str]:
    """`its server refuses temperature 0: ...`: what the judge could not be asked with, or for."""
    return [visible(line) for line in [*identity_lines(judge["scorer"]), *refusal_lines(judge["refusals"])]]


def gate_text(gate: Json) -> str:
    """`failed: AUC against echo 0.712, 95% 0.610 to 0.800 (passes at ≥ 0.980, fails at < 0.900)`."""
    text = f"{OUTCOMES[gate['verdict']]}: {gate['name']} {found(gate)}"
    return f"{text}{f', 95% {own}' if (own := interval(gate)) else ''} ({limits(gate)})"


def gate_rows(judge: Json) -> list[Json]:
    """The table of all gates, as text by column."""
    return [
        {
            "gate": gate["name"],
            "found": found(gate),
            "95% interval": interval(gate),
            "answers": f"{gate['of']:,}",
            "passes at": passes(gate),
            "fails at": fails(gate),
            "verdict": OUTCOMES[gate["verdict"]],
        }
        for gate in gates(judge, *OUTCOMES)
    ]


def _failed(judge: Json) -> bool:
    return judge["audit"] is not None and judge["audit"]["verdict"] == "fail"


def unbelieved(report: Json) -> list[Json]:
    """The judges that failed their audit and were not asked."""
    return [judge for judge in judges(report) if not judge["believed"]]


def failed_text(report: Json) -> str:
    """`The judge failed its audit`, or how many of several did."""
    failed, count = len(unbelieved(report)), len(judges(report))
    if count == 1:
        return "The judge failed its audit"
    if any(judge["criterion"] for judge in judges(report)):
        return f"{failed} of {count} audits failed"
    return f"{failed} of {count} judges failed {'its audit' if failed == 1 else 'their audits'}"


def why_failed(judge: Json) -> str:
    """`ollama:llama3.2:3b: AUC against echo 0.712 (fails at < 0.900), and 2 more`."""
    failed = [f"{gate['name']} {found(gate)} (fails at {fails(gate)})" for gate in gates(judge, "fail")]
    more = [f"and {len(failed) - NAMED} more"] if len(failed) > NAMED else []
    return f"{judge_title(judge)}: {', '.join(failed[:NAMED] + more)}"


def against_audit(report: Json) -> str:
    """That scores count whose judge failed; nothing where none does."""
    names = [judge_title(judge) for judge in judges(report) if judge["believed"] and _failed(judge)]
    if not names:
        return ""
    return (
        f"These scores stand against the audit, which {' and '.join(names)} failed: they count only because "
        "despite_audit says so."
    )


# What the scores go along with


def correlation_lines(report: Json) -> list[str]:
    """`Rank correlation with length in words: base +0.12 (95% −0.07 to +0.30), ...`, of the headline.

    What is known of no model has no line.
    """
    entries = of_scorer(report["scores"], report["headline"])
    lines = []
    for name, words in BESIDE.items():
        known = {entry["model"]: entry["correlations"].get(name) for entry in entries}
        if any(own and own["value"] is not None for own in known.values()):
            told = (f"{model} {_correlation(own)}" for model, own in known.items())
            lines.append(f"Rank correlation with {words}: {', '.join(told)}")
    return lines


def _correlation(own: Json | None) -> str:
    if own is None or own["value"] is None:
        return "not known"
    value, low, high = (_hundredths(own[name], "+.2f") for name in ("value", "low", "high"))
    return f"{value} (over {own['rows']:,} rows)" if own["low"] is None else f"{value} (95% {low} to {high})"


def _hundredths(value: float | None, form: str = ".2f") -> str:
    return "not known" if value is None else format(value, form).replace("-", "−")


# How far several judges agree


def agreement_rows(report: Json) -> list[Json]:
    """A table as `response_rows` has it: of each model's responses, how far the judges agree."""
    rows: dict[str, Callable[[Json], Cell]] = {
        "Krippendorff's alpha": lambda own: (_hundredths(own["alpha"]), ""),
        "points between the highest and the lowest": _disagreement,
        f"rows {APART} points or more apart": lambda own: (f"{len(own['apart']):,} of {own['rows']:,}", ""),
    }
    agreements = _by_model(report)
    return [
        {"name": name, "cells": [cell(own) if own else ("", "") for own in agreements]}
        for name, cell in rows.items()
    ]


def _by_model(report: Json) -> Sequence[Json | None]:
    known = {own["model"]: own for own in report["agreements"]}
    return [known.get(model) for model in models(report)]


def _disagreement(own: Json) -> Cell:
    points = own["disagreement"]
    if points["mean"] is None:
        return "not known", ""
    return f"{points['mean']:.1f}", f"{points['low']:.1f} to {points['high']:.1f}"


def agreement_text(own: Json) -> str:
    """`alpha 0.62, 8.1 points apart on average (6.0 to 10.4), 3 of 110 rows by 40 points or more`."""
    mean, between = _disagreement(own)
    apart = f"{mean} points apart on average ({between})" if between else "how far apart is not known"
    return (
        f"alpha {_hundredths(own['alpha'])}, {apart}, "
        f"{len(own['apart']):,} of {own['rows']:,} rows by {APART} points or more"
    )


def pair_text(row: Json) -> str:
    """A row of the table of pairs in a line."""
    told = (f"{name} {row[name]}" for name in ("rank correlation", "weighted kappa", "first minus second"))
    return f"{row['judges']}: {', '.join(told)}"


def pair_rows(report: Json) -> list[Json]:
    """The table of the pairs of judges, as text by column."""
    return [
        {
            "judges": f"{visible(pair['a'])} and {visible(pair['b'])}",
            "model": own["model"],
            "rows": f"{pair['rows']:,}",
            "rank correlation": _hundredths(pair["spearman"]),
            "weighted kappa": _hundredths(pair["kappa"]),
            "first minus second": "not known" if pair["difference"] is None else signed(pair["difference"]),
        }
        for own in report["agreements"]
        for pair in own["pairs"]
    ]
