"""How large each model of a series is, and how long it is trained."""

import torch

from tasks.config import PretrainConfig, SeriesRung
from tasks.models.architectures import ARCHITECTURES


def parameters_of(config: PretrainConfig, vocab_size: int) -> int:
    """The parameters that a model has which is pretrained from settings; none of them is made."""
    with torch.device("meta"):
        model = ARCHITECTURES[config.architecture].from_settings(config, vocab_size, 0)
    return sum(parameter.numel() for parameter in model.parameters())


def rung_of(
    config: PretrainConfig, vocab_size: int, tokens_per_parameter: float | None, flops: float | None
) -> SeriesRung:
    """The steps nearest to what is asked: tokens a parameter, or FLOPs (6 a parameter and token).

    Of less than one step there is one.
    """
    parameters = parameters_of(config, vocab_size)
    asked = tokens_per_parameter * parameters if tokens_per_parameter else flops / (6 * parameters)
    each = config.batch_size * config.accumulation * config.context
    steps = max(1, round(asked / each))
    return SeriesRung(size=config.size, parameters=parameters, steps=steps, tokens=steps * each)
