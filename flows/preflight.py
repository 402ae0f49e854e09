"""The proofs of a profile without its training: everything up to the tokens and rows, then the preflight."""

import json
import time
from collections.abc import Sequence
from typing import Any

import mlflow.artifacts
from prefect import State, flow
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.dispatch.crash_hooks import CRASH_HOOKS
from flows.dispatch.pipeline_run import pipeline_run, without_heartbeat
from flows.pipeline import prepare
from flows.process.states import error_in, failed
from flows.profiles.profile import Profile
from tasks.errors import RefusedError, TouchstoneError
from tasks.machine.secrets import redacted
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import open_tracking


@flow(
    name="touchstone-preflight",
    flow_run_name="{profile.name} preflight",
    description="Download, tokenize, and prove what training would begin with",
    persist_result=False,
    **CRASH_HOOKS,
)
def proofs(profile: Profile, refresh: Sequence[str] = ()) -> State | dict[str, Any]:
    """Prove a profile; returns what `touchstone preflight --json` prints, or a failed state."""
    started = time.monotonic()
    try:
        profile = profile.with_commits()
        settings = profile.model_dump(mode="json")
        with pipeline_run(profile.name, settings, refresh, "preflight", reuse=profile.reuse) as chain:
            made = prepare(chain, profile)
            inputs = {name: made[name] for name in ("tokens", "rows", "base") if name in made}
            reference = chain.run("preflight", profile.proofs(), **inputs)
            path = fetch(chain.tracking, reference) / OUTPUT / "preflight.json"
            return {
                "status": "completed",
                "run_id": chain.run_id,
                "profile": profile.name,
                "seconds": round(time.monotonic() - started, 3),
                "stages": [outcome.model_dump() for outcome in chain.outcomes],
                **json.loads(path.read_text(encoding="utf-8")),
            }
    except TouchstoneError as error:
        return failed(error)


def prove(profile: Profile, refresh: Sequence[str] = ()) -> dict[str, Any]:
    """Run the flow. A refusal comes back with its proofs, as `status: refused` and the `error`.

    Raises the error that ended the flow when it was another, or came before any proof.
    """
    with without_heartbeat():
        state = proofs(profile, refresh, return_state=True)
    if state.is_completed():
        return state.result()
    error = error_in(state)
    found = _refused(str(state.state_details.flow_run_id)) if isinstance(error, RefusedError) else None
    if found is None:
        raise error
    return {
        "status": "refused",
        "profile": profile.name,
        "error": str(error),
        "verdict": "failed",
        "proofs": found,
    }


STYLES = {"passed": "green", "failed": "bold red", "noted": "", "skipped": "dim"}


def show(outcome: dict[str, Any], console: Console) -> None:
    """Print what `prove` returned: a table, and the decoded examples."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("training", "proof", "verdict", "found", "where"):
        table.add_column(column, overflow="fold")
    for proof in outcome["proofs"]:
        cells = [Text(redacted(proof[column.header])) for column in table.columns]
        table.add_row(*cells, style=STYLES[proof["verdict"]])
    console.print(table)
    for training, example in outcome.get("examples", {}).items():
        console.print(f"What is trained on: {training}", style="bold", markup=False)
        console.print(f"{redacted(example)}\n", markup=False, soft_wrap=True)


def _refused(flow_run: str) -> list[dict[str, str]] | None:
    """The proofs that a preflight of this flow run logged before it refused."""
    tracking = open_tracking()
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.prefect_pipeline_run_id` = '{flow_run}' AND tags.`touchstone.stage` = 'preflight'",
    )
    if not runs:
        return None
    table = mlflow.artifacts.load_dict(f"{runs[0].info.artifact_uri}/preflight.json")
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
