"""A sweep as a document: the trials, the one that was chosen, which settings mattered, and what is luck."""

from collections.abc import Iterator, Sequence

from tasks.judge.score import scores_wording as wording
from tasks.machine.json_files import Json
from tasks.show.document import (
    NOT_IN_TERMINAL,
    Bar,
    Bars,
    Block,
    Cell,
    Code,
    Columns,
    Document,
    Fact,
    Facts,
    Section,
    Table,
    Text,
    Verdict,
    table_of,
)
from tasks.show.text import duration, percent, plural
from tasks.sweep.charts import best_so_far, parallel, short_name, slices

SAMPLERS = {
    "grid": "every point of a grid",
    "random": "drawn at random",
    "tpe": "drawn where good trials are likelier (TPE)",
}
LUCK = (
    "The trial was chosen by its validation value alone, so that this value flatters it: of several, the "
    "best is partly the luckiest. No trial was measured on test rows; the chosen one was, but only then."
)
NO_ROWS = (
    "How much of its lead is luck of the validation rows is not estimated: they were not measured one by one."
)
EXPLAINED = (
    "Each setting's share of what settings explain of the differences between trials (fANOVA, a forest over "
    "the trials). Of a dozen trials it is a hint and no measurement."
)


def document(report: Json) -> Document:
    """Everything that is known of a sweep."""
    done = _done(report)
    return Document(
        kind="sweep",
        title=f"Sweep of {report['profile']}",
        subtitle=f"{plural(len(report['trials']), 'trial')}, {SAMPLERS[report['sampler']]}",
        verdict=_verdict(report),
        sections=[*_chosen(report), Section("Trials", _trials(report, done)), *_settings(report, done)],
    )


def card_section(report: Json) -> Section:
    """What the report card of the chosen one says of the sweep that chose it."""
    title = f"Chosen among {plural(len(report['trials']), 'trial')}"
    return Section(title, [*flattery(report), _table(report)])


def _verdict(report: Json) -> Verdict:
    best = chosen(report)
    if best is None:
        return Verdict("none", "No trial came to its end")
    better = "lower" if report["direction"] == "minimize" else "higher"
    return Verdict(
        "better",
        f"Trial {best['number']} is the best of {report['survived']} by validation",
        value_text(report, best["value"]),
        f"{by_text(report)} of {report['stage']}; {better} is better",
    )


def _chosen(report: Json) -> Iterator[Section]:
    best = chosen(report)
    if best is None:
        return
    facts = [Fact(short_name(name), value, is_code=True) for name, value in best["settings"].items()]
    told = [Text("The command that runs these settings by themselves:", "muted"), Code(report["command"])]
    yield Section("Chosen", [Facts(facts), *told])
    yield Section("How far that is flattered", flattery(report))


def chosen(report: Json) -> Json | None:
    return next((one for one in report["trials"] if one["number"] == report["best"]), None)


def _done(report: Json) -> list[Json]:
    return [one for one in report["trials"] if one["state"] == "done" and one["repeats"] is None]


def by_text(report: Json) -> str:
    """`validation loss`, or `validation score (chrF++)`."""
    metric = f" ({wording.scorer_name(report['metric'])})" if report.get("metric") else ""
    return report["by"].replace("_", " ") + metric


