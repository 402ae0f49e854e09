"""The whole road, from text and rows to a judged model in the registry.

Without rows it ends after pretraining, with a report.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Annotated, Any

from prefect import State, flow
from prefect.runtime import flow_run
from pydantic import Field

from flows.benchmarking.stages import Suite, read_suite
from flows.conclusion import Audits, Outputs, conclude
from flows.dispatch.cards import labels_output
from flows.dispatch.pipeline_run import PipelineRun, pipeline_run
from flows.dispatch.runs import read_output
from flows.exporting.exporting import export_model
from flows.exporting.sources import CARD
from flows.judging import reward_models
from flows.judging.audits import audits, reward_audits
from flows.judging.judging import find_judges
from flows.judging.rescoring import champion_inputs
from flows.process.flow_body import flow_body
from flows.profiles.load import ProfileFile, ProfileName, load_profile
from flows.profiles.profile import Profile
from flows.profiles.seeds import SeedOf, trainings_of
from flows.seeds import run_seeds
from flows.server.pools import Pools
from flows.server.readiness import stages_to_refresh
from flows.server.reaper import CRASH_HOOKS
from flows.synthesizing.models import find_models
from flows.synthesizing.stages import synthesized
from tasks.errors import UsageError
from tasks.export.deliver import require_places
from tasks.models import CLASSIFIER, MODELS, STARTS_FROM, TRAININGS
from tasks.record.work import Reference
from tasks.registry.promotion import Promotion
from tasks.registry.resolve import with_version
from tasks.reinforce.rewards import require_functions


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
@flow_body
def pipeline(
    profile: Annotated[
        ProfileName | ProfileFile | Profile,
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
    loaded = reward_models.with_digests(_loaded(profile, overrides, mirror).with_commits())
    again = stages_to_refresh(refresh, loaded.stages())
    if loaded.synthesize:
        find_models(loaded.synthesize)  # before anything takes time
    if loaded.is_tuned:
        find_judges(loaded.judge)
    if loaded.grpo:
        require_functions(loaded.grpo)
    if loaded.reward_judges:
        find_judges(loaded.reward_judges, "find reward judges")
    if loaded.export:
        require_places(loaded.export)
    if len(trainings := trainings_of(loaded)) > 1:
        return run_seeds(pipeline, before_training, loaded, trainings, again, pools)
    (one,) = trainings
    group = seed.group if seed else None
    name = f"{loaded.name} seed {seed.number}" if seed else loaded.name
    with pipeline_run(
        name, one.profile, again, pools=pools, reuse=loaded.reuse, profile=loaded.name, group=group
    ) as run:
        made, audited = stages(run, one.profile)
        return conclude(run, loaded, made, audited)


def _loaded(profile: str | Profile, overrides: Sequence[str], mirror: str | None) -> Profile:
    if isinstance(profile, str):
        return load_profile(profile, overrides, mirror)
    if overrides or mirror:
        raise UsageError("overrides and a mirror go with the name of a profile, not with a whole one")
    return profile


@dataclass(frozen=True)
class Prepared:
    """What there is before training; None stands for what the profile does without."""

    corpus: Reference | None = None
    source: Reference | None = None
    """Of the rows."""
    synthesis: Reference | None = None
    """Rows that a language model made."""
    rows: Reference | None = None
    base: Reference | None = None
    """A model that is imported."""
    tokens: Reference | None = None
    """What a model is pretrained on."""
    suite: Suite | None = None
    """What models are asked beside the test rows."""
    audits: Audits = field(default_factory=dict)
    reward_audits: Audits = field(default_factory=dict)
    """Of the judges among the rewards."""
    reward_models: Outputs = field(default_factory=dict)
    """Those among the rewards that were trained before, by the names of inputs."""


@dataclass(frozen=True)
class Judged:
    """A model's responses to the test rows, their scores, and people's labels of them if there are any."""

    responses: Reference | None = None
    scores: Reference | None = None
    labels: Reference | None = None

    def named(self, model: str) -> Outputs:
        return {
            f"{model}_responses": self.responses,
            f"{model}_scores": self.scores,
            f"{model}_labels": self.labels,
        }


def prepare(run: PipelineRun, profile: Profile) -> Prepared:
    """Every stage before the checks: what training reads, and what it starts from."""
    corpus = source = synthesis = rows = base = vocabulary = tokens = None
    if profile.corpus:
        corpus = run.stage("download", profile.corpus, "download corpus")
    if given := profile.instructions or profile.labelled:
        source = run.stage("download", given, "download rows")
    if profile.synthesize:
        synthesis = synthesized(run, profile.synthesize, corpus, profile.given, profile.rows.columns)
    if profile.has_rows:
        rows = run.stage("rows", profile.reading_rows, source=source, synthetic=synthesis)
    if profile.base:
        words = rows if profile.base.is_random else None  # which its tokenizer is trained on
        base = run.stage("base", with_version(run.tracking, profile.base), rows=words)
    if profile.vocabulary:
        vocabulary = run.stage("download", profile.vocabulary, "download vocabulary")
    if not profile.base:
        texts = rows if profile.tokenize.include_rows or not corpus else None
        tokens = run.stage("tokenize", profile.tokenizing, corpus=corpus, rows=texts, vocabulary=vocabulary)
    suite = read_suite(run, profile.benchmark) if profile.benchmark else None
    return Prepared(corpus, source, synthesis, rows, base, tokens, suite)


def checked(run: PipelineRun, profile: Profile) -> Prepared:
    """What training reads: rows that fit and were checked, and judges that are believed as rewards."""
    models = reward_models.find(run.tracking, profile)
    ready = replace(prepare(run, profile), reward_models=models)
    if profile.has_rows:
        inputs = {"tokens": ready.tokens, "rows": ready.rows, "base": ready.base}
        run.stage("preflight", profile.checks(rows_only=True), "preflight rows", **inputs)
    if profile.is_tuned:
        return replace(ready, reward_audits=reward_audits(run, profile.reward_judges, ready.rows))
    return ready


def before_training(run: PipelineRun, profile: Profile) -> Prepared:
    """What does not depend on a seed of training, and is known before anything has taken hours.

    That each row fits, what the checks say of them, and which judges are not to be believed.
    """
    ready = checked(run, profile)
    if profile.is_tuned:
        return replace(ready, audits=audits(run, profile.judge, ready.rows))
    return ready


def stages(run: PipelineRun, profile: Profile) -> tuple[Outputs, Audits]:
    """The DAG, in the order in which things happen.

    Returns what the report card was made from, and it; and the audits of the judges.
    """
    ready = before_training(run, profile)
    base = ready.base or run.stage("pretrain", profile.pretraining, tokens=ready.tokens)
    classifier = promotion = None
    rewarding: Outputs = {}
    trained = {"base": base}
    judged: dict[str, Judged] = {}
    asked = {"base": ready.suite.asked_of(run, base, "base")} if ready.suite else {}

    if profile.is_tuned:
        models, rewarding = train(run, profile, ready, base)
        trained |= models
        before = {after: model for model, after in pairwise(trained)}
        for model, reference in trained.items():
            kept = model in TRAININGS and getattr(profile, TRAININGS[model]).keeps_adapters
            under = trained[before[model]] if kept else None
            judged[model] = judge(run, profile, ready, model, reference, under)
            if ready.suite and model not in asked:
                asked[model] = ready.suite.asked_of(run, reference, MODELS[model], under)
        earlier, last = dict(trained), next(reversed(trained))
        promotion = promote(run, profile, ready, earlier.pop(last), judged[last], **earlier)
    if profile.labelled:
        classifier = run.stage("classify", profile.classify, base=base, rows=ready.rows, tokens=ready.tokens)
        promotion = promote(run, profile, ready, classifier, Judged(scores=classifier), base=base)

    made = {
        "corpus": ready.corpus,
        "instructions": (ready.source or ready.synthesis) if profile.is_tuned else None,
        "synthesis": ready.synthesis,
        "labelled": ready.source if profile.labelled else None,
        "rows": ready.rows,
        "tokens": ready.tokens,
        **{model: trained.get(model) for model in MODELS},
        **rewarding,
        "classifier": classifier,
        **{f"{model}_benchmark": results for model, results in asked.items()},
        **{name: own for model in MODELS for name, own in judged.get(model, Judged()).named(model).items()},
        "promotion": promotion,
    }
    if profile.export and profile.promote.eligible:  # of several seeds the first alone leaves
        made["export"] = export(run, profile, made)
    return made | {"report": run.stage("report", profile.report, **made)}, ready.audits


def train(
    run: PipelineRun, profile: Profile, ready: Prepared, base: Reference
) -> tuple[dict[str, Reference], Outputs]:
    """The models that are trained one from another, in the order of training; and what is of rewards."""
    made: dict[str, Reference] = {}
    rewarding, last = {}, base
    for model, stage in TRAININGS.items():
        if config := profile.trainings.get(stage):
            inputs = {STARTS_FROM[stage]: last, "rows": ready.rows}
            if stage == "finetune":
                inputs["tokens"] = ready.tokens
            if stage == "grpo":
                inputs |= ready.reward_audits | reward_models.inputs(config, ready.reward_models, rewarding)
            made[model] = last = run.stage(stage, config, **inputs)
        if stage == "finetune" and profile.reward:
            rewarding = reward_models.train(run, profile, last, ready.rows)
    return made, rewarding


def judge(
    run: PipelineRun,
    profile: Profile,
    ready: Prepared,
    name: str,
    model: Reference,
    adapter_base: Reference | None = None,
) -> Judged:
    """Generate a model's responses, and score them; `adapter_base` is what adapters alone were trained on."""
    label, rows = MODELS[name], ready.rows
    responses = run.stage(
        "generate", profile.generate, f"generate {label}", model=model, rows=rows, base=adapter_base
    )
    scores = run.stage("judge", profile.judge, f"judge {label}", responses=responses, **ready.audits)
    return Judged(responses, scores, labels_output(run, responses, f"labels {label}"))


