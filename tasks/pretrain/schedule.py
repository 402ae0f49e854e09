"""How the learning rate moves over a training."""

import math

from tasks.config import PretrainConfig


def lr_multiplier(config: PretrainConfig, step: int) -> float:
    """The share of the highest learning rate that a step is taken with; `step` counts from 0.

    Linear warm-up to 1. Then, cosine: half a cosine to the lowest share, reached at the last step. wsd
    (warm up, stay, decay; Hu et al. 2024, MiniCPM): 1 until the last `decay` share of the steps, then
    linearly to the lowest share.
    """
    if step < config.warmup:
        return (step + 1) / config.warmup
    low = min_lr_ratio(config)
    last = config.steps - 1
    if config.schedule == "cosine":
        through = (step - config.warmup) / max(1, last - config.warmup)
        return low + (1 - low) * (1 + math.cos(math.pi * through)) / 2
    falling = config.decay_steps
    return 1 - (1 - low) * max(0.0, (step - (last - falling)) / falling)


def min_lr_ratio(config: PretrainConfig) -> float:
    """The lowest learning rate as a share of the highest; a tenth unless configured."""
    if config.min_learning_rate is None:
        return 0.1
    return config.min_learning_rate / config.learning_rate
