"""A decision on its model version: as tags for programs, as a description for people."""

from collections.abc import Mapping

from tasks.registry.promote.decision import Decision
from tasks.registry.promote.promotion_wording import decision_rows
from tasks.registry.versions import DECISION
from tasks.show.document import Code, Document, Fact, Facts, Section
from tasks.show.markdown import as_markdown

NONE = "none"  # a number that there is not
LONGEST = 5000  # characters of a description that MLflow keeps


def decision_tags(decision: Decision) -> dict[str, str]:
    """Everything that was decided on, each under a name of its own; points with four decimals."""
    numbers = ("mean", "min_score", "difference", "low", "high", "margin")
    numbers += ("sealed_mean", "sealed_low", "sealed_high")
    told = {name: _number(getattr(decision, name)) for name in numbers}
    told |= {
        "champion": str(decision.champion).lower(),
        "against": decision.against or NONE,
        "anew": decision.anew or NONE,
        "leaked": _exact(decision.leaked),
        "part": decision.part or NONE,
        "rows": _exact(decision.part_rows),
        "level": _exact(decision.level),
        "openings": _exact(decision.openings),
        "budget_left": _exact(decision.budget_left),
        "preflight": decision.preflight,
        "audit": decision.audit,
    }
    told |= {"labels": decision.labels} if decision.labels else {}
    return {DECISION: decision.reason} | {f"{DECISION}.{name}": value for name, value in told.items()}


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4f}"


def _exact(value: float | None) -> str:
    """A count, or a chance that may be small."""
    return NONE if value is None else f"{value:.4g}"


def description(decision: Decision, origin: Mapping[str, str], usage: str) -> str:
    """Markdown for MLflow's UI; `origin` says what it was made from, `usage` is Python to load it."""
    facts = [Fact(name, value) for name, value in decision_rows(vars(decision))]
    document = Document(
        kind="promotion",
        title="Champion" if decision.champion else "Candidate",
        notes=[decision.reason],
        sections=[
            Section("Use it", [Code(usage, "python")]),
            Section("Decided on", [Facts(facts)]),
            Section("Made from", [Facts([Fact(name, value) for name, value in origin.items()])]),
        ],
    )
    return as_markdown(document)[:LONGEST]
