"""A series as a document: the sizes, the law that they follow, and the largest as the others foretell it."""

import math

from tasks.machine.json_files import Json
from tasks.show.document import (
    PAGE_ONLY,
    Block,
    Cell,
    Chart,
    Curve,
    Document,
    Section,
    Text,
    Verdict,
    table_of,
)
from tasks.show.text import duration, plural, short

POINTS = 60  # of the fitted curve, too many to be drawn as dots
LAW = "L = E + A / N^α, in bits per byte; N is all parameters, embeddings too."
NOT_SEEDS = "The interval covers the text, not the trainings: each size was trained once."


def document(report: Json) -> Document:
    """Everything that is known of a series."""
    return Document(
        kind="series",
        title=f"Sizes of {report['profile']}",
        subtitle=f"{plural(len(report['rungs']), 'size')} at {budget_text(report)}",
        verdict=_verdict(report),
        sections=[
            Section("Sizes", [_table(report), *_chart(report)]),
            Section("The law", _law(report)),
            Section("The largest, foretold by the others", _held_out(report)),
        ],
    )


def budget_text(report: Json) -> str:
    if report["flops"] is not None:
        return f"{report['flops']:.3g} FLOPs each"
    return f"{report['tokens_per_parameter']:g} tokens per parameter"


def _verdict(report: Json) -> Verdict:
    fit = report["fit"]
    if fit is None:
        return Verdict("none", "There is no fit", detail=f"{report['why_not']}.")
    exponent = f"α = {fit['alpha']:.2f}"
    return Verdict(
        "open", "Loss falls with size to this power", exponent, _between(fit["alpha_95"], "{:.2f}")
    )


def _between(interval: list[float] | None, form: str = "{:.4f}") -> str:
    if interval is None:
        return "no interval: too many draws of the text have no fit, or the sizes share no parts of it"
    return f"95% {form.format(interval[0])} to {form.format(interval[1])}"


def _law(report: Json) -> list[Block]:
    fit = report["fit"]
    if fit is None:
        return [Text(LAW, "muted"), Text(f"There is no fit: {report['why_not']}.", "worse")]
    told = (
        f"E = {fit['floor']:.4f} ({_between(fit['floor_95'])}), α = {fit['alpha']:.3f} "
        f"({_between(fit['alpha_95'], '{:.3f}')}), A = {fit['scale']:.4g}."
    )
    blocks: list[Block] = [Text(LAW, "muted"), Text(told)]
    if parts := report.get("parts"):
        blocks.append(Text(f"Drawn anew are {parts['count']:,} {parts['unit']}. {NOT_SEEDS}", "muted"))
    return blocks


def _held_out(report: Json) -> list[Block]:
    found = report["held_out"]
    if found is None:
        return [Text(f"Nothing is foretold: {report['why_not']}.")]
    largest = _done(report)[-1]
    more = "more" if found["gap"] > 0 else "less"
    told = (
        f"Without {largest['size']}, the fit foretells {found['predicted']:.4f} bits per byte of it "
        f"({_between(found['predicted_95'])}). Measured are {found['measured']:.4f}, {abs(found['gap']):.4f} "
        f"{more} ({_between(found['gap_95'])})."
    )
    if found["gap_95"] is None:
        return [Text(told)]
    low, high = found["gap_95"]
    holds = low <= 0 <= high
    verdict = "The fit holds for it." if holds else "The fit does not hold for it: do not extend it further."
    return [Text(told), Text(verdict, "" if holds else "worse"), Text(NOT_SEEDS, "muted")]


def _done(report: Json) -> list[Json]:
    return [one for one in report["rungs"] if one["state"] == "done"]


def _table(report: Json) -> Block:
    rows = []
    for one in report["rungs"]:
        row: dict[str, str | Cell] = {
            "size": Cell(one["size"], is_code=True),
            "parameters": f"{one['parameters']:,}",
            "tokens": short(one["tokens"]),
            "steps": f"{one['steps']:,}",
            "FLOPs": f"{one['flops']:.2e}",
            "bits per byte": "" if one["loss"] is None else f"{one['loss']:.4f}",
        }
        if report["fit"]:
            row["fitted"] = f"{_at(report['fit'], one['parameters']):.4f}"
        row["took"] = "" if one["seconds"] is None else duration(one["seconds"])
        if any(other["reason"] for other in report["rungs"]):
            row["reason"] = Cell(one["reason"] or "", tone="worse")
        rows.append(row)
    return table_of(rows)


def _at(fit: Json, parameters: float) -> float:
    return fit["floor"] + fit["scale"] * parameters ** -fit["alpha"]


def _chart(report: Json) -> list[Chart]:
    """Bits per byte over the logarithm of the size, with the fit as a line."""
    done = _done(report)
    if len(done) < 2:
        return []
    low, high = (math.log10(done[place]["parameters"]) for place in (0, -1))
    measured = [(math.log10(one["parameters"]), *(one["loss"],) * 3) for one in done]
    curves = [Curve("measured", "amber", measured, len(measured), is_joined=False)]
    if fit := report["fit"]:
        places = [low + (high - low) * place / (POINTS - 1) for place in range(POINTS)]
        line = [(place, *(_at(fit, 10**place),) * 3) for place in places]
        curves.append(Curve("fitted", "slate", line, len(line)))
    ticks = [(math.log10(one["parameters"]), short(one["parameters"])) for one in done]
    return [
        Chart(
            "Validation, bits per byte", "parameters", curves, from_zero=False, x_ticks=ticks, keep=PAGE_ONLY
        )
    ]
