"""The whole road, from text and rows to a judged model in the registry.

Without rows it ends after pretraining, with a report.
"""

import json
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import Annotated, Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run
from pydantic import Field

from flows.dispatch.cards import MODELS, labels_output
from flows.dispatch.crash_hooks import CRASH_HOOKS
from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.results import finished
from flows.dispatch.runs import read_output
from flows.judging.audits import audits, refusal, score_entries
from flows.judging.judging import find_judges
from flows.judging.rescoring import champion_inputs
from flows.process.secrets import load_secrets
from flows.process.states import failed
from flows.profiles.profile import Profile, load_profile
from flows.profiles.seeds import SeedOf, trainings_of
from flows.seeds import run_seeds
from flows.server.pools import Pools
from flows.server.readiness import stages_to_refresh
from tasks.errors import TouchstoneError, UsageError
from tasks.record.outputs import AUXILIARY, read_auxiliary
from tasks.record.work import Reference
from tasks.registry.resolve import with_version
from tasks.registry.versions import PROMOTION, champion_of
from tasks.report.markdown import as_markdown, score_rows

Audits = dict[str, Reference]


def _run_name() -> str:
    profile, seed = flow_run.parameters["profile"], flow_run.parameters.get("seed")
    name = PurePath(profile).stem if isinstance(profile, str) else Profile.model_validate(profile).name
    return f"{name} seed {SeedOf.model_validate(seed).number}" if seed else name


@flow(
    name="touchstone",
    flow_run_name=_run_name,
    description="Download, tokenize, pretrain, fine-tune, generate, judge, promote, report",
    persist_result=False,
    **CRASH_HOOKS,
)
def pipeline(
    profile: Annotated[
        str | Profile,
        Field(
            title="Profile", description="the name of a profile, a YAML file of the worker's, or all of it"
        ),
    ] = "quickstart",
    overrides: Annotated[
        Sequence[str],
        Field(title="Overrides", description="settings of a named profile: pretrain.steps=500"),
    ] = (),
    mirror: Annotated[
        str | None,
        Field(title="Mirror", description="folder or address where every download looks first"),
    ] = None,
    refresh: Annotated[
        Sequence[str],
        Field(title="Refresh", description="stages to do again though they were done; or all"),
    ] = (),
    pools: Annotated[
        Pools | None,
        Field(title="Work pools", description="send training and generation to gpu-pool; none: all here"),
    ] = None,
    seed: Annotated[
        SeedOf | None,
        Field(title="Seed", description="which of several trainings of the profile this is; none: all"),
    ] = None,
) -> State | dict[str, Any]:
    """Run a profile; stages that were done before with the same inputs are not done again.

    A profile with several `seeds` is run with each, as runs of this flow below this one.
    Returns the summary that `touchstone run --json` prints, or a failed state with the reason.
    """
    started = time.monotonic()
    try:
        loaded = _loaded(profile, overrides, mirror).with_commits()
        again = stages_to_refresh(refresh, loaded.stages())
        load_secrets()
        if loaded.instructions:
            find_judges(loaded.judge)  # before anything takes time
        if len(trainings := trainings_of(loaded)) > 1:
            return run_seeds(pipeline, before_training, loaded, trainings, again, pools, started)
        (one,) = trainings
        settings, group = one.profile.model_dump(mode="json"), seed.group if seed else None
        name = f"{loaded.name} seed {seed.number}" if seed else loaded.name
        with pipeline_run(
            name, settings, again, pools=pools, reuse=loaded.reuse, profile=loaded.name, group=group
        ) as chain:
            made, audited = stages(chain, one.profile)
            return conclude(chain, loaded, made, audited, started)
    except TouchstoneError as error:
        return failed(error)


def _loaded(profile: str | Profile, overrides: Sequence[str], mirror: str | None) -> Profile:
    if isinstance(profile, str):
        return load_profile(profile, overrides, mirror)
    if overrides or mirror:
        raise UsageError("overrides and a mirror go with the name of a profile, not with a whole one")
    return profile


