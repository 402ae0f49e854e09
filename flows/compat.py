"""What depends on how Prefect is made inside, each with a test that fails when Prefect changes."""

from collections.abc import Awaitable, Callable
from typing import Any

EPHEMERAL = "PREFECT__SERVER_EPHEMERAL"  # set in the environment of a server that serves a single command

BRIEF_SERVER = {
    EPHEMERAL: "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",  # half of what a run leaves behind
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",  # which imports them all
}
"""What a server is told that has no use for a page, automations and blocks."""


def load_flows_by(load: Callable[..., Awaitable[Any]]) -> None:
    """Let the process worker load a run's flow, for its hooks, by this function instead of Prefect's own."""
    import prefect.workers.process

    prefect.workers.process.load_flow_from_flow_run = load
