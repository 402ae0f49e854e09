"""The champion, judged again: by the judge as it is now, on the rows that made it champion."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from prefect import State, flow
from pydantic import Field

from flows.dispatch.crash_hooks import CRASH_HOOKS
from flows.dispatch.pipeline_run import pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.judging.audits import audits, refusal, score_entries
from flows.judging.judging import find_judges
from flows.process.secrets import load_secrets
from flows.process.states import failed
from flows.server.readiness import stages_to_refresh
from tasks.config import JudgeConfig
from tasks.errors import TouchstoneError
from tasks.registry.lineage import responses_and_rows
from tasks.registry.promote.rescoring import keep_later


@flow(
    name="touchstone-rejudge",
    flow_run_name="rejudge {model}",
    description="Audit the judge, and score the champion's responses anew",
    persist_result=False,
    **CRASH_HOOKS,
)
def rejudging(
    config: Annotated[JudgeConfig, Field(title="Judge", description="who judges, and how it is asked")],
    model: Annotated[
        str, Field(title="Model", description="a registered model that has a champion")
    ] = "touchstone-quickstart",
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
    started = time.monotonic()
    settings = {"model": model, "judge": config.model_dump(mode="json")}
    try:
        again = stages_to_refresh(refresh, ["audit", "judge"])
        load_secrets()
        find_judges(config)
        with pipeline_run(f"rejudge {model}", settings, again, "rejudge") as chain:
            version, responses, rows = responses_and_rows(chain.tracking, model)
            audited = audits(chain, config, rows)
            scores = chain.run("judge", config, responses=responses, **audited)
            refused = refusal(chain, audited, config)
            if refused is None:
                keep_later(chain.tracking, model, version, scores)
            summary = read_output(chain.tracking, scores, "scores.json")
            told = {
                "model": {"name": model, "version": version},
                "scores": score_entries(f"{model} version {version}", summary),
            }
            return finished(chain, started, told, refused)
    except TouchstoneError as error:
        return failed(error)
