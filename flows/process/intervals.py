"""How often servers and processes are looked at, and how long they are waited for."""

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import UsageError

PREFIX = "TOUCHSTONE_SECONDS_"
FLOW_HEARTBEAT = 30  # seconds between a running flow's heartbeats; Prefect allows no less

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Intervals(BaseModel):
    """Seconds, each of which the environment may set: TOUCHSTONE_SECONDS_POLL=0.5.

    Processes that are started inherit them, so that one setting holds for `up`, its workers and their flows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    poll: Seconds = 1.0
    """Between questions to Prefect about a flow run that is waited for."""
    look: Seconds = 0.5
    """Between looks of `up` at its processes."""
    reap: Seconds = 15.0
    """Between the reapings of `up`, which end the runs of processes that are gone."""
    retry: Seconds = 5.0
    """Before a stage that could not reach something is run once more."""
    worker_away: Seconds = 60.0
    """That a pool may be without a live worker, and a run be taken and not started."""
    prefect_away: Seconds = 90.0
    """That Prefect's server may not answer."""
    mlflow_away: Seconds = 30.0
    """That MLflow's server may not answer before a stage."""
    silence: Annotated[float, Field(gt=FLOW_HEARTBEAT, allow_inf_nan=False)] = 3.0 * FLOW_HEARTBEAT
    """Without a heartbeat, after which nobody works on a flow run."""
    grace: Seconds = 15.0
    """Between asking a process to end and killing it."""


def intervals() -> Intervals:
    """The intervals as the environment sets them now. Raises UsageError for a value or name that is wrong."""
    told = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in os.environ.items()
        if name.startswith(PREFIX)
    }
    try:
        return Intervals.model_validate(told)
    except ValidationError as error:
        wrong = error.errors()[0]
        name = PREFIX + str(wrong["loc"][0]).upper()
        if wrong["type"] == "extra_forbidden":
            there = ", ".join(PREFIX + known.upper() for known in Intervals.model_fields)
            raise UsageError(f"{name}: there is no such interval; there are {there}") from None
        raise UsageError(f"{name}={wrong['input']}: {wrong['msg']}") from None
