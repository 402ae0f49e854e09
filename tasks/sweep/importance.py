"""Which settings made the difference: fANOVA (Hutter et al. 2014) by Optuna, of the trials that are done."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.config import SweepDimension, SweepTrial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LEAST = 4  # trials; a forest of fewer says nothing


def distribution(dimension: SweepDimension) -> "BaseDistribution":
    """What Optuna calls a dimension. It draws from a list as from names, whatever order the values have."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not dimension.is_range:
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def parameter(dimension: SweepDimension, text: str) -> Any:
    """A value as Optuna has it: what was written of a list, a number of a range."""
    if not dimension.is_range:
        return text
    return int(text) if dimension.whole else min(max(float(text), dimension.low), dimension.high)


def importance(
    space: Sequence[SweepDimension], done: Sequence[SweepTrial], direction: str
) -> dict[str, float] | None:
    """Each setting's share of the variance that settings explain; None of few trials, or of equal ones."""
    if len(done) < LEAST or len({one.value for one in done}) == 1:
        return None
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {one.setting: distribution(one) for one in space}
    study = optuna.create_study(direction=direction)
    study.add_trials(
        [
            optuna.create_trial(
                params={one.setting: parameter(one, trial.settings[one.setting]) for one in space},
                distributions=distributions,
                value=trial.value,
            )
            for trial in done
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return {name: float(share) for name, share in found.items()}
