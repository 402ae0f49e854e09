"""What made a run: the commit of the code, and the flow run."""

import subprocess
from functools import cache
from pathlib import Path

from prefect.runtime import flow_run


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
    """Tags for MLflow runs and model versions; call it inside a flow."""
    return {
        "touchstone.git_commit": code_commit(),
        "touchstone.prefect_flow_run_id": str(flow_run.id),
        "touchstone.prefect_flow_run": str(flow_run.name),
        "touchstone.prefect_pipeline_run_id": str(flow_run.root_flow_run_id),
    }
