"""Configuration of the preflight, which knows every training."""

from typing import Annotated

from pydantic import Field

from tasks.config.base import KEYED_IF_SET, StageConfig
from tasks.config.pretraining import PretrainConfig
from tasks.config.reward_models import RewardModelConfig
from tasks.config.rewards import GrpoConfig
from tasks.config.tuning import ClassifyConfig, DpoConfig, FinetuneConfig


class PreflightConfig(StageConfig):
    """The checks before training, without the training: what is to be trained how."""

    pretrain: PretrainConfig = PretrainConfig()
    rows_only: Annotated[
        bool,
        Field(description="check the rows alone, for which the context is all that matters of pretraining"),
    ] = False
    finetune: FinetuneConfig | None = None
    reward: Annotated[RewardModelConfig | None, KEYED_IF_SET] = None
    dpo: DpoConfig | None = None
    grpo: Annotated[GrpoConfig | None, KEYED_IF_SET] = None
    classify: ClassifyConfig | None = None
