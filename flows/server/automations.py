"""What a Prefect server does by itself about runs that nobody works on: it would leave them as they are."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.process.flow_body import STATES
from flows.process.intervals import intervals
from flows.server.pools import TAG

ANY_RUN = ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"})
OURS = ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"})

# Events are called by the name of a state, not by its type.
ENDS = {"Completed", "TimedOut", *(name for _, name in STATES.values())}
BEGINS = {"Running", "Retrying"}
ALIVE = {"heartbeat"}


def automations(reaping: UUID, process_pools: Collection[UUID]) -> list[AutomationCore]:
    """Those of a server that has the deployment `reap` and the work pools.

    None of them forces a state: a run that has ended meanwhile stays as it is.
    """
    silence = intervals().silence
    pools = ResourceSpecification(
        {
            "prefect.resource.role": "work-pool",
            "prefect.resource.id": [f"prefect.work-pool.{pool}" for pool in process_pools],
        }
    )
    return [
        _ending(
            "touchstone: crash silent runs",
            f"A run whose worker died says nothing any more: after {silence:g} s it is Crashed.",
            after=BEGINS | ALIVE,
            expect=ALIVE | ENDS,
            state=StateType.CRASHED,
            silence=silence,
            message=f"no sign of life for {silence:g} s: its worker or its machine is gone",
        ),
        _ending(
            "touchstone: crash runs that do not start",
            f"A worker starts a process at once: a run Pending for {silence:g} s is Crashed.",
            after={"Pending"},
            expect={"AwaitingConcurrencySlot", "Cancelling"} | BEGINS | ALIVE | ENDS,
            where=[pools],
            state=StateType.CRASHED,
            silence=silence,
            message=f"its worker took it and did not start it within {silence:g} s",
        ),
        _ending(
            "touchstone: end cancellations",
            f"A run that is being cancelled for {silence:g} s is Cancelled.",
            after={"Cancelling"},
            expect=ENDS,
            state=StateType.CANCELLED,
            silence=silence,
            message=f"whoever ran it did not say within {silence:g} s that it has stopped",
        ),
        AutomationCore(
            name="touchstone: reap after a crash",
            description="Ends the MLflow runs that a crashed or cancelled run left RUNNING.",
            tags=[TAG],
            trigger=EventTrigger(
                match=ANY_RUN,
                match_related=OURS,
                expect=_events({"Crashed", "Cancelled"}),
                posture=Posture.Reactive,
                threshold=1,
            ),
            actions=[RunDeployment(deployment_id=reaping)],
        ),
    ]


def _ending(
    name: str,
    description: str,
    *,
    after: Collection[str],
    expect: Collection[str],
    state: StateType,
    silence: float,
    message: str,
    where: Collection[ResourceSpecification] = (),
) -> AutomationCore:
    """Give a state to a flow run that was in one of some others and says nothing expected for too long."""
    return AutomationCore(
        name=name,
        description=description,
        tags=[TAG],
        trigger=EventTrigger(
            match=ANY_RUN,
            match_related=[OURS, *where],
            for_each={"prefect.resource.id"},
            after=_events(after),
            expect=_events(expect),
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence),
        ),
        actions=[ChangeFlowRunState(state=state, message=message)],
    )


def _events(names: Collection[str]) -> set[str]:
    return {f"prefect.flow-run.{name}" for name in names}


def bring(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """Create an automation, or make it as it is wanted; says what was done."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return "created"
    first, *others = found
    for other in others:
        client.delete_automation(other.id)
    if _core(first) == _core(wanted):
        return "unchanged"
    client.update_automation(first.id, wanted)
    return "updated"


def _core(automation: AutomationCore) -> dict[str, Any]:
    """What an automation says, without the numbers that a server gives it."""
    told = automation.model_dump(mode="json", include={"name", "description", "tags", "trigger", "actions"})
    told["trigger"].pop("id", None)
    for name in ("after", "expect", "for_each"):
        told["trigger"][name] = sorted(told["trigger"][name])
    return told
