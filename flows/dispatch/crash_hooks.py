"""What is done when a flow run was killed or cancelled, by whoever found that out: a worker, mostly."""

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State

from flows.server.pools import cancel_children
from flows.server.sweep import sweep
from tasks.record.tracking import open_tracking


def end_what_is_left(flow: Any, flow_run: FlowRun, state: State) -> None:  # noqa: ARG001 (Prefect's names)
    """Cancel what the flow run had sent to work pools, and end the MLflow runs that it left RUNNING.

    A server of MLflow that is away just now is not waited for: the next sweep does that.
    """
    with get_client(sync_client=True) as client:
        cancel_children(client, flow_run.id, f"{flow_run.name} ended: {state.name}")
        sweep(open_tracking(), client)


CRASH_HOOKS: dict[str, Any] = {"on_crashed": [end_what_is_left], "on_cancellation": [end_what_is_left]}
"""For the decorator of every flow that may run on a work pool."""