def promote(
    run: PipelineRun,
    profile: Profile,
    ready: Prepared,
    model: Reference,
    judged: Judged,
    **trained: Reference,
) -> Reference:
    """The model in the registry; a champion that was scored under other conditions is scored anew first.

    `trained` are the models that it comes from. Only a promotion that requires labels waits for them.
    """
    inputs = {
        "model": model,
        "rows": ready.rows,
        "scores": judged.scores,
        "labels": judged.labels if profile.promote.require_labels else None,
        "corpus": ready.corpus,
        "tokens": ready.tokens,
        **trained,
    }
    champion = champion_inputs(run, profile.promote, inputs, profile.generate, profile.judge, ready.audits)
    return run.stage("promote", profile.promote, **inputs, **champion)


def export(run: PipelineRun, profile: Profile, made: Outputs) -> Reference:
    """The last model that was trained as files; its model card is made from a card without them."""
    *earlier, last = [name for name in (*MODELS, CLASSIFIER) if made[name]]
    under = earlier[-1] if last in TRAININGS else None
    promotion = _read(run, made["promotion"], Promotion.read) if made["promotion"] else None
    inputs = {
        "model": made[last],
        "base": made[under] if under else None,
        "rows": made["rows"] if last in MODELS else None,
        "responses": made.get(f"{last}_responses"),
        "scores": made.get(f"{last}_scores"),
        "report": run.stage("report", profile.report, CARD, **made),
    }
    version = (promotion.name, promotion.version) if promotion else None
    name = f"{version[0]}-v{version[1]}" if version else profile.name
    return export_model(run, profile.export, inputs, version, name)[0]


def _read(run: PipelineRun, reference: Reference, read: Callable[[Path], Any]) -> Any:
    return read_output(run.tracking, reference, read)
