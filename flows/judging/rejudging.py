"""The champion, judged again: by the judge as it is now, on the rows that made it champion."""

from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.judging.audits import audits, refusal, score_entries
from flows.judging.judging import find_judges
from flows.process.flow_body import flow_body
from flows.server.readiness import stages_to_refresh
from flows.server.reaper import CRASH_HOOKS
from tasks.config import JudgeConfig
from tasks.judge.score.outputs import ScoreSummary
from tasks.registry.lineage import champion_and_rows
from tasks.registry.promote.rescoring import keep_later


@flow(
    name="touchstone-rejudge",
    flow_run_name="rejudge {model}",
    description="Audit the judge, and score the champion's responses anew",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def rejudging(
    config: Annotated[JudgeConfig, Field(title="Judge", description="who judges, and how it is asked")],
    model: Annotated[str, Field(title="Model", description="a registered model that has a champion")],
    refresh: Annotated[
        Sequence[str],
        Field(title="Refresh", description="stages to do again: audit, judge"),
    ] = (),
) -> State | dict[str, Any]:
    """Score the responses of the present champion; its scores at promotion stay as they were.

    The new ones are named on its version, where a later candidate that is judged likewise meets them.

    With `config.anew`, as the schedule has it, every question is asked again: a model that was exchanged
    under the same digest shows. Without, only a judge of another digest is asked.
    Returns the scores, the audits' verdicts, and the version that was judged.
    """
    settings = {"model": model, "judge": config}
    again = stages_to_refresh(refresh, ["audit", "judge"])
    find_judges(config)
    with pipeline_run(f"rejudge {model}", settings, again, "rejudge") as run:
        version, responses, rows = champion_and_rows(run.tracking, model)
        audited = audits(run, config, rows)
        scores = run.stage("judge", config, responses=responses, **audited)
        refused = refusal(run, audited, config)
        if refused is None:
            keep_later(run.tracking, model, version, scores)
        summary = read_output(run.tracking, scores, ScoreSummary.read)
        told = {
            "model": {"name": model, "version": version},
            "scores": score_entries(f"{model} version {version}", summary),
        }
        return finished(run, told, refused)