def value_text(report: Json, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if report.get("metric") else f"{value:.4f}"


def flattery(report: Json) -> list[Block]:
    """How far the value of the chosen trial may be luck, and what it came to on rows that chose nothing."""
    best, found = chosen(report), report["flattery"]
    if best is None:
        return []
    blocks: list[Block] = [Text(LUCK, "muted")]
    blocks.append(_of_rows(report, best) if found["rows"] else Text(NO_ROWS, "muted"))
    if found["noise"] is not None:
        blocks.append(_of_noise(report, abs(best["value"] - found["mean"])))
    if found["test"]:
        blocks.append(_of_test(report, best))
    blocks += _scored_on_test_rows(report, best)
    return blocks


def _of_rows(report: Json, best: Json) -> Text:
    rows = report["flattery"]["rows"]
    luck = max(0.0, rows["amount"])
    expected = best["value"] + luck * (1 if report["direction"] == "minimize" else -1)
    return Text(
        f"The validation value is of {rows['count']:,} {rows['unit']}. Where these are drawn anew "
        f"(bootstrap, {rows['resamples']:,} draws), whichever is best by the draw looks better there by "
        f"{value_text(report, luck)} than it is: about {value_text(report, expected)} is to be expected of "
        f"the chosen one elsewhere. The same trial is chosen in {percent(rows['chosen_again'])} of the draws."
    )


def _of_noise(report: Json, lead: float) -> Text:
    """The bound that the spread of the trials alone gives."""
    noise = report["flattery"]["noise"]
    beyond = value_text(report, lead - noise) if lead > noise else "nothing"
    return Text(
        f"It is ahead of the mean of {plural(report['survived'], 'trial')} by {value_text(report, lead)}. "
        "Were all equally good, and their whole spread noise, the best would be ahead by about "
        f"{value_text(report, noise)}: {beyond} of its lead is beyond that bound, which takes for luck what "
        "settings do."
    )


def _of_test(report: Json, best: Json) -> Text:
    test = report["flattery"]["test"]
    gap = test["value"] - best["value"]
    worse = gap > 0 if report["direction"] == "minimize" else gap < 0
    of = test.get("unit", "rows").replace("rows", "test rows")
    return Text(
        f"On {test['count']:,} {of}, which nothing was chosen by, the {by_text(report)} is "
        f"{value_text(report, test['value'])} (95% {value_text(report, test['low'])} to "
        f"{value_text(report, test['high'])}): {'worse' if worse else 'better'} than on validation rows by "
        f"{value_text(report, abs(gap))}. How hard the rows are is in that too."
    )


def _scored_on_test_rows(report: Json, best: Json) -> Iterator[Text]:
    for entry in report.get("test", ()):
        if not wording.has_mean(entry):
            continue
        told = f"On the test rows it scores {wording.mean_text(entry)} by {wording.scorer_title(entry)} "
        told += f"({wording.interval_text(entry)}), which nothing was chosen by."
        if entry["scorer"] == report.get("metric"):
            gap = best["value"] - entry["mean"]
            less = "less" if gap >= 0 else "more"
            told += f" That is {abs(gap):.1f} points {less} than on validation rows."
        yield Text(told)


def _trials(report: Json, done: Sequence[Json]) -> list[Block]:
    blocks: list[Block] = [_table(report)]
    if len(done) > 1:
        blocks.append(best_so_far(report, done, by_text(report)))
    return blocks


def _table(report: Json) -> Table:
    rows = []
    for trial in report["trials"]:
        is_best = trial["number"] == report["best"]
        state = trial["state"] if trial["repeats"] is None else f"as trial {trial['repeats']}"
        rows.append(
            {
                "trial": Cell(str(trial["number"]), tone="strong" if is_best else ""),
                **{name: Cell(value, is_code=True) for name, value in trial["settings"].items()},
                by_text(report): Cell(value_text(report, trial["value"]), tone="better" if is_best else ""),
                "state": Cell(state, tone="worse" if state == "failed" else ""),
                "took": "" if trial["seconds"] is None else duration(trial["seconds"]),
                "cached": f"{trial['cached']} of {trial['stages']}" if trial["stages"] else "",
                "reason": trial["reason"] or "",
            }
        )
    if not any(one["reason"] for one in report["trials"]):
        rows = [{name: cell for name, cell in row.items() if name != "reason"} for row in rows]
    return table_of(rows, empty="no trial was begun")


def _settings(report: Json, done: Sequence[Json]) -> Iterator[Section]:
    if len(done) < 2:
        return
    blocks: list[Block] = []
    if shares := report["importance"]:
        bars = [Bar(short_name(name), share, percent(share)) for name, share in shares.items()]
        blocks += [Text(EXPLAINED, "muted"), Bars(bars)]
    blocks.append(Columns(slices(report, done, by_text(report)), keep=NOT_IN_TERMINAL))
    blocks.append(parallel(report, done, by_text(report)))
    yield Section("Settings", blocks)
