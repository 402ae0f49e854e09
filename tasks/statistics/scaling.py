"""How loss falls with size: L = E + A / N^alpha, fitted to a few models that were trained alike.

For one alpha the best E and A are a line's (non-negative least squares of two terms), so that only alpha is
searched for, over a grid: no start decides where the fit ends, which it does for three numbers at once
(Besiroglu et al. 2024 on Hoffmann et al. 2022). There is no fit where the loss does not fall, the best alpha
lies at an end of the grid, or the law leaves more than a tenth of the differences between sizes.
"""

from dataclasses import dataclass

import numpy as np

ALPHAS = np.arange(0.02, 2.0, 0.005)
LEAST = 3  # models: as many as there are numbers to fit
LEAST_FITTED = 0.9  # of the draws, for an interval
LEAST_EXPLAINED = 0.9  # of the variance between sizes
EQUAL = 1e-9  # of a loss: sizes whose losses differ by less do not differ


@dataclass(frozen=True)
class PowerLaw:
    """What a fit found; the loss of a model of infinite size is `floor`."""

    floor: float
    scale: float
    alpha: float

    def at(self, parameters: float) -> float:
        return self.floor + self.scale * parameters**-self.alpha


def fit_power_law(parameters: np.ndarray, losses: np.ndarray) -> PowerLaw | None:
    """The fit of losses (models,) to numbers of parameters (models,); None where there is none.

    Raises ValueError for fewer models than there are numbers to fit.
    """
    found = fit_power_laws(parameters, losses[None])
    return None if np.isnan(found).any() else PowerLaw(*map(float, found[0]))


def fit_power_laws(parameters: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Fits of losses (draws, models): E, A, alpha (draws, 3), NaN where there is none."""
    count = parameters.size
    if count < LEAST or losses.shape[1] != count:
        raise ValueError(f"expected losses of {LEAST} models or more; found {losses.shape} of {count}")
    unit = float(np.exp(np.log(parameters).mean()))  # so that A is of the size of a loss
    terms = (parameters / unit) ** -ALPHAS[:, None]  # (alphas, models)
    mean_term, mean_loss = terms.mean(axis=1), losses.mean(axis=1)
    centred = terms - mean_term[:, None]
    slope = losses @ centred.T / np.square(centred).sum(axis=1)  # (draws, alphas)
    floor = mean_loss[:, None] - slope * mean_term
    through_zero = losses @ terms.T / np.square(terms).sum(axis=1)
    slope, floor = np.where(floor < 0, through_zero, slope), np.maximum(floor, 0.0)
    fitted = floor[..., None] + slope[..., None] * terms
    error = np.square(losses[:, None] - fitted).sum(axis=2)
    error[slope <= 0] = np.inf
    best = error.argmin(axis=1)
    rows = np.arange(len(losses))
    found = np.stack([floor[rows, best], slope[rows, best] * unit ** ALPHAS[best], ALPHAS[best]], axis=1)
    at_an_end = (best == 0) | (best == len(ALPHAS) - 1)
    spread = np.square(losses - mean_loss[:, None]).sum(axis=1)
    left = error[rows, best] > (1 - LEAST_EXPLAINED) * spread
    found[at_an_end | left | (np.sqrt(spread) < EQUAL * mean_loss)] = np.nan
    return found


def interval(values: np.ndarray) -> tuple[float, float] | None:
    """The middle 95% of draws (draws,); None where too many of them have no fit."""
    known = values[~np.isnan(values)]
    if len(known) < LEAST_FITTED * len(values):
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
