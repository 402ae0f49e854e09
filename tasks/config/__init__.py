"""One frozen model per stage. What is here, with the inputs, decides a stage's result.

A field marked `OUTSIDE_KEY` cannot change the result (where a file is fetched from), or is resolved before it
does (which device computes, see `tasks/record/compute.py`), so it takes no part in the stage's key: see
`tasks/record/stage.py`.
"""

from tasks.config.base import (
    OUTSIDE_KEY,
    Device,
    Fraction,
    Positive,
    PreflightMode,
    Reuse,
    Seed,
    StageConfig,
)
from tasks.config.benchmark import BenchmarkConfig, SuiteConfig
from tasks.config.criteria import Criterion, on, parts_of
from tasks.config.data import (
    DownloadConfig,
    Malformed,
    RowFormat,
    RowsConfig,
    Source,
    TokenizeConfig,
    source_from_text,
)
from tasks.config.exporting import FORMATS, ExportConfig, ExportFormat
from tasks.config.gates import Gate, GatesConfig
from tasks.config.importing import REGISTERED, BaseConfig
from tasks.config.judging import (
    PANEL,
    AskConfig,
    AuditConfig,
    CompareConfig,
    JudgeConfig,
    LabelsConfig,
    ResponsesConfig,
)
from tasks.config.losses import LossesConfig, PretrainedConfig
from tasks.config.makers import MAKERS, Maker
from tasks.config.mixtures import MixturePhase, shares_of
from tasks.config.pools import Pools
from tasks.config.preflight import PreflightConfig
from tasks.config.pretraining import LLAMA_SIZES, SIZES, PretrainConfig
from tasks.config.reward_models import RegisterConfig, RewardModelConfig
from tasks.config.rewards import MODEL, MODEL_INPUT, GrpoConfig, RewardConfig
from tasks.config.scoring import GenerateConfig, PredictConfig, PromoteConfig, ReportConfig
from tasks.config.seeds import SeedRun, Seeds, SeedsConfig
from tasks.config.series import SeriesConfig, SeriesRung
from tasks.config.sweeping import Direction, Sampler, SweepConfig, SweepDimension, SweepTrial, ValidateConfig
from tasks.config.synthesis import SynthesisKind, SynthesizeConfig, WriterConfig
from tasks.config.tuning import (
    ClassifyConfig,
    DpoConfig,
    FinetuneConfig,
    LoraConfig,
    ScoredTuningConfig,
    TemplateName,
    TuningConfig,
)

__all__ = [
    "FORMATS",
    "LLAMA_SIZES",
    "MAKERS",
    "MODEL",
    "MODEL_INPUT",
    "OUTSIDE_KEY",
    "PANEL",
    "REGISTERED",
    "SIZES",
    "AskConfig",
    "AuditConfig",
    "BaseConfig",
    "BenchmarkConfig",
    "ClassifyConfig",
    "CompareConfig",
    "Criterion",
    "Device",
    "Direction",
    "DownloadConfig",
    "DpoConfig",
    "ExportConfig",
    "ExportFormat",
    "FinetuneConfig",
    "Fraction",
    "Gate",
    "GatesConfig",
    "GenerateConfig",
    "GrpoConfig",
    "JudgeConfig",
    "LabelsConfig",
    "LoraConfig",
    "LossesConfig",
    "Maker",
    "Malformed",
    "MixturePhase",
    "Pools",
    "Positive",
    "PredictConfig",
    "PreflightConfig",
    "PreflightMode",
    "PretrainConfig",
    "PretrainedConfig",
    "PromoteConfig",
    "RegisterConfig",
    "ReportConfig",
    "ResponsesConfig",
    "Reuse",
    "RewardConfig",
    "RewardModelConfig",
    "RowFormat",
    "RowsConfig",
    "Sampler",
    "ScoredTuningConfig",
    "Seed",
    "SeedRun",
    "Seeds",
    "SeedsConfig",
    "SeriesConfig",
    "SeriesRung",
    "Source",
    "StageConfig",
    "SuiteConfig",
    "SweepConfig",
    "SweepDimension",
    "SweepTrial",
    "SynthesisKind",
    "SynthesizeConfig",
    "TemplateName",
    "TokenizeConfig",
    "TuningConfig",
    "ValidateConfig",
    "WriterConfig",
    "on",
    "parts_of",
    "shares_of",
    "source_from_text",
]
