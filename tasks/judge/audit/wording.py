"""An audit in words: its numbers as people read them, and what each kind of control is."""

from tasks.config import on
from tasks.machine.json_files import Json

TOLD = 4  # gates that an error names
COUNTED = {"scores": "scores", "pairwise": "choices"}
VERDICTS = {
    "pass": "passed: its scores count",
    "warn": "passed with warnings: its scores count, with what is said below in mind",
    "fail": "failed: its scores do not count",
}
OVERRIDDEN = "failed: its scores count only because despite_audit says so"
NOT_MEASURED = "not measured"


def number(value: float | None, unit: str) -> str:
    """`0.98`, `3.3%`, `+5.0` points."""
    if value is None:
        return "none"
    told = {"AUC": f"{value:.3f}", "share": f"{100 * value:.1f}%", "count": f"{value:.0f}"}
    return told.get(unit, f"{value:.1f}")


def interval(gate: Json) -> str:
    if gate["value"] is None or gate["unit"] == "count":
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


def audit_name(report: Json) -> str:
    """`its audit`, and what else it is called where two kinds are made."""
    return "its audit" if report["mode"] == "scores" else "the audit of its choices"


def judge_name(report: Json) -> str:
    """`ollama:llama3.2`, or `ollama:llama3.2 on polite`: who was audited, and on which criterion."""
    return on(report["scorer"], report["criterion"])


def not_falsifiable(report: Json) -> str:
    """What an audit without a reference leaves open; nothing for one that has it."""
    if report["falsifiable"]:
        return ""
    return (
        f"No reference is shown for {report['criterion']}, so that the audit shows only that the judge gives "
        "nothing for what is no answer. Whether it is right people must say (touchstone label): before they "
        "have, it makes no champion."
    )


def headline(report: Json, despite_audit: bool = False) -> str:
    """`ollama:llama3.2 passed: its scores count`."""
    words = OVERRIDDEN if despite_audit and report["verdict"] == "fail" else VERDICTS[report["verdict"]]
    return f"{judge_name(report)} {words.replace('scores', COUNTED[report['mode']])}"


def extent(report: Json) -> str:
    """`(30 of 110 rows, 450 answers)`: what the verdict rests on."""
    return f"({report['rows']:,} of {report['of']:,} rows, {report['answers']:,} answers)"


def has_answers(report: Json) -> bool:
    """Whether any answer of the judge could be read."""
    return any(kind["count"] > kind["missing"] for kind in report["controls"])


def unanswered(report: Json) -> str:
    """`no answer could be read: the server gives no usage`."""
    if not report["missing_because"]:
        return "no control could be made of these rows"
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