def stages(chain: PipelineRun, profile: Profile) -> tuple[dict[str, Reference], Audits]:
    """The DAG, in the order in which things happen.

    Returns what the report card was made from, and it; and the audits of the judges, which come before
    training: who is not to be believed is known before anything has taken hours.
    """
    made, audited = before_training(chain, profile)
    if not profile.base:
        made["base"] = chain.run("pretrain", profile.pretrain, tokens=made["tokens"])
    if profile.instructions:
        made |= tune_and_judge(chain, profile, made, audited)
    if profile.labelled:
        made |= classify(chain, profile, made)
    return made | {"report": chain.run("report", profile.report, **made)}, audited


def before_training(chain: PipelineRun, profile: Profile) -> tuple[dict[str, Reference], Audits]:
    """What does not depend on a seed of training, and is known before anything has taken hours."""
    made, audited = prepare(chain, profile), {}
    if profile.has_rows:
        prove_rows(chain, profile, made)
    if profile.instructions:
        audited = audits(chain, profile.judge, made["rows"])
    return made, audited


def prepare(chain: PipelineRun, profile: Profile) -> dict[str, Reference]:
    """Every stage before training: corpus, rows, a base model that is imported, tokens; what there is."""
    made = {}
    if profile.corpus:
        made["corpus"] = chain.run("download", profile.corpus, "download corpus")
    for name in ("instructions", "labelled"):
        if source := getattr(profile, name):
            made[name] = chain.run("download", source, "download rows")
            made["rows"] = chain.run("rows", profile.rows, source=made[name])
    if profile.base:
        return made | {"base": chain.run("base", with_version(chain.tracking, profile.base))}
    texts = {"corpus": made["corpus"]} if profile.corpus else {"rows": made["rows"]}
    if profile.tokenize.include_rows:
        texts["rows"] = made["rows"]
    if profile.vocabulary:
        texts["vocabulary"] = chain.run("download", profile.vocabulary, "download vocabulary")
    return made | {"tokens": chain.run("tokenize", profile.tokenize, **texts)}


def prove_rows(chain: PipelineRun, profile: Profile, made: dict[str, Reference]) -> None:
    """What can be known of the rows before anything is trained: that each fits, and what the proofs say."""
    inputs = {name: made[name] for name in ("tokens", "rows", "base") if name in made}
    chain.run("preflight", profile.proofs(rows_only=True), "preflight rows", **inputs)


def tune_and_judge(
    chain: PipelineRun, profile: Profile, made: dict[str, Reference], audited: Audits
) -> dict[str, Reference]:
    """What instruction rows are for: tuned models, the responses and scores of each, a promotion."""
    rows, base, read = made["rows"], made["base"], _read_before(made)
    models = {"base": base, "tuned": chain.run("finetune", profile.finetune, base=base, rows=rows, **read)}
    if profile.dpo:
        models["preferred"] = chain.run("dpo", profile.dpo, tuned=models["tuned"], rows=rows)
    under = _adapted(profile, models)
    judged = {}
    for name, model in models.items():
        label = MODELS[name]
        responses = chain.run(
            "generate", profile.generate, f"generate {label}", model=model, rows=rows, **under.get(name, {})
        )
        scores = chain.run("judge", profile.judge, f"judge {label}", responses=responses, **audited)
        judged |= {f"{name}_responses": responses, f"{name}_scores": scores}
        if labels := labels_output(chain, responses, f"labels {label}"):
            judged[f"{name}_labels"] = labels
    *before, (name, model) = models.items()
    scores = judged[f"{name}_scores"]
    inputs = {"model": model, "rows": rows, "scores": scores, **_origin(made | dict(before))}
    promotion = promote(chain, profile, audited, inputs, judged.get(f"{name}_labels"))
    return {name: models[name] for name in models if name != "base"} | judged | {"promotion": promotion}


def _read_before(made: dict[str, Reference]) -> dict[str, Reference]:
    """What the base model was pretrained on, in which no tested row may stand; nothing of an imported one."""
    return {"tokens": made["tokens"]} if "tokens" in made else {}


def _origin(made: dict[str, Reference]) -> dict[str, Reference]:
    """What a model comes from, which the registry names and whose proofs count; what there is of it."""
    return {name: made[name] for name in ("corpus", "tokens", "base", "tuned") if name in made}


def _required_labels(profile: Profile, labels: Reference | None) -> dict[str, Reference]:
    """The labels that a promotion is decided on: only where it requires some does it wait for them."""
    return {"labels": labels} if labels and profile.promote.require_labels else {}


