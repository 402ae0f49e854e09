"""Registering a model, and deciding whether it becomes the champion."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config import PromoteConfig
from tasks.json_files import read_json, read_lines, write_json
from tasks.manifest import sha256_of
from tasks.outputs import OUTPUT, Reference, fault, fetch
from tasks.record import StageRun
from tasks.registering import register
from tasks.registry import CANDIDATE, CHAMPION, PROMOTION, champion_of, registered_files
from tasks.statistics.intervals import paired_interval
from tasks.tracking import Tracking

Scores = dict[int, float | None]


@dataclass(frozen=True)
class Decision:
    """Whether the candidate becomes the champion, and why; `difference` in points with its 95% interval."""

    champion: bool
    reason: str
    against: str | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def promote(
    config: PromoteConfig,
    run: StageRun,
    *,
    model: Path,
    rows: Path,
    scores: Path,
    base: Path | None = None,
    **_origin: Path,
) -> None:
    """Register `model/model`, name it the candidate, and the champion if its scores earn that.

    The scores of a classifier are in the output that holds it; `base` holds the model that adapters alone
    were trained on.

    Writes `promotion.json`. The first champion needs `config.min_score`; a later one needs the paired
    interval against the present champion, on the same rows by the same scorer, to lie above the margin.
    Whatever else is among the inputs (the corpus, the tokens) is named with its digest on the version.
    """
    headline, entry, per_row = read_scores(scores)
    decision = decide(config, run.tracking, run.references["rows"], entry, per_row, judged_by(scores))
    mean = entry["mean"]
    number = register(config, run, model, rows, base)
    client = run.tracking.client
    for name, value in _lineage_tags(run, model, headline, mean, decision).items():
        client.set_model_version_tag(config.name, number, name, value)
    client.set_registered_model_alias(config.name, CANDIDATE, number)
    if decision.champion:
        client.set_registered_model_alias(config.name, CHAMPION, number)
    source = client.get_model_version(config.name, number).source
    promotion = {"name": config.name, "version": int(number), **vars(decision)}
    promotion["files"] = registered_files(source)
    write_json(run.out / PROMOTION, promotion)
    run.log_metrics({"champion": float(decision.champion)})
    run.progress(1, 1, "model", f"{config.name} version {number}: {decision.reason}")


def read_scores(folder: Path) -> tuple[str, dict[str, Any], Scores]:
    """The headline scorer of a judge stage's output, its numbers, and its score of each row by id."""
    summary = read_json(folder / "scores.json")
    headline = summary["headline"]
    entry = next(entry for entry in summary["scores"] if entry["scorer"] == headline)
    return headline, entry, {row["id"]: row[headline] for row in read_lines(folder / "scores.jsonl")}


def judged_by(folder: Path) -> dict[str, Any]:
    """Who gave the scores of a judge stage's output, by which prompts, and whether against their audit."""
    if not (folder / "judge.json").exists():
        return {"judges": [], "despite_audit": False}
    told = read_json(folder / "judge.json")
    failed = any(judge["audit"]["verdict"] == "fail" for judge in told["judges"])
    judges = [[judge["scorer"], judge["digest"], judge["prompt_version"]] for judge in told["judges"]]
    return {"judges": judges, "despite_audit": told["despite_audit"] and failed}


def decide(
    config: PromoteConfig,
    tracking: Tracking,
    rows: Reference,
    entry: Mapping[str, Any],
    scores: Scores,
    who: Mapping[str, Any],
) -> Decision:
    """Compare the candidate with the present champion, if any; `entry` are the numbers of its headline.

    `who` judged, as `judged_by` tells. Scores that stand against an audit make no champion.
    """
    headline, mean = entry["scorer"], entry["mean"]
    if entry["status"] == "judge_failed_audit":
        return Decision(False, f"kept as candidate: {headline} failed its audit, so its scores do not count")
    if who["despite_audit"]:
        return Decision(
            False, f"kept as candidate: {headline} failed its audit; its scores count by override"
        )
    if mean is None:
        return Decision(False, f"kept as candidate: {headline} left too many rows without a score")
    present = champion_of(tracking, config.name)
    if present is None:
        passed = mean >= config.min_score
        verdict = "the first champion" if passed else "kept as candidate"
        relation = "reaches" if passed else "is below"
        return Decision(
            passed, f"{verdict}: its mean {mean:.1f} {relation} the least score {config.min_score:g}"
        )
    against = f"version {present.version}"
    if (
        present.tags.get("touchstone.scorer") != headline
        or present.tags.get("touchstone.rows") != rows.digest
    ):
        return Decision(
            False,
            f"kept as candidate: the champion ({against}) was scored on other rows or by another scorer",
            against,
        )
    reference = Reference.model_validate_json(present.tags["touchstone.scores"])
    if lost := fault(tracking, reference):
        return Decision(False, f"kept as candidate: the scores of {against} are lost ({lost})", against)
    folder = fetch(tracking, reference) / OUTPUT
    if judged_by(folder)["judges"] != who["judges"]:
        return Decision(
            False,
            f"kept as candidate: the champion ({against}) was scored by another model behind {headline}, or "
            "by another prompt",
            against,
        )
    _, _, theirs = read_scores(folder)
    pairs = [
        (score, theirs[row])
        for row, score in scores.items()
        if score is not None and theirs.get(row) is not None
    ]
    if len(pairs) < config.min_rows:
        return Decision(
            False,
            f"kept as candidate: {len(pairs)} rows have a score of both it and {against}; "
            f"a comparison needs {config.min_rows}",
            against,
        )
    ours, other = zip(*pairs, strict=True)
    difference, low, high = paired_interval(ours, other, config.resamples, config.seed)
    better = low > config.margin
    verdict = "champion" if better else "kept as candidate"
    relation = "above" if better else "not above"
    reason = (
        f"{verdict}: {difference:+.1f} points against {against} (95% {low:+.1f} to {high:+.1f}), "
        f"which is {relation} the margin of {config.margin:g}"
    )
    return Decision(better, reason, against, difference, low, high)


def _lineage_tags(
    run: StageRun, model: Path, headline: str, mean: float | None, decision: Decision
) -> dict[str, Any]:
    """Enough to walk from a version to the bytes, the code and the flow run that made it."""
    stages = {f"touchstone.{name}.digest": reference.digest for name, reference in run.references.items()}
    return {
        **run.lineage,
        **stages,
        "touchstone.rows": run.references["rows"].digest,
        "touchstone.tokenizer": sha256_of(model / "model" / "tokenizer.json"),
        "touchstone.scores": run.references["scores"].model_dump_json(),
        "touchstone.scorer": headline,
        "touchstone.mean": "missing" if mean is None else f"{mean:.4f}",
        "touchstone.decision": decision.reason,
    }
