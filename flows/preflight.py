"""The checks of a profile without its training: everything up to the tokens and rows, then the preflight."""

from collections.abc import Sequence
from typing import Any

import mlflow.artifacts
from prefect import State, flow

from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.pipeline import prepare
from flows.process.flow_body import flow_body
from flows.profiles.profile import Profile
from flows.server.reaper import CRASH_HOOKS
from tasks.errors import RefusedError
from tasks.preflight.report import FILE, Report


@flow(
    name="touchstone-preflight",
    flow_run_name="{profile.name} preflight",
    description="Download, tokenize, and check what training would begin with",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def checks(profile: Profile, refresh: Sequence[str] = ()) -> State | dict[str, Any]:
    """Check a profile; returns what `touchstone preflight --json` prints, or a failed state.

    A refusal tells the checks as well, where there are any.
    """
    profile = profile.with_commits()
    with pipeline_run(profile.name, profile, refresh, "preflight", reuse=profile.reuse) as run:
        ready = prepare(run, profile)
        inputs = {"tokens": ready.tokens, "rows": ready.rows, "base": ready.base}
        told: dict[str, Any] = {"profile": profile.name}
        try:
            found = run.stage("preflight", profile.checks(), **inputs)
        except RefusedError as error:
            if (table := _refused(run)) is None:
                raise
            return finished(run, told | {"verdict": "failed", "checks": table}, error)
        return finished(run, told | read_output(run.tracking, found, Report.read).as_json())


def _refused(run: PipelineRun) -> list[dict[str, str]] | None:
    """The checks that this run's preflight logged before it refused."""
    runs = run.tracking.client.search_runs(
        [run.tracking.experiment_id],
        f"tags.`mlflow.parentRunId` = '{run.run_id}' AND tags.`touchstone.stage` = 'preflight'",
    )
    if not runs:
        return None
    table = mlflow.artifacts.load_dict(f"{runs[0].info.artifact_uri}/{FILE}")
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
