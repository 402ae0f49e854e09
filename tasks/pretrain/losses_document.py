"""A comparison of losses as a document: who predicts the text better, by how much, at what cost."""

from collections.abc import Iterator
from statistics import median

from tasks.machine.json_files import Json
from tasks.show.document import (
    NOT_IN_TERMINAL,
    Block,
    Cell,
    Chart,
    Curve,
    Document,
    Fact,
    Hue,
    Section,
    Table,
    Text,
    Verdict,
    table_of,
)
from tasks.show.text import duration, plural, short
from tasks.statistics.verdicts import shows

HUES: dict[str, Hue] = {"a": "slate", "b": "amber"}
SENTENCES = {
    "better": "A predicts the text better",
    "worse": "B predicts the text better",
    "open": "No difference in how well the text is predicted can be shown",
}
RULE = (
    "A bit per byte is what a model needs on average to say which text follows, whatever its tokens are; "
    "less is better. The difference is B's loss minus A's on the same tokens; positive: A is better."
)


def document(report: Json) -> Document:
    """The comparison; `a`'s and `b`'s names are in `name_a` and `name_b`, where they are known."""
    found = report["difference"]
    names = [Fact(side.upper(), report[f"name_{side}"]) for side in HUES if f"name_{side}" in report]
    shown = shows(found, found["p"])
    between = f"{bits(found['low'])} to {bits(found['high'])}"
    verdict = Verdict(
        "open" if shown == "open" else "better",
        SENTENCES[shown],
        bits(found["difference"]),
        f"bits per byte, B minus A (95% {between}, p {_chance(found['p'])})",
        covers(report),
    )
    rule = Text(RULE, "muted", keep=NOT_IN_TERMINAL)
    return Document(
        kind="comparison",
        title=f"Comparison of losses on {report['tokens']:,} tokens",
        facts=names,
        verdict=verdict,
        sections=[
            Section("Models", [rule, _models(report), *_equality(report)]),
            Section("Each seed", [_seeds(report)]),
            Section("Training", [_chart(report)]),
        ],
    )


def bits(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def covers(report: Json) -> str:
    """What the interval covers, and what it is made of."""
    a, b = (len(report[side]["seeds"]) for side in HUES)
    part = f"{report['parts']:,} {report['part']} of some {report['tokens_per_part']:,.0f} tokens"
    if a == b == 1:
        return f"One seed each: the interval covers the text ({part}), not training."
    if report["paired_seeds"]:
        return (
            f"{a} seeds of each, paired, since a seed reads the same blocks in the same order in both; the "
            f"interval covers training and the text ({part})."
        )
    told = f"{plural(a, 'seed')} of A, {plural(b, 'seed')} of B: the interval covers the text ({part}) and "
    alone = next((side for side, count in (("A", a), ("B", b)) if count == 1), None)
    return told + (f"the training of the other, not that of {alone}." if alone else "training.")


def _models(report: Json) -> Table:
    times = report.get("times", {})
    return table_of([_model(side, report[side], _of(times, side)) for side in HUES])


def _of(times: Json, side: str) -> list[Json]:
    return [own for name, own in times.items() if name.startswith(f"{side}_")]


def _model(side: str, own: Json, times: list[Json]) -> dict[str, str | Cell]:
    speeds = [one["tokens_per_second"] for one in times if one["tokens_per_second"]]
    seconds = [one["seconds"] for one in times if one["seconds"] is not None]
    row: dict[str, str | Cell] = {
        "model": Cell(f"{side.upper()}, {own['family']}", hue=HUES[side]),
        "parameters": f"{own['parameters']:,}",
        "tokens": short(own["tokens"]),
        "context": f"{own['context']:,}",
        "loss": f"{own['loss']:.4f}",
        "bits per byte": f"{own['bits_per_byte']:.4f}",
    }
    if times:
        row["tokens/s"] = f"{median(speeds):,.0f}" if speeds else "not recorded"
        row["a training took"] = duration(median(seconds) if seconds else None)
    return row


def _equality(report: Json) -> Iterator[Block]:
    """How far the two are alike in size, in tokens and in the machine."""
    a, b = report["a"], report["b"]
    sizes, read = (_ratio(noun, a[noun], b[noun]) for noun in ("parameters", "tokens"))
    yield Text(f"A has {sizes}, and was trained on {read}. Losses are in nats a token, in float32.", "muted")
    machines = [_machines(_of(report.get("times", {}), side)) for side in HUES]
    if machines[0] and machines[0] == machines[1]:
        yield Text(f"Both were trained on {machines[0]}; speeds are medians over the seeds.", "muted")
    elif all(machines):
        told = f"A was trained on {machines[0]}, B on {machines[1]}: their times do not compare."
        yield Text(told, "muted")


def _ratio(noun: str, one: int, other: int) -> str:
    """`as many tokens as B`, `0.7% fewer parameters than B`."""
    if one == other:
        return f"as many {noun} as B"
    share = one / other - 1
    return f"{abs(share):.1%} {'more' if share > 0 else 'fewer'} {noun} than B"


def _machines(times: list[Json]) -> str:
    """`cpu (x86_64), 1 thread, bfloat16`, of all that there were."""
    known = (f"{one['device']}, {plural(one['threads'], 'thread')}, {one['precision']}" for one in times)
    return "; ".join(dict.fromkeys(known))


def _seeds(report: Json) -> Table:
    a, b, found = report["a"], report["b"], report["difference"]
    rows = []
    for place in range(max(len(a["seeds"]), len(b["seeds"]))):
        row: dict[str, str | Cell] = {"training": str(place + 1)}
        for side, own in (("a", a), ("b", b)):
            known = place < len(own["seeds"])
            told = f"{own['by_seed'][place]:.4f} (seed {own['seeds'][place]})" if known else ""
            row[f"loss of {side.upper()}"] = Cell(told, hue=HUES[side])
        if found["by_seed"]:
            row["bits per byte, B minus A"] = bits(found["by_seed"][place])
        rows.append(row)
    return table_of(rows)


def _chart(report: Json) -> Chart:
    curves = [
        Curve(side.upper(), HUES[side], own["curve"], len(own["curve"]))
        for side in HUES
        if (own := report[side])["curve"]
    ]
    return Chart("Validation loss, nats per token", "tokens", curves)


def _chance(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "<0.0001"
