"""What made a run: the commit of the code, and the flow run."""

import os
import subprocess
from functools import cache
from pathlib import Path

from prefect.artifacts import create_link_artifact
from prefect.runtime import flow_run

from flows.dispatch.overview import MADE_BY, NOTE
from flows.server.readiness import is_temporary
from tasks.machine.home import without_password
from tasks.record.tracking import Tracking, set_tags
from tasks.show.markdown import escaped

PIPELINE_PAGE = "touchstone.prefect_pipeline_url"


@cache
def code_commit() -> str:
    """The checkout's commit, marked when files differ from it; `unknown` outside a git checkout."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def lineage() -> dict[str, str]:
    """Tags for MLflow runs and model versions; call it inside a flow.

    The page of the pipeline is named where a server stays up that has one.
    """
    page, root = None if is_temporary() else flow_run.ui_url, _pipeline_run_id()
    pipeline = {PIPELINE_PAGE: page.replace(str(flow_run.id), root)} if page else {}
    return pipeline | {
        "touchstone.git_commit": code_commit(),
        "touchstone.prefect_flow_run_id": str(flow_run.id),
        "touchstone.prefect_flow_run": str(flow_run.name),
        "touchstone.prefect_pipeline_run_id": root,
    }


def _pipeline_run_id() -> str:
    """The flow run that the present one is below, or itself."""
    parent = flow_run.parent_flow_run_id
    return _root_of(parent) if parent else str(flow_run.id)


@cache
def _root_of(_parent: str) -> str:
    """The same for all stages of a pipeline, for each of which the server would be asked three times."""
    return str(flow_run.root_flow_run_id)


def link_to_mlflow(tracking: Tracking, run_id: str) -> None:
    """Link the present flow run and its MLflow run with each other, where both have a page that lasts.

    The server of a single command is gone a second later, so nothing links to it.
    TOUCHSTONE_MLFLOW_URL is the address that people reach MLflow at, where it is not the one used here.
    """
    if not is_temporary() and (page := flow_run.ui_url):
        note = f"{MADE_BY} [{escaped(flow_run.name)}]({page})"
        set_tags(tracking.client, run_id, {NOTE: note})
    address = os.environ.get("TOUCHSTONE_MLFLOW_URL") or tracking.uri
    if address.startswith(("http://", "https://")):
        create_link_artifact(
            f"{without_password(address).rstrip('/')}/#/experiments/{tracking.experiment_id}/runs/{run_id}",
            key="mlflow-run",
            link_text=escaped(f"MLflow run of {flow_run.name}"),
            description="Parameters, metrics, datasets and files of this run",
        )
