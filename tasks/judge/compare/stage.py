"""The comparison of two models' responses to the same rows."""

from collections.abc import Sequence
from pathlib import Path

from tasks.config import CompareConfig
from tasks.errors import StageError
from tasks.judge.audit.reports import audits_of, is_believed
from tasks.judge.compare.document import document
from tasks.judge.compare.outputs import Comparison
from tasks.judge.compare.pairs import Judged, Pair, paired, read_judged
from tasks.judge.compare.pairwise import choices
from tasks.judge.compare.scores import differences, points_of, sources_of
from tasks.judge.labels.corrected import Pairs, corrected_difference
from tasks.judge.labels.stage import Labels
from tasks.machine.json_files import Json, write_lines
from tasks.record.stage import StageRun


def compare(
    config: CompareConfig,
    run: StageRun,
    *,
    a_responses: Path,
    b_responses: Path,
    a_scores: Path,
    b_scores: Path,
    a_labels: Path | None = None,
    b_labels: Path | None = None,
    **more: Path,
) -> None:
    """Compare A with B; positive differences mean that A is better.

    `more` are `a_responses_2`, `a_scores_2` and so on, of further seeds of A or B, and the audits of a
    pairwise judge. Rows that moved and choices are of the first seeds.

    Writes `compare.json` (the difference by every scorer, and the rows that moved most) and, of a pairwise
    comparison, `choices.jsonl`; aside, the page `compare.html`, and `calls.jsonl`. `a_labels` and `b_labels`
    hold what people said of the responses, as far as they did; the audits are of a pairwise judge's choices.

    Raises UsageError when the two are not of the same rows, StageError when they were not scored alike.
    """
    of_seeds = {"a": [read_judged(a_responses, a_scores)], "b": [read_judged(b_responses, b_scores)]}
    for name, own in of_seeds.items():
        while (scores := more.pop(f"{name}_scores_{len(own) + 1}", None)) is not None:
            own.append(read_judged(more.pop(f"{name}_responses_{len(own) + 1}"), scores))
        _require_same_rows(name, own)
    (a, *_), (b, *_) = of_seeds.values()
    if a.summary.headline != b.summary.headline:
        raise StageError(
            f"A was scored by {a.summary.headline}, B by {b.summary.headline}; score both by the same"
        )
    if _asked(a) != _asked(b):
        raise StageError(
            "A and B were not judged alike: the judges' models or their prompts differ. Score both again"
        )
    pairs = paired(a.rows, b.rows, only_common=config.only_common)
    by_pair = _score_lines(a, b, pairs)
    # of a judge who is shown both, the choices decide which rows moved most
    chosen = _pairwise(config, run, pairs, by_pair, more) if config.mode == "pairwise" else None
    labelled = (a_labels or b_labels) and not a.summary.criteria  # people grade by what the reference says
    found = Comparison(
        headline=a.summary.headline,
        mode=config.mode,
        rows=len(pairs),
        rows_a=len(a.rows),
        rows_b=len(b.rows),
        tie=config.tie,
        differences=differences(config, *of_seeds.values(), pairs),
        pairwise=chosen,
        labels=_corrected(a, b, pairs, a_labels, b_labels) if labelled else None,
        moved=_most_moved(pairs, by_pair, config.shown),
    )
    found.write(run.out)
    run.log_document("compare", document(found.as_json()), f"{len(pairs)} rows by {found.headline}")
    first = found.differences[0]
    numbers = {name: first[name] for name in ("difference", "low", "high", "p")}
    run.log_metrics({name: value for name, value in numbers.items() if value is not None})
    run.log_metrics({"rows": len(pairs)})
    run.progress(len(pairs), len(pairs), "rows", found.headline)


def _require_same_rows(name: str, of_seeds: Sequence[Judged]) -> None:
    """Raises StageError where seeds of one recipe did not answer the same rows, or were not scored alike."""
    first, *others = of_seeds
    for other in others:
        alike = set(other.lines) == set(first.lines) and other.summary.headline == first.summary.headline
        if not alike or _asked(other) != _asked(first):
            raise StageError(
                f"the seeds of {name.upper()} were not scored alike on the same rows; score all again"
            )


def _corrected(
    a: Judged, b: Judged, pairs: Sequence[Pair], a_labels: Path | None, b_labels: Path | None
) -> Json:
    """The headline's difference corrected by people's labels of A's and B's responses."""
    scorer, ours, theirs = a.summary.headline, [pair.a.id for pair in pairs], [pair.b.id for pair in pairs]
    both = Pairs(ours, theirs, points_of(scorer, a, ours), points_of(scorer, b, theirs), sources_of(pairs))
    labels = (Labels.read(folder) if folder else None for folder in (a_labels, b_labels))
    return {"scorer": scorer, "kind": a.entry(scorer)["kind"]} | corrected_difference(*labels, both)


def _asked(judged: Judged) -> list[tuple[str, str, str]]:
    """Which models judged, and by which prompts."""
    return [(judge["scorer"], judge["digest"], judge["prompt_version"]) for judge in judged.judges]


def _pairwise(
    config: CompareConfig, run: StageRun, pairs: Sequence[Pair], by_pair: list[Json], audits: dict[str, Path]
) -> Json:
    """Ask the judge, if its audit allows that; its choices then decide which rows moved most."""
    (scorer,) = config.judges
    audit = audits_of([scorer], audits.values(), config.mode)[scorer]
    if not is_believed(audit, despite_audit=config.despite_audit):
        return {"scorer": scorer, "kind": "judge", "status": "judge_failed_audit", "rows": len(pairs)}
    summary, lines, calls = choices(config, run, pairs, audit)
    write_lines(run.out / "choices.jsonl", lines)
    write_lines(run.auxiliary / "calls.jsonl", calls)
    for pair, line in zip(by_pair, lines, strict=True):
        pair["by"] = None if line["points"] is None else 2 * line["points"] - 100
        pair["reasons"] = line["reasons"]
    return summary | {"audit": audit.verdict}


def _score_lines(a: Judged, b: Judged, pairs: Sequence[Pair]) -> list[Json]:
    """What is known of each pair: `by` how many points A is ahead, both scores, both reasons."""
    headline = a.summary.headline
    found = []
    for pair in pairs:
        ours, theirs = a.lines[pair.a.id], b.lines[pair.b.id]
        scores = [ours[headline], theirs[headline]]
        found.append(
            {
                "by": None if None in scores else scores[0] - scores[1],
                "scores": scores,
                "reasons": [ours.get("reason"), theirs.get("reason")],
            }
        )
    return found


def _most_moved(pairs: Sequence[Pair], by_pair: Sequence[Json], shown: int) -> list[Json]:
    """The rows that differ most, the widest first, each with both responses."""
    known = [place for place, pair in enumerate(by_pair) if pair["by"]]
    widest = sorted(known, key=lambda place: (-abs(by_pair[place]["by"]), place))[:shown]
    return [_moved(pairs[place], by_pair[place]) for place in widest]


def _moved(pair: Pair, line: Json) -> Json:
    return {
        "instruction": pair.a.instruction,
        "input": pair.a.input,
        "reference": pair.a.reference,
        "by": line["by"],
        "a": {"id": pair.a.id, "response": pair.a.response, "score": line["scores"][0]}
        | {"reason": line["reasons"][0]},
        "b": {"id": pair.b.id, "response": pair.b.response, "score": line["scores"][1]}
        | {"reason": line["reasons"][1]},
    }
