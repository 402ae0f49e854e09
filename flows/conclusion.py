"""What a pipeline says at its end: its scores, its card, the version that it registered."""

from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.dispatch.overview import score_metric, show_card, show_datasets, show_model
from flows.dispatch.pipeline_run import PipelineRun
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.judging.audits import refusal, score_entries
from flows.profiles.profile import Profile
from tasks.classify.outputs import Evaluation
from tasks.judge.score.outputs import ScoreSummary
from tasks.models import MODELS
from tasks.record.work import Reference
from tasks.registry.promotion import Promotion
from tasks.registry.versions import champion_of
from tasks.report.document import as_document
from tasks.report.outputs import page_address, read_cost, read_report
from tasks.report.scores import score_rows
from tasks.show.markdown import as_markdown

Audits = dict[str, Reference]
Outputs = dict[str, Reference | None]  # by the names that the report has for them


def conclude(run: PipelineRun, profile: Profile, made: Outputs, audited: Audits) -> dict[str, Any]:
    """Put the scores on the pipeline's run and the card into Prefect; returns the summary.

    Raises RefusedError when a judge failed its audit: the card and the summary are there all the same.
    """
    scores = _scores(run, made)
    client = run.tracking.client
    for entry in scores:
        if entry["mean"] is not None:
            client.log_metric(
                run.run_id, score_metric(entry["model"], entry["scorer"], "mean"), entry["mean"]
            )
    show_datasets(run.tracking, run.run_id, made)
    show_report(run, profile.name, made["report"])
    told = {
        "profile": profile.name,
        "headline": profile.judge.headline if profile.is_tuned else None,
        "scores": scores,
        "model": _model(run, made["promotion"]) if made["promotion"] else None,
        "report": page_address(made["report"]),
    }
    return finished(run, told, refusal(run, audited, profile.judge))


def show_report(run: PipelineRun, name: str, report: Reference) -> None:
    """Put a card on a pipeline's run and into Prefect, with a table of its scores."""
    found, cost = read_output(run.tracking, report, read_report), read_cost(report)
    card = as_document(found, cost)
    show_card(run.tracking, run.run_id, report, card)
    create_markdown_artifact(as_markdown(card), key=f"report-{name}", description="Report card")
    if "scores" in found:
        create_table_artifact(score_rows(found), key=f"scores-{name}", description="Scores")


def _summary(run: PipelineRun, scores: Reference) -> ScoreSummary:
    return read_output(run.tracking, scores, ScoreSummary.read)


def _scores(run: PipelineRun, made: Outputs) -> list[dict[str, Any]]:
    """An entry for each model and scorer; a classifier's baselines count as models."""
    found = [
        entry
        for model, label in MODELS.items()
        if made[f"{model}_scores"]
        for entry in score_entries(label, _summary(run, made[f"{model}_scores"]))
    ]
    if made["classifier"]:
        own, *_ = score_entries("fine-tuned", _summary(run, made["classifier"]))
        evaluation = read_output(run.tracking, made["classifier"], Evaluation.read)
        for baseline in evaluation.baselines:
            points = {
                name: 100 * share
                for name, share in baseline.get("score", baseline[evaluation.measure]).items()
            }
            found.append(own | {"model": baseline["name"]} | points)
        found.append(own)
    return found


def _model(run: PipelineRun, promotion: Reference) -> dict[str, Any]:
    """The registered version, which the run shows too; `champion` is as of now, not as of the promotion."""
    made = read_output(run.tracking, promotion, Promotion.read)
    show_model(run.tracking, run.run_id, made.name, made.version)
    champion = champion_of(run.tracking, made.name)
    return {
        "name": made.name,
        "version": made.version,
        "champion": champion is not None and int(champion.version) == made.version,
        "decision": made.reason,
        "sealed_mean": made.sealed_mean,
        "openings": made.openings,
        "budget_left": made.budget_left,
    }
