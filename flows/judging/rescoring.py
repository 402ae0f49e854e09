"""The champion under a candidate's conditions: found where it was scored so before, else scored anew."""

from mlflow.entities.model_registry import ModelVersion

from flows.dispatch.cards import labels_output
from flows.dispatch.lookup import Inputs, is_planned, work_of
from flows.dispatch.pipeline_run import PipelineRun
from tasks.config import GenerateConfig, JudgeConfig, PredictConfig, PromoteConfig
from tasks.errors import StageError
from tasks.record.stage import find
from tasks.record.work import Reference
from tasks.registry.promote.rescoring import (
    SCORES,
    later_scores,
    met_before,
    responses_of,
    scorable,
    why_not_its_own,
)
from tasks.registry.versions import champion_of


def champion_inputs(
    run: PipelineRun,
    config: PromoteConfig,
    inputs: Inputs,
    generate: GenerateConfig,
    judge: JudgeConfig,
    audited: Inputs,
) -> Inputs:
    """What a promotion with these inputs is given of the champion: scores made anew, where its own do not do;
    and people's labels of its responses, where it requires labels.

    A promotion that was made before gets what it got then, unless people have labelled more since: by now the
    candidate may be the champion itself.
    """
    if is_planned(inputs["model"]) or is_planned(inputs["scores"]):
        return {}  # what becomes of the champion depends on them
    tracking, name = run.tracking, config.name
    if "promote" not in run.refresh:
        for met in met_before(tracking, name, inputs["model"]):
            earlier = {"champion": met.anew} if met.anew else {}
            earlier |= _labels(run, config, met.scores)
            if find(tracking, work_of("promote", config, inputs | earlier), run.reuse):
                return earlier
    present = champion_of(tracking, name)
    if present is None:
        return {}
    anew = _scores_anew(run, present, inputs, generate, judge, audited)
    own = Reference.model_validate_json(present.tags[SCORES]) if SCORES in present.tags else None
    return anew | _labels(run, config, anew.get("champion", own))


def _labels(run: PipelineRun, config: PromoteConfig, scores: Reference | None) -> Inputs:
    """People's labels of the responses that the champion is compared by: more of them are another key."""
    responses = responses_of(run.tracking, scores) if config.require_labels and scores else None
    found = labels_output(run, responses, "labels champion") if responses else None
    return {"champion_labels": found} if found else {}


def _scores_anew(
    run: PipelineRun,
    present: ModelVersion,
    inputs: Inputs,
    generate: GenerateConfig,
    judge: JudgeConfig,
    audited: Inputs,
) -> Inputs:
    """None where the champion needs none, or cannot be scored anew: the promotion says why."""
    tracking, scores, rows = run.tracking, inputs["scores"], inputs["rows"]
    if why_not_its_own(tracking, present, scores, rows.digest) is None:
        return {}
    if found := later_scores(tracking, present, scores, rows.digest):
        return {"champion": found}
    try:
        champion = scorable(tracking, present, scores)
    except StageError:
        return {}  # the promotion finds the same, and tells it
    if champion.template is None:
        labels = run.stage("predict", PredictConfig(), "predict champion", model=champion.model, rows=rows)
        return {"champion": labels}
    asked = generate.model_copy(update={"template": champion.template})
    under = {"base": champion.base} if champion.base else {}
    responses = run.stage("generate", asked, "generate champion", model=champion.model, rows=rows, **under)
    return {"champion": run.stage("judge", judge, "judge champion", responses=responses, **audited)}
