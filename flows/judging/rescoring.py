"""The champion under a candidate's conditions: found where it was scored so before, else scored anew."""

from flows.dispatch.lookup import Inputs, work_of
from flows.dispatch.pipeline_run import PipelineRun
from tasks.config import GenerateConfig, JudgeConfig, PredictConfig, PromoteConfig
from tasks.errors import StageError
from tasks.record.stage import find
from tasks.registry.promote.rescoring import later_scores, met_before, scorable, why_not_its_own
from tasks.registry.versions import champion_of


def champion_scores(
    chain: PipelineRun,
    config: PromoteConfig,
    inputs: Inputs,
    generate: GenerateConfig,
    judge: JudgeConfig,
    audited: Inputs,
) -> Inputs:
    """The input `champion` of a promotion with these inputs: the champion's scores; none where it needs none.

    None too where the champion cannot be scored anew: the promotion says why. A promotion that was made
    before gets what it got then: by now the candidate may be the champion itself.
    """
    tracking, name, scores, rows = chain.tracking, config.name, inputs["scores"], inputs["rows"]
    if "promote" not in chain.refresh:
        for earlier in ({}, *({"champion": one} for one in met_before(tracking, name, inputs["model"]))):
            if find(tracking, work_of("promote", config, inputs | earlier), chain.reuse):
                return earlier
    present = champion_of(tracking, name)
    if present is None or why_not_its_own(tracking, present, scores, rows.digest) is None:
        return {}
    if found := later_scores(tracking, present, scores, rows.digest):
        return {"champion": found}
    try:
        champion = scorable(tracking, present, scores)
    except StageError:
        return {}  # the promotion finds the same, and tells it
    if champion.template is None:
        labels = chain.run("predict", PredictConfig(), "predict champion", model=champion.model, rows=rows)
        return {"champion": labels}
    asked = generate.model_copy(update={"template": champion.template})
    under = {"base": champion.base} if champion.base else {}
    responses = chain.run("generate", asked, "generate champion", model=champion.model, rows=rows, **under)
    return {"champion": chain.run("judge", judge, "judge champion", responses=responses, **audited)}
