"""The card on judges: who they are, what their audits found, how far they agree."""

from collections.abc import Callable, Iterator

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
from tasks.report.hues import model_columns
from tasks.show.document import (
    PAGE_ONLY,
    Bullet,
    Bullets,
    Cell,
    Fold,
    Group,
    Keep,
    Section,
    Table,
    Text,
    Tone,
    table_of,
)
from tasks.show.text import signed

APART = 40  # points; the judge stage counts rows from there on, and takes NumPy to be imported
NAMED = 3  # gates in one line
GATES = 4  # of one judge in the terminal
BESIDE = {"words": "length in words", "metric:chrf": "chrF++"}
OUTCOMES = {"fail": "failed", "warn": "warns", NOT_MEASURED: NOT_MEASURED, "pass": "passed"}
OUTCOME_TONES: dict[str, Tone] = {"fail": "worse", "warn": "strong"}
AUDIT = (
    "An audit asks the judge about answers whose worth is known. A gate passes where its number does and the "
    "95% interval stays clear of what fails; it fails where its number does and the interval stays clear of "
    "what passes; else it warns. Every kind of answers has gates of its own, over the rows that it could be "
    "made of; too few of them measure nothing."
)
AGREEMENT = (
    "Krippendorff's alpha is 1 when the judges agree throughout and 0 when they agree no more than by "
    "chance. Points are of 100, with the 95% interval of their mean."
)


# Who judged


def judges(report: Json) -> list[Json]:
    """The judges in the order of the configuration, once for each criterion; none when a metric is the
    headline."""
    return report["judge"]["judges"] if report["judge"] else []


def judge_title(judge: Json) -> str:
    """`ollama:llama3.2`, or `ollama:llama3.2 on polite`."""
    return on(judge["scorer"], judge["criterion"])


def criteria_text(report: Json) -> str:
    """What the overall score is made of, where judges score by criteria."""
    criteria = report["judge"]["criteria"] if report["judge"] else []
    return scores.criteria_text({criterion["name"]: criterion["weight"] for criterion in criteria})


def open_text(judge: Json) -> str:
    """What the audit cannot show, where it cannot."""
    return not_falsifiable(judge | judge["audit"]) if judge["audit"] else ""


def judge_text(judge: Json) -> str:
    """`Model digest a80c4f08bd5a, version 0.9, form anchored`, as far as it is known."""
    parts = [f"Model digest {judge['digest'][:12]}", f"version {judge['version']}"]
    return ", ".join(parts + ([f"form {judge['form']}"] if judge["form"] else []))


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


def unmeasured_lines(judge: Json) -> list[str]:
    """`not measured, of too few rows: taken for right: changed-number`."""
    names = [gate["name"] for gate in gates(judge, NOT_MEASURED)]
    return [f"{NOT_MEASURED}, of too few rows: {', '.join(names)}"] if names else []


def refused_lines(judge: Json) -> list[str]:
    """`its server refuses temperature 0: ...`: what the judge could not be asked with, or for."""
    return [*identity_lines(judge["scorer"]), *refusal_lines(judge["refusals"])]


def gate_text(gate: Json) -> str:
    """`failed: AUC against echo 0.712, 95% 0.610 to 0.800 (passes at ≥ 0.980, fails at < 0.900)`."""
    text = f"{OUTCOMES[gate['verdict']]}: {gate['name']} {found(gate)}"
    return f"{text}{f', 95% {own}' if (own := interval(gate)) else ''} ({limits(gate)})"


def section(report: Json) -> Iterator[Section]:
    """Who judged, whether they are to be believed, and how far they agree; nothing where metrics scored."""
    found = judges(report)
    if not found:
        return
    blocks: list[Text | Group | Table] = [Text(AUDIT, "muted", PAGE_ONLY), *map(_judge, found)]
    if report["agreements"]:
        blocks.append(
            Group("How far the judges agree", [Text(AGREEMENT, "muted", PAGE_ONLY), *_agreement(report)])
        )
    yield Section("Judges" if len(found) > 1 else "Judge", blocks)


def _judge(judge: Json) -> Group:
    """A judge with its audit: what its server refuses, what no audit shows, what failed, what warns."""
    told = [Bullet(line, "strong") for line in refused_lines(judge)]
    told += [Bullet(line, "strong")] if (line := open_text(judge)) else []
    told += [
        Bullet(gate_text(gate), OUTCOME_TONES[verdict])
        for verdict in ("fail", "warn")
        for gate in gates(judge, verdict)
    ]
    told += [Bullet(line) for line in unmeasured_lines(judge)]
    tone: Tone = "worse" if gates(judge, "fail") else "strong"
    return Group(
        judge_title(judge),
        [
            Text(judge_text(judge), "muted"),
            Text(f"{audit_text(judge)}.", tone),
            Bullets(told, keep=Keep(terminal=GATES)),
            Fold("All gates of the audit", [_gates(judge)]),
        ],
        is_boxed=True,
    )


def _gates(judge: Json) -> Table:
    rows = [
        {
            "gate": gate["name"],
            "found": Cell(found(gate), interval(gate)),
            "answers": f"{gate['of']:,}",
            "passes at": passes(gate),
            "fails at": fails(gate),
            "verdict": Cell(OUTCOMES[gate["verdict"]], tone=OUTCOME_TONES.get(gate["verdict"], "")),
        }
        for gate in gates(judge, *OUTCOMES)
    ]
    return table_of(rows, empty="no gate was measured")


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


def _agreement(report: Json) -> Iterator[Table]:
    """Of each model's responses, how far the judges agree; then each pair of judges."""
    known = {own["model"]: own for own in report["agreements"]}
    rows: dict[str, Callable[[Json], Cell]] = {
        "Krippendorff's alpha": lambda own: Cell(_hundredths(own["alpha"])),
        "points between the highest and the lowest": _disagreement,
        f"rows {APART} points or more apart": lambda own: Cell(f"{len(own['apart']):,} of {own['rows']:,}"),
    }
    names = models(report)
    yield Table(
        model_columns("", names),
        [
            [Cell(name), *(cell(known[model]) if model in known else Cell("") for model in names)]
            for name, cell in rows.items()
        ],
    )
    pairs = [
        {
            "judges": f"{pair['a']} and {pair['b']}",
            "model": own["model"],
            "rows": f"{pair['rows']:,}",
            "rank correlation": _hundredths(pair["spearman"]),
            "weighted kappa": _hundredths(pair["kappa"]),
            "first minus second": "not known" if pair["difference"] is None else signed(pair["difference"]),
        }
        for own in report["agreements"]
        for pair in own["pairs"]
    ]
    yield table_of(pairs, empty="no two judges scored the same row")


def _disagreement(own: Json) -> Cell:
    points = own["disagreement"]
    if points["mean"] is None:
        return Cell("not known")
    return Cell(f"{points['mean']:.1f}", f"{points['low']:.1f} to {points['high']:.1f}")
