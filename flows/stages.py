"""Every stage, declared once, in the order in which a pipeline runs them.

What follows from it is derived: the stage's flow and its form (flows/dispatch), the pool that it goes to and
its deployments there (flows/server), the stages that a profile calls for and the settings that it may hold
(flows/profiles), what `--refresh` takes. Nothing heavy is imported here.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.config import (
    AuditConfig,
    BaseConfig,
    BenchmarkConfig,
    ClassifyConfig,
    CompareConfig,
    DownloadConfig,
    DpoConfig,
    ExportConfig,
    FinetuneConfig,
    GenerateConfig,
    GrpoConfig,
    JudgeConfig,
    LabelsConfig,
    LossesConfig,
    PredictConfig,
    PreflightConfig,
    PretrainConfig,
    PromoteConfig,
    RegisterConfig,
    ReportConfig,
    ResponsesConfig,
    RewardModelConfig,
    RowsConfig,
    SeedsConfig,
    SeriesConfig,
    SuiteConfig,
    SweepConfig,
    SynthesizeConfig,
    TokenizeConfig,
    ValidateConfig,
)
from tasks.record.work import Stage, always

# A version is raised when its stage comes to mean something else: every older record is then a miss.
STAGES = {
    stage.name: stage
    for stage in (
        Stage(
            "download",
            5,
            "tasks.download.stage:download",
            DownloadConfig,
            "Verified files from mirrors, addresses, folders and hubs",
            runs_in=lambda profile: profile.has_rows or not profile.base or profile.benchmark,
            fingerprints="tasks.download.stage:fingerprints",
        ),
        Stage(
            "synthesize",
            1,
            "tasks.synthesize.stage:synthesize",
            SynthesizeConfig,
            "Rows that a language model makes, filtered",
            runs_in=lambda profile: profile.synthesize,
            pool="as configured",
            fingerprints="tasks.synthesize.identities:fingerprints",
        ),
        Stage(
            "rows",
            10,
            "tasks.rows:rows",
            RowsConfig,
            "Rows to fine-tune on, read and split without leaks",
            runs_in=lambda profile: profile.has_rows,
        ),
        Stage(
            "base",
            2,
            "tasks.registry.import_model:base",
            BaseConfig,
            "A pretrained model with its tokenizer, imported",
            runs_in=lambda profile: profile.base,
            fingerprints="tasks.registry.resolve:fingerprints",
        ),
        Stage(
            "tokenize",
            5,
            "tasks.tokenize.stage:tokenize",
            TokenizeConfig,
            "A tokenizer, and the corpus as tokens",
            runs_in=lambda profile: not profile.base,
            fingerprints="tasks.record.content:of_tokenizer",
        ),
        Stage(
            "suite",
            1,
            "tasks.benchmark.suite:suite",
            SuiteConfig,
            "The tasks of a benchmark with their rows, read and checked",
            runs_in=lambda profile: profile.benchmark,
            fingerprints="tasks.benchmark.catalogue:fingerprints",
        ),
        Stage(
            "preflight",
            4,
            "tasks.preflight.profile.stage:preflight",
            PreflightConfig,
            "The checks before training, without the training",
            runs_in=lambda profile: profile.has_rows,
            fingerprints="tasks.record.content:of_preflight",
        ),
        Stage(
            "audit",
            5,
            "tasks.judge.audit.stage:audit",
            AuditConfig,
            "A judge asked about answers of known worth: is it to be believed?",
            runs_in=lambda profile: profile.is_tuned and (profile.judge.judges or profile.reward_judges),
            pool="as configured",
            fingerprints="tasks.judge.ask.identities:fingerprints",
        ),
        Stage(
            "pretrain",
            4,
            "tasks.pretrain.stage:pretrain",
            PretrainConfig,
            "A GPT trained from random weights on the tokens",
            runs_in=lambda profile: not profile.base,
            pool="gpu",
            fingerprints="tasks.record.content:of_model",
        ),
        Stage(
            "finetune",
            7,
            "tasks.finetune.sft:finetune",
            FinetuneConfig,
            "The base model trained on the completions of the rows",
            runs_in=lambda profile: profile.is_tuned,
            pool="gpu",
        ),
        Stage(
            "reward",
            1,
            "tasks.reward_models.stage:reward",
            RewardModelConfig,
            "A model that says what a response is worth, trained on pairs",
            runs_in=lambda profile: profile.is_tuned and profile.reward,
            pool="gpu",
        ),
        Stage(
            "register",
            1,
            "tasks.registry.reward_version:register",
            RegisterConfig,
            "The reward model in the registry, as a version of its own kind",
            runs_in=lambda profile: profile.is_tuned and profile.reward,
            holds="tasks.registry.reward_version:still_registered",
        ),
        Stage(
            "dpo",
            4,
            "tasks.finetune.dpo:dpo",
            DpoConfig,
            "The fine-tuned model trained to prefer the chosen to the rejected",
            runs_in=lambda profile: profile.is_tuned and profile.dpo,
            pool="gpu",
        ),
        Stage(
            "grpo",
            1,
            "tasks.reinforce.stage:grpo",
            GrpoConfig,
            "The fine-tuned model trained on rewards of what it writes",
            runs_in=lambda profile: profile.is_tuned and profile.grpo,
            pool="gpu",
            fingerprints="tasks.reinforce.judged:fingerprints",
        ),
        Stage(
            "classify",
            5,
            "tasks.classify.stage:classify",
            ClassifyConfig,
            "The base model with a head that gives a text its label",
            runs_in=lambda profile: profile.labelled,
            pool="gpu",
        ),
        Stage(
            "predict",
            1,
            "tasks.classify.predicting:predict",
            PredictConfig,
            "A trained classifier's labels of other test rows",
            runs_in=lambda profile: profile.labelled,
            pool="gpu",
        ),
        Stage(
            "generate",
            3,
            "tasks.generate:generate",
            GenerateConfig,
            "A model's responses to the test rows",
            runs_in=lambda profile: profile.is_tuned,
            pool="as configured",
            fingerprints="tasks.servers.served_model:fingerprints",
        ),
        Stage(
            "judge",
            8,
            "tasks.judge.score.stage:judge",
            JudgeConfig,
            "Scores for responses: metrics, and a judge if asked for",
            runs_in=lambda profile: profile.is_tuned,
            pool="as configured",
            fingerprints="tasks.judge.ask.identities:fingerprints",
        ),
        Stage(
            "benchmark",
            1,
            "tasks.benchmark.stage:benchmark",
            BenchmarkConfig,
            "A model's accuracy on tasks of lm-eval and on questions of one's own",
            runs_in=lambda profile: profile.benchmark,
            pool="gpu",
            fingerprints="tasks.benchmark.catalogue:fingerprints",
        ),
        Stage(
            "labels",
            1,
            "tasks.judge.labels.stage:labels",
            LabelsConfig,
            "People's labels of responses, as they are now",
            fingerprints="tasks.judge.labels.stage:fingerprints",
        ),
        Stage(
            "promote",
            7,
            "tasks.registry.promote.stage:promote",
            PromoteConfig,
            "The model in the registry, champion if its scores earn that",
            runs_in=lambda profile: profile.has_rows,
            holds="tasks.registry.versions:still_registered",
        ),
        Stage(
            "export",
            1,
            "tasks.export.stage:export",
            ExportConfig,
            "A model as files that other programs read, checked by reading them back",
            runs_in=lambda profile: profile.export,
            pool="gpu",
            fingerprints="tasks.export.tools:fingerprints",
        ),
        Stage(
            "report",
            10,
            "tasks.report:report",
            ReportConfig,
            "The report card",
            runs_in=always,
        ),
        Stage(
            "seeds",
            1,
            "tasks.seeds.stage:seeds",
            SeedsConfig,
            "What several trainings of one recipe show of it",
        ),
        Stage(
            "validate",
            3,
            "tasks.sweep.validating:validate",
            ValidateConfig,
            "A trained model's number on validation rows, one by one",
            pool="gpu",
        ),
        Stage(
            "sweep",
            2,
            "tasks.sweep.stage:sweep",
            SweepConfig,
            "What trials of settings show, and how far the best of them is luck",
        ),
        Stage(
            "series",
            2,
            "tasks.series.stage:series",
            SeriesConfig,
            "How loss falls with size, and whether that foretells the largest",
        ),
        Stage(
            "responses",
            3,
            "tasks.rows.imported_responses:responses",
            ResponsesConfig,
            "Responses that another tool wrote, as this one writes them",
        ),
        Stage(
            "compare",
            5,
            "tasks.judge.compare.stage:compare",
            CompareConfig,
            "Two models' responses to the same rows, row by row",
            pool="as configured",
            fingerprints="tasks.judge.ask.identities:fingerprints",
        ),
        Stage(
            "losses",
            1,
            "tasks.pretrain.losses:losses",
            LossesConfig,
            "Two pretrained models' losses on the same text",
            pool="gpu",
        ),
    )
}

CPU, GPU = "cpu", "gpu"  # kinds of pools
STAGE_TAGS = ("touchstone", "stage")  # of their deployments
FLOWS = "flows.dispatch.stage_flows"  # the module that has each stage's flow under the stage's name


def with_stage_deployments(content: dict[str, Any]) -> dict[str, Any]:
    """The content of prefect.yaml with a deployment for each stage and each pool that it may run on.

    They go to `definitions.stage_pools`; content without those, which is a mistake, is left as it is.
    """
    definitions = content.get("definitions")
    pools = definitions.get("stage_pools") if isinstance(definitions, dict) else None
    written = content.get("deployments")
    if not (isinstance(pools, dict) and pools.keys() >= {CPU, GPU} and isinstance(written, list)):
        return content
    return content | {"deployments": [*written, *_stage_deployments(pools)]}


def deployment_name(stage: Stage, kind: str) -> str:
    """`stage-pretrain-gpu`: Prefect's UI sorts deployments by name, and a person starts pipelines."""
    return f"stage-{stage.name}-{kind}"


def _stage_deployments(pools: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for stage in STAGES.values():
        for kind in (CPU, GPU) if stage.pool == "as configured" else (stage.pool,):
            yield {
                "name": deployment_name(stage, kind),
                "entrypoint": f"{FLOWS}.{stage.name}",
                "description": stage.description,
                "tags": list(STAGE_TAGS),
                "work_pool": pools[kind],
            }
