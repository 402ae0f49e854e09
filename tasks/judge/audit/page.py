"""An audit as a page in markdown."""

from tasks.judge.audit.wording import (
    CONTROLS,
    RULE,
    fails,
    found,
    has_answers,
    headline,
    interval,
    not_falsifiable,
    not_measured,
    passes,
    points,
    unanswered,
)
from tasks.judge.protocol.refusals import identity_lines, refusal_lines
from tasks.machine.json_files import Json
from tasks.show.markdown_blocks import escaped, table


def as_markdown(report: Json) -> str:
    """The verdict, every gate, every kind of control."""
    gates = [
        {
            "gate": gate["name"],
            "found": found(gate),
            "95% interval": interval(gate),
            "rows or answers": gate["of"],
            "passes": passes(gate),
            "fails": fails(gate),
            "verdict": gate["verdict"],
        }
        for gate in report["gates"]
    ]
    kinds = [
        {
            "control": CONTROLS[kind["kind"]],
            "worth": kind["group"],
            "answers": kind["count"],
            "mean": points(kind["mean"]),
            "lowest": points(kind["lowest"]),
            "highest": points(kind["highest"]),
            "without a score": kind["missing"],
            "rows it cannot be made of": kind["left_out"],
        }
        for kind in report["controls"]
    ]
    return "\n\n".join(
        [
            f"# Audit: {escaped(headline(report))}",
            *([] if has_answers(report) else [f"**{escaped(unanswered(report))}**"]),
            *(escaped(line) for line in identity_lines(report["scorer"])),
            *(escaped(line) for line in refusal_lines(report["refusals"])),
            *([escaped(not_falsifiable(report))] if not report["falsifiable"] else []),
            RULE,
            table(gates),
            *([escaped(not_measured(report))] if not_measured(report) else []),
            *(["## What the controls were given", table(kinds)] if kinds else []),
        ]
    )