def _adapted(profile: Profile, models: dict[str, Reference]) -> dict[str, dict[str, Reference]]:
    """For a model of adapters alone, the model that they were trained on."""
    under = {}
    if profile.finetune.keeps_adapters:
        under["tuned"] = {"base": models["base"]}
    if profile.dpo and profile.dpo.keeps_adapters:
        under["preferred"] = {"base": models["tuned"]}
    return under


def classify(chain: PipelineRun, profile: Profile, made: dict[str, Reference]) -> dict[str, Reference]:
    """What labelled texts are for: a classifier with its evaluation, and a promotion."""
    rows, base = made["rows"], made["base"]
    classifier = chain.run("classify", profile.classify, base=base, rows=rows, **_read_before(made))
    inputs = {"model": classifier, "rows": rows, "scores": classifier, **_origin(made)}
    promotion = promote(chain, profile, {}, inputs)
    return {"classifier": classifier, "promotion": promotion}


def promote(
    chain: PipelineRun,
    profile: Profile,
    audited: Audits,
    inputs: dict[str, Reference],
    labels: Reference | None = None,
) -> Reference:
    """The model in the registry; a champion that was scored under other conditions is scored anew first."""
    inputs = inputs | _required_labels(profile, labels)
    settings = (profile.promote, inputs, profile.generate, profile.judge, audited)
    return chain.run("promote", profile.promote, **inputs, **champion_inputs(chain, *settings))


def conclude(
    chain: PipelineRun, profile: Profile, made: dict[str, Reference], audited: Audits, started: float
) -> dict[str, Any]:
    """Put the scores on the pipeline's run and the card into Prefect; returns the summary.

    Raises RefusedError when a judge failed its audit: the card and the summary are there all the same.
    """
    scores = _scores(chain, made)
    client = chain.tracking.client
    for entry in scores:
        if entry["mean"] is not None:
            name = f"{entry['model']}.{entry['scorer'].replace(':', '_')}.mean"
            client.log_metric(chain.run_id, name, entry["mean"])
    report = _read(chain, made["report"], "report.json")
    cost = json.loads(read_auxiliary(made["report"], "cost.json"))
    create_markdown_artifact(
        as_markdown(report, cost), key=f"report-{profile.name}", description="Report card"
    )
    if scores:
        create_table_artifact(score_rows(report), key=f"scores-{profile.name}", description="Scores")
    told = {
        "profile": profile.name,
        "scores": scores,
        "model": _model(chain, made["promotion"]) if "promotion" in made else None,
        "report": made["report"].uri + f"/{AUXILIARY}/report.html",
    }
    return finished(chain, started, told, refusal(chain, audited, profile.judge))


def _scores(chain: PipelineRun, made: dict[str, Reference]) -> list[dict[str, Any]]:
    """An entry for each model and scorer; a classifier's baselines count as models."""
    found = [
        entry
        for model, label in MODELS.items()
        if f"{model}_scores" in made
        for entry in score_entries(label, _read(chain, made[f"{model}_scores"], "scores.json"))
    ]
    if "classifier" in made:
        own, *_ = score_entries("fine-tuned", _read(chain, made["classifier"], "scores.json"))
        evaluation = _read(chain, made["classifier"], "evaluation.json")
        for baseline in evaluation["baselines"]:
            points = {name: 100 * share for name, share in baseline["accuracy"].items()}
            found.append(own | {"model": baseline["name"]} | points)
        found.append(own)
    return found


def _model(chain: PipelineRun, promotion: Reference) -> dict[str, Any]:
    """The registered version; `champion` is as of now: another may have taken its place since."""
    made = _read(chain, promotion, PROMOTION)
    champion = champion_of(chain.tracking, made["name"])
    return {
        "name": made["name"],
        "version": made["version"],
        "champion": champion is not None and int(champion.version) == made["version"],
        "decision": made["reason"],
        "sealed_mean": made["sealed_mean"],
        "openings": made["openings"],
        "budget_left": made["budget_left"],
    }


def _read(chain: PipelineRun, reference: Reference, name: str) -> Any:
    return read_output(chain.tracking, reference, name)
