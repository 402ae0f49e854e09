"""An audit in words: its numbers as people read them, and what each kind of control is."""

from typing import Any

TOLD = 4  # gates that an error names
VERDICTS = {
    "pass": "passed: its scores count",
    "warn": "passed with warnings: its scores count, with what is said below in mind",
    "fail": "failed: its scores do not count",
}
OVERRIDDEN = "failed: its scores count only because despite_audit says so"
CONTROLS = {
    "reference": "the reference itself",
    "changed-case": "other case and punctuation",
    "filler": "polite filler around it",
    "other-reference": "another row's reference",
    "echo": "the prompt, echoed",
    "input-loop": "Input: twenty times",
    "template-loop": "a template, looping",
    "empty": "nothing",
    "unknown": "I don't know.",
    "colon": "a colon",
    "injection": "a demand for full marks",
    "wrong-injection": "that after a wrong answer",
    "first-half": "first half of the reference",
    "shuffled": "its words, shuffled",
}

Json = dict[str, Any]


def number(value: float | None, unit: str) -> str:
    """`0.98`, `3.3%`, `+5.0` points."""
    if value is None:
        return "none"
    return {"AUC": f"{value:.3f}", "share": f"{100 * value:.1f}%"}.get(unit, f"{value:.1f}")


def interval(gate: Json) -> str:
    if gate["value"] is None:
        return ""
    return f"{number(gate['low'], gate['unit'])} to {number(gate['high'], gate['unit'])}"


def passes(gate: Json) -> str:
    """`≥ 0.980`."""
    return f"{'≥' if gate['at_least'] else '≤'} {number(gate['passes'], gate['unit'])}"


def fails(gate: Json) -> str:
    """`< 0.900`."""
    sign = "<" if gate["at_least"] else "≥" if gate["fails_from"] else ">"
    return f"{sign} {number(gate['fails'], gate['unit'])}"


def limits(gate: Json) -> str:
    """`passes at ≥ 0.980, fails at < 0.900`."""
    return f"passes at {passes(gate)}, fails at {fails(gate)}"


def found(gate: Json) -> str:
    """The number, or why there is none."""
    if gate["value"] is not None:
        return number(gate["value"], gate["unit"])
    return "no scores" if gate["verdict"] == "fail" else "no controls"


def points(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def headline(report: Json, despite_audit: bool = False) -> str:
    """`ollama:llama3.2 passed: its scores count (30 of 110 rows, 450 answers)`."""
    against = despite_audit and report["verdict"] == "fail"
    return (
        f"{report['scorer']} {OVERRIDDEN if against else VERDICTS[report['verdict']]} "
        f"({report['rows']:,} of {report['of']:,} rows, {report['answers']:,} answers)"
    )


def has_answers(report: Json) -> bool:
    """Whether any answer of the judge could be read."""
    return any(kind["count"] > kind["missing"] for kind in report["controls"])


def unanswered(report: Json) -> str:
    """`no answer could be read: the server gives no usage`."""
    return f"no answer could be read: {report['missing_because'][0]['reason']}"


def failures(report: Json) -> str:
    """The first gates that failed, and how many more did, in one line; or that there were no answers."""
    if not has_answers(report):
        return unanswered(report)
    failed = [gate for gate in report["gates"] if gate["verdict"] == "fail"]
    told = [f"{gate['name']} {found(gate)} (fails at {fails(gate)})" for gate in failed[:TOLD]]
    if len(failed) > TOLD:
        more = len(failed) - TOLD
        told.append(f"and {more} more gate{'s' if more > 1 else ''}")
    if report["missing_because"]:
        told.append(report["missing_because"][0]["reason"])
    return "; ".join(told)
