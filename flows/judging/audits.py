"""The audits of judges that a pipeline or a comparison uses, and what becomes of their scores."""

import re
from typing import Any, Literal

from flows.dispatch.lookup import Runs
from flows.dispatch.runs import read_output
from tasks.config import Criterion, JudgeConfig
from tasks.errors import RefusedError
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.audit.wording import COUNTED, audit_name, failures, judge_name
from tasks.judge.protocol.responses import DECIDED
from tasks.judge.score.outputs import ScoreSummary
from tasks.record.work import Reference

Mode = Literal["scores", "pairwise"]

SCORE_FIELDS = ("scorer", "kind", "status", "mean", "low", "high", "rows", "scored", "missing")


def audits(
    run: Runs, config: JudgeConfig, rows: Reference, mode: Mode = "scores", prefix: str = ""
) -> dict[str, Reference]:
    """The audit of every judge on these rows, of its scores or of its choices, done before its first use.

    A judge that scores by criteria has one on each. `prefix` tells those of rewards from those of scorers.
    """
    asked = config.asked if mode == "scores" else [(scorer, None) for scorer in config.judges]
    return {
        f"audit_{place}": run.stage(
            "audit",
            config.audit_of(scorer, mode, criterion),
            prefix + _label(mode, config, scorer, criterion),
            rows=rows,
        )
        for place, (scorer, criterion) in enumerate(asked)
    }


def reward_audits(run: Runs, judges: JudgeConfig | None, rows: Reference) -> dict[str, Reference]:
    """The audits of the judges that reward a model.

    Raises RefusedError, before any training, when one failed.
    """
    if judges is None:
        return {}
    found = audits(run, judges, rows, prefix="reward ")
    if why := refusal(run, found, judges):
        raise RefusedError(f"grpo.rewards: {why}")
    return found


def _label(mode: Mode, config: JudgeConfig, scorer: str, criterion: Criterion | None) -> str:
    words = ["audit"] if mode == "scores" else ["audit choices"]
    if len(config.judges) > 1:
        words.append(re.sub(r"[^a-z0-9]+", "-", scorer.lower()).strip("-"))
    return " ".join(words + ([criterion.name] if criterion else []))


def score_entries(model: str, summary: ScoreSummary) -> list[dict[str, Any]]:
    """Every scorer's numbers under a model's name, as commands print them."""
    return [{"model": model, **{name: entry[name] for name in SCORE_FIELDS}} for entry in summary.scores]


def refusal(run: Runs, audited: dict[str, Reference], config: JudgeConfig) -> str | None:
    """Why the judges' scores do not count, or None when they do."""
    if config.despite_audit:
        return None
    unfit = [report for report in audit_reports(run, audited) if report["verdict"] == "fail"]
    if not unfit:
        return None
    told = "; ".join(
        f"{judge_name(report)} failed {audit_name(report)}: {failures(report)}" for report in unfit
    )
    counted = COUNTED[unfit[0]["mode"]]
    return (
        f"{told}. Its {counted} do not count. See the audit's page in MLflow, choose another judge, or set "
        "judge.despite_audit=true to count them all the same"
    )


def unread(summary: ScoreSummary) -> str | None:
    """That no answer of a judge could be read, and why; None where the answers of each could be."""
    decided = sum(summary.responses[f"share_{kind}"]["count"] for kind in DECIDED)  # without the judge
    silent = [
        entry
        for entry in summary.scores
        if entry["status"] == "too_many_missing" and entry["scored"] <= decided and entry["missing_because"]
    ]
    told = (f"{entry['scorer']}: {entry['missing_because'][0]['reason']}" for entry in silent)
    return f"no answer could be read of {'; '.join(told)}" if silent else None


def audit_reports(run: Runs, audited: dict[str, Reference]) -> list[dict[str, Any]]:
    return [read_output(run.tracking, own, AuditReport.read).as_json() for own in audited.values()]
