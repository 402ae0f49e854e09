"""One trial: a pipeline up to its last training, with no stage that measures the model on test rows."""

from typing import Any

from prefect import State, flow
from prefect.runtime import flow_run

from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import TRIAL, read_output
from flows.pipeline import checked, prepare, train
from flows.process.flow_body import flow_body
from flows.profiles.profile import Profile
from flows.profiles.seeds import trainings_of
from flows.server.pools import Pools
from flows.server.reaper import CRASH_HOOKS
from flows.sweeping.objectives import CLASSIFY, objective_of, validate_config
from tasks.errors import StageError
from tasks.machine.json_files import Json
from tasks.models import STARTS_FROM
from tasks.models.summary import ModelSummary
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import inputs_of
from tasks.sweep.outputs import RowValues

DEPLOYMENT = "touchstone-trial/trial"


def _run_name() -> str:
    given = flow_run.parameters
    return f"{Profile.model_validate(given['profile']).name} {given['label']}"


@flow(
    name="touchstone-trial",
    flow_run_name=_run_name,
    description="A trial of a sweep: a profile up to its last training, measured on validation rows alone",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
def trial(
    profile: Profile,
    stage: str,
    by: str,
    label: str,
    group: str,
    pools: Pools | None = None,
) -> State | dict[str, Any]:
    """Train with the first of the profile's seeds up to `stage`; tells the number of that which `by` names.

    `group` is the MLflow run of all trials, of which this one is called `label`.
    """
    (one, *_) = trainings_of(profile)
    name = f"{profile.name} {label}"
    with pipeline_run(
        name, one.profile, (), TRIAL, pools, profile.reuse, profile=profile.name, group=group
    ) as run:
        objective = objective_of(one.profile, by, stage)
        made = _trained(run, one.profile, stage)
        value = read_output(run.tracking, made, ModelSummary.read).numbers.get(objective.measure.field)
        if value is None:
            raise StageError(
                "there is nothing to choose by: the training was not evaluated on validation rows. Give some "
                "(rows.validation, tokenize.validation)"
            )
        if config := validate_config(one.profile, objective):
            inputs = validated_inputs(run.tracking, one.profile, made)
            by_row = run.stage("validate", config, **inputs)
            if objective.measure.by_row:
                value = read_output(run.tracking, by_row, RowValues.read).mean
        return finished(run, {"profile": profile.name, "value": value})


def trial_parameters(
    profile: Profile, stage: str, by: str, label: str, group: str, pools: Pools | None
) -> Json:
    """Those of the flow, as they travel to another machine."""
    return {
        "profile": profile.model_dump(mode="json"),
        "stage": stage,
        "by": by,
        "label": label,
        "group": group,
        "pools": pools.model_dump() if pools else None,
    }


def validated_inputs(tracking: Tracking, profile: Profile, made: Reference) -> dict[str, Reference | None]:
    """The model of a profile's last training, with what it is measured on."""
    given = inputs_of(tracking, tracking.client.get_run(made.run_id))
    if made.stage == "pretrain":
        return {"model": made, "tokens": given["tokens"]}
    if made.stage == CLASSIFY:
        return {"model": made, "rows": given["rows"]}
    adapters = profile.trainings[made.stage].keeps_adapters
    return {
        "model": made,
        "rows": given["rows"],
        "base": given[STARTS_FROM[made.stage]] if adapters else None,
    }


def _trained(run: PipelineRun, profile: Profile, stage: str) -> Reference:
    """The model of the last training, or of pretraining where that is asked for."""
    if stage == "pretrain":
        return run.stage(stage, profile.pretraining, tokens=prepare(run, profile).tokens)
    ready = checked(run, profile)
    base = ready.base or run.stage("pretrain", profile.pretraining, tokens=ready.tokens)
    if stage == CLASSIFY:
        untested = profile.classify.model_copy(update={"measure_test": False})
        return run.stage(stage, untested, base=base, rows=ready.rows, tokens=ready.tokens)
    models, _ = train(run, profile, ready, base)
    return list(models.values())[-1]
