"""An audit as a document: the verdict, every gate, and what each kind of control was given."""

from collections.abc import Iterator

from tasks.judge.audit.wording import (
    NOT_MEASURED,
    extent,
    fails,
    found,
    has_answers,
    headline,
    interval,
    judge_name,
    limits,
    not_falsifiable,
    passes,
    unanswered,
)
from tasks.judge.protocol.refusals import identity_lines, refusal_lines
from tasks.machine.json_files import Json
from tasks.show.document import (
    NOT_IN_TERMINAL,
    PAGE_ONLY,
    Badge,
    Block,
    Bullet,
    Bullets,
    Cell,
    Document,
    Fact,
    Facts,
    Fold,
    Section,
    Text,
    Tone,
    Verdict,
    table_of,
)
from tasks.show.text import capital

REASONS = 3  # why scores are missing: the most frequent
TONES: dict[str, Tone] = {"pass": "", "warn": "strong", "fail": "worse", NOT_MEASURED: "muted"}
BADGES = {
    "pass": Badge("passed", "better"),
    "warn": Badge("passed with warnings"),
    "fail": Badge("failed", "worse"),
}
WORST_FIRST = ["fail", "warn", NOT_MEASURED, "pass"]
CONTROLS = {
    "reference": "the reference itself",
    "changed-case": "other case and punctuation",
    "filler": "polite filler around it",
    "other-reference": "another row's reference",
    "wrong-reference": "the right answer, given that as the reference",
    "echo": "the prompt, echoed",
    "input-loop": "Input: twenty times",
    "template-loop": "a template, looping",
    "empty": "nothing",
    "unknown": "I don't know.",
    "colon": "a colon",
    "full-stop": "a full stop",
    "thought-process": "Thought process:",
    "solution": "Solution",
    "injection": "a demand for full marks",
    "wrong-injection": "that after a wrong answer",
    "changed-number": "the reference with a number changed",
    "negated": "the reference negated, or its negation taken out",
    "swapped-word": "the reference with another row's name or noun",
    "like-answer": "the answer to a like question",
    "first-half": "first half of the reference",
    "shuffled": "its words, shuffled",
}
RULE = (
    "A gate passes where its number does and the 95% interval stays clear of what fails; it fails where its "
    "number does and the interval stays clear of what passes; else it warns. On rows so few that a number "
    "without fault would not pass, one without fault is not measured. Every kind of answers has gates of its "
    "own, over the rows that it could be made of."
)


def documents(outcome: Json) -> list[Document]:
    """What `touchstone audit` prints: an audit, or one a criterion."""
    return [document(report) for report in outcome.get("audits", [outcome])]


def document(report: Json) -> Document:
    """The audit; the gates that did not pass come first."""
    reasons = missing(report, None)
    return Document(
        kind="audit",
        title="Audit of a judge",
        badge=BADGES[report["verdict"]],
        alarms=[] if has_answers(report) else [capital(unanswered(report))],
        verdict=Verdict(
            tone="worse" if report["verdict"] == "fail" else "none",
            sentence=headline(report),
            detail=extent(report),
            more=not_falsifiable(report),
        ),
        notes=unknown(report),
        sections=[
            Section("Gates", [*_gates(report)]),
            Section("What the controls were given", [_controls(report)]),
            *([Section("Answers without a score", [Bullets(reasons)])] if reasons else []),
            Section("The judge", [Fold("Model and prompt", [_judge(report)])], keep=PAGE_ONLY),
        ],
    )


def in_short(report: Json, despite_audit: bool) -> list[Block]:
    """The verdict and the gates that did not pass, for those who read the judge's scores."""
    gates = [
        Bullet(
            f"{gate['verdict']}: {gate['name']} {found(gate)} {interval(gate)} ({limits(gate)})",
            TONES[gate["verdict"]],
        )
        for gate in _worst_first(report)
        if gate["verdict"] != "pass"
    ]
    told = f"{headline(report, despite_audit)} {extent(report)}"
    others = [*unknown(report), *filter(None, [not_falsifiable(report)])]
    return [
        Text(told, "worse" if report["verdict"] == "fail" else "strong"),
        *(Text(line, "muted") for line in others),
        Bullets([*gates, *missing(report)]),
    ]


def unknown(report: Json) -> list[str]:
    """What is not known of who the judge is, and what its server refuses."""
    return [capital(line) for line in (*identity_lines(report["scorer"]), *refusal_lines(report["refusals"]))]


def missing(report: Json, count: int | None = REASONS) -> list[Bullet]:
    """Why answers have no score, the most frequent reasons first."""
    return [
        Bullet(f"{why['count']:,} answers are missing because {why['reason']}", "muted")
        for why in report["missing_because"][:count]
    ]


def _worst_first(report: Json) -> list[Json]:
    return sorted(report["gates"], key=lambda gate: WORST_FIRST.index(gate["verdict"]))


def _gates(report: Json) -> Iterator[Block]:
    yield Text(RULE, "muted", keep=NOT_IN_TERMINAL)
    yield table_of(
        [
            {
                "gate": gate["name"],
                "verdict": Cell(gate["verdict"], tone=TONES[gate["verdict"]]),
                "found": Cell(found(gate), interval(gate)),
                "passes": passes(gate),
                "fails": fails(gate),
                "answers": f"{gate['of']:,}",
            }
            for gate in _worst_first(report)
        ],
        empty="no gate was measured",
    )
    yield Text(_not_measured(report))


def _not_measured(report: Json) -> str:
    """`Not measured, of too few rows: negated (3), changed-number (none)`; nothing where each kind was."""
    gates = [gate["name"] for gate in report["gates"] if gate["verdict"] == NOT_MEASURED]
    told = [
        f"{CONTROLS[kind['kind']]} ({kind['count'] or 'none'})"
        for kind in report["controls"]
        if any(name.endswith(f" {kind['kind']}") for name in gates)
    ]
    return f"Not measured, of too few rows: {', '.join(told)}." if told else ""


def _controls(report: Json) -> Block:
    return table_of(
        [
            {
                "control": CONTROLS[kind["kind"]],
                "worth": kind["group"],
                "answers": f"{kind['count']:,}",
                **{name: _points(kind[name]) for name in ("mean", "lowest", "highest")},
                "without score": f"{kind['missing']:,}",
                "rows left out": f"{kind['left_out']:,}",
            }
            for kind in report["controls"]
        ],
        empty="no control could be made of these rows",
    )


def _points(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def _judge(report: Json) -> Block:
    facts = [
        Fact("Model", judge_name(report)),
        Fact("Version", report["version"] or "not told"),
        Fact("Known by", report["known_by"]),
        Fact("Digest", report["digest"], is_code=True),
        Fact("Scoring protocol", report["form"]),
        Fact("Prompt", report["prompt_version"], is_code=True),
    ]
    return Facts(facts)
