"""A sweep: its trials, the best of them by validation run whole, and what that shows.

In MLflow the sweep has a run of its own, with the trials' runs below it and named in its tags, and the run of
what was chosen. What was done is found at the next call: finished trials in the study, their stages by key.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from mlflow.exceptions import MlflowException
from prefect import State, flow
from prefect.artifacts import create_markdown_artifact

from flows.dispatch.cards import Recorded
from flows.dispatch.overview import show_card
from flows.dispatch.pipeline_run import PipelineRun, pipeline_run, without_heartbeat
from flows.dispatch.results import finished, outcome_of, run_here
from flows.dispatch.runs import CHOSEN, SWEEP, read_output, reference_of
from flows.pipeline import pipeline
from flows.process.console import console
from flows.process.flow_body import flow_body
from flows.server.pools import Pools
from flows.server.reaper import CRASH_HOOKS
from flows.sweeping.objectives import validate_config
from flows.sweeping.search import Search, SweepRun
from flows.sweeping.space import ProfileSource
from flows.sweeping.trials import validated_inputs
from tasks.config import ReportConfig, SweepConfig, SweepTrial
from tasks.download.commits import asked_once
from tasks.errors import IncompleteError, RefusedError, StoppedError, TouchstoneError
from tasks.machine.json_files import Json
from tasks.models import CLASSIFIER, MODELS
from tasks.record.outputs import AUXILIARY, fault, read_config
from tasks.record.stage import MADE_BY, reference_to
from tasks.record.tracking import set_tags
from tasks.record.work import Reference
from tasks.registry.lineage import inputs_of
from tasks.report.document import as_document
from tasks.report.outputs import page_address, read_cost, read_report
from tasks.show.markdown import as_markdown
from tasks.sweep.document import document
from tasks.sweep.outputs import Sweep
from tasks.sweep.stage import best_of, distinct

_current: ContextVar[SweepRun] = ContextVar("sweeping")


def run_sweep(swept: SweepRun, pools: Pools | None) -> Json:
    """Run the flow of a sweep in this process; what it tells. Raises the error that ended it before that."""
    token = _current.set(swept)
    try:
        return run_here(sweep, swept.definition.profile.name, swept.study.name, pools)
    finally:
        _current.reset(token)


@flow(
    name="touchstone-sweep",
    flow_run_name="sweep {profile}",
    description="Trials of a profile's settings, chosen by validation; then the chosen one, whole",
    persist_result=False,
    **CRASH_HOOKS,
)
@flow_body
@asked_once()
def sweep(profile: str, study: str, pools: Pools | None = None) -> State | dict[str, Any]:
    """Make the trials that are left, run what they chose, and tell what they come to.

    Returns what `touchstone sweep --json` prints, or a failed state: when every trial failed, and as the run
    of the chosen one ended.
    """
    swept = _current.get()
    settings = {"profile": swept.definition.profile, "study": study}
    with pipeline_run(
        f"sweep {profile}", settings, (), SWEEP, pools, swept.definition.profile.reuse, profile=profile
    ) as run:
        trials = Search(run, swept, pools).run()
        best = best_of(distinct(trials), swept.definition.objective.measure.direction)
        if best is None:
            found, _ = _show(run, swept, trials, {})
            return finished(run, found | _nothing(), _why_none(trials))
        console.say(f"trial {best.number} is the best by validation; it is run whole", style="bold")
        outcome = _run_whole(run, swept.source.with_settings(best.settings), pools)
        return _conclude(run, swept, trials, outcome)


def command_of(source: ProfileSource) -> str:
    """The command line that runs the profile of a source."""
    words = ["touchstone", "run", source.profile]
    words += [word for override in source.overrides for word in ("--set", override)]
    words += ["--mirror", source.mirror] if source.mirror else []
    return shlex.join(words)


def _run_whole(run: PipelineRun, chosen: ProfileSource, pools: Pools | None) -> Json | TouchstoneError:
    """What the pipeline of the chosen settings told, or the error that ended it before that."""
    with without_heartbeat():
        state = pipeline(chosen.load(), pools=pools, return_state=True)
    try:
        outcome = outcome_of(state)
    except StoppedError:
        raise
    except TouchstoneError as error:
        return error
    set_tags(run.tracking.client, run.run_id, {CHOSEN: outcome["run_id"]})
    return outcome


def _conclude(
    run: PipelineRun, swept: SweepRun, trials: list[SweepTrial], outcome: Json | TouchstoneError
) -> Json:
    """What the sweep shows, with the card of the chosen one, on which that is told too."""
    if isinstance(outcome, TouchstoneError):
        found, _ = _show(run, swept, trials, {})
        kind = RefusedError if isinstance(outcome, RefusedError) else IncompleteError
        error = kind(f"the trials are done and kept; what they chose, run whole, failed: {outcome}")
        return finished(run, found | _nothing(), error)
    client, chosen = run.tracking.client, outcome["run_id"]
    card = client.get_run(chosen).data.tags.get(f"{MADE_BY}report")
    inputs = inputs_of(run.tracking, client.get_run(card)) if card else {}
    found, made = _show(run, swept, trials, inputs)
    page = outcome["report"]
    if card:
        config = ReportConfig.model_validate_json(read_config(reference_of(run.tracking, card)))
        report = Recorded(run.tracking, chosen).stage("report", config, **inputs, sweep=made)
        shown = as_document(read_output(run.tracking, report, read_report), read_cost(report))
        for run_id in (chosen, run.run_id):
            show_card(run.tracking, run_id, report, shown)
        page = page_address(report)
    told = {
        "headline": outcome["headline"],
        "scores": outcome["scores"],
        "model": outcome["model"],
        "report": page,
        "chosen_run_id": chosen,
    }
    return finished(run, found | told, RefusedError(outcome["error"]) if "error" in outcome else None)


def _show(
    run: PipelineRun, swept: SweepRun, trials: list[SweepTrial], inputs: Mapping[str, Reference]
) -> tuple[Json, Reference]:
    """What the trials show, as the command tells it; `inputs` are those of the card of the chosen one."""
    definition = swept.definition
    best = best_of(distinct(trials), definition.objective.measure.direction)
    config = SweepConfig(
        profile=definition.profile.name,
        command=command_of(swept.source.with_settings(best.settings)) if best else "",
        stage=definition.objective.stage,
        by=definition.objective.by,
        direction=definition.objective.measure.direction,
        metric=definition.objective.metric,
        sampler=definition.sampler,
        space=definition.space,
        trials=tuple(trials),
    )
    scored = [name for name in (*(f"{model}_scores" for model in MODELS), CLASSIFIER) if name in inputs]
    measured = _measured(run, trials) | _measured_on_test_rows(run, swept, best, inputs)
    made = run.stage("sweep", config, scores=inputs[scored[-1]] if scored else None, **measured)
    found = read_output(run.tracking, made, Sweep.read).as_json()
    create_markdown_artifact(
        as_markdown(document(found)), key=f"sweep-{definition.profile.name}", description="Sweep"
    )
    if best:
        run.tracking.client.log_metric(run.run_id, definition.objective.by, best.value)
    return found | {"study": swept.study.name, "page": f"{made.uri}/{AUXILIARY}/sweep.html"}, made


def _measured(run: PipelineRun, trials: Sequence[SweepTrial]) -> dict[str, Reference]:
    """What the trials came to row by row, of those that still have it."""
    client, found = run.tracking.client, {}
    for one in distinct(trials):
        try:
            made = client.get_run(one.run_id).data.tags.get(f"{MADE_BY}validate")
            reference = reference_to(client.get_run(made)) if made else None
        except MlflowException:  # it was cleaned away
            continue
        if reference and fault(run.tracking, reference) is None:
            found[f"trial_{one.number}"] = reference
    return found


def _measured_on_test_rows(
    run: PipelineRun, swept: SweepRun, best: SweepTrial | None, inputs: Mapping[str, Reference]
) -> dict[str, Reference]:
    """The chosen model's loss on the test rows, which are measured here and for it alone."""
    trained = [inputs[model] for model in (*MODELS, CLASSIFIER) if model in inputs]
    if best is None or not trained:
        return {}
    profile = swept.source.load(best.settings)
    config = validate_config(profile, swept.definition.objective)
    if not (config and (config.finetune or config.classify) and not config.score):
        return {}
    config = config.model_copy(update={"test": True})
    source = validated_inputs(run.tracking, profile, trained[-1])
    return {"chosen": run.stage("validate", config, "validate chosen", **source)}


def _nothing() -> Json:
    return {"headline": None, "scores": [], "model": None, "report": None, "chosen_run_id": None}


def _why_none(trials: Sequence[SweepTrial]) -> TouchstoneError:
    """Why nothing could be chosen: the reasons of the trials, each once."""
    reasons = "; ".join(dict.fromkeys(one.reason for one in trials if one.reason))
    return IncompleteError(f"all {len(trials)} trials failed, so that none could be chosen: {reasons}")
