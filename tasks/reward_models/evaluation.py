"""How good a reward model is on pairs that it was not trained on, and beside what knows nothing of them."""

import math
from collections.abc import Sequence

import numpy as np

from tasks.errors import StageError
from tasks.judge.score.metrics import words_of
from tasks.machine.json_files import Json
from tasks.reward_models.outputs import RewardEvaluation
from tasks.rows import Row
from tasks.show.text import percent, percents, signed
from tasks.statistics.bounded import mean_interval
from tasks.statistics.comparing import paired_test
from tasks.statistics.ranking import spearman
from tasks.statistics.verdicts import shows

CHANCE = "chance"
LENGTHS = {1: "longer is better", -1: "shorter is better"}
QUANTILES = (5, 25, 50, 75, 95)  # percent
BINS = 5  # of confidence from 50 to 100%
BARS = 12  # of the histogram, at most


def evaluate(
    rows: Sequence[Row], rewards: Sequence[tuple[float, float]], trained: Sequence[Row]
) -> RewardEvaluation:
    """`rewards` are those of each test row's chosen and rejected response; `trained` the training rows.

    Raises StageError without a test pair.
    """
    if not rows:
        raise StageError(
            "there is no test pair, so that nothing is known of the reward model. Give test rows (rows.test)"
        )
    chosen, rejected = np.array(rewards, dtype=np.float64).T
    margins = chosen - rejected
    sources = [row.get("source") for row in rows]
    right = _won(margins)
    more_words = np.array([length_difference(row) for row in rows], dtype=np.float64)
    sign = length_that_is_chosen(trained)
    lengths, chance = _won(sign * more_words), [0.5] * len(rows)
    baselines = [
        _baseline(name, told, right, theirs, sources)
        for name, told, theirs in (
            (LENGTHS[sign], "by words, the way that the training pairs prefer", lengths),
            (CHANCE, "the mean of any order that knows nothing of the responses", chance),
        )
    ]
    accuracy = _interval(right, sources)
    return RewardEvaluation(
        pairs=len(rows),
        accuracy=accuracy,
        loss=float(np.logaddexp(0.0, -margins).mean()),
        rewards={"chosen": float(chosen.mean()), "rejected": float(rejected.mean())},
        margin=_distribution(margins),
        calibration=calibration(margins, sources),
        length_correlation=spearman(margins.tolist(), more_words.tolist()),
        baselines=baselines,
        warnings=_warnings(accuracy, baselines),
    )


def length_difference(row: Row) -> int:
    """How many more words the chosen response has than the rejected."""
    return len(words_of(row["chosen"])) - len(words_of(row["rejected"]))


def length_that_is_chosen(rows: Sequence[Row]) -> int:
    """1 where the longer response is chosen more often, else -1."""
    return 1 if sum(np.sign(length_difference(row)) for row in rows) >= 0 else -1


def calibration(margins: np.ndarray, sources: Sequence[str | None]) -> Json:
    """How sure the model is of its order, sigmoid(|margin|), against how often that is right.

    The expected calibration error is the mean distance of the two over bins of confidence, each by its share
    of the pairs (Naeini et al. 2015). A tie is right in half a pair, of which it is sure by a half.
    """
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    right = _won(margins)
    places = np.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins, error = [], 0.0
    for place in range(BINS):
        own = np.flatnonzero(places == place).tolist()
        found: Json = {"low": 0.5 + place / (2 * BINS), "high": 0.5 + (place + 1) / (2 * BINS)}
        found |= {"pairs": len(own), "sure": None, "right": None}
        if own:
            found["sure"] = float(sure[own].mean())
            found["right"] = _interval([right[at] for at in own], [sources[at] for at in own])
            error += len(own) / len(margins) * abs(found["right"]["mean"] - found["sure"])
        bins.append(found)
    return {"error": error, "bins": bins}


def _won(differences: np.ndarray | Sequence[float]) -> list[float]:
    """1 for what lies above 0, 0 for what lies below, a half for a tie."""
    return ((np.sign(differences) + 1) / 2).tolist()


def _interval(values: Sequence[float], sources: Sequence[str | None]) -> dict[str, float]:
    mean, low, high = mean_interval(values, 0.0, 1.0, sources)
    return {"mean": mean, "low": low, "high": high}


def _baseline(
    name: str,
    description: str,
    right: Sequence[float],
    theirs: Sequence[float],
    sources: Sequence[str | None],
) -> Json:
    found = paired_test(right, theirs, sources, 0.0, 1.0)
    accuracy = {"mean": 0.5, "low": 0.5, "high": 0.5} if name == CHANCE else _interval(theirs, sources)
    return {
        "name": name,
        "description": description,
        "accuracy": accuracy,
        "difference": {"difference": found.difference, "low": found.low, "high": found.high},
        "p_value": found.p,
    }


def _distribution(margins: np.ndarray) -> Json:
    """Bars of one width, a round number, that hold every margin."""
    low, high = min(float(margins.min()), 0.0), max(float(margins.max()), 0.0)
    rough = max((high - low) / BARS, 1e-6)
    power = 10.0 ** math.floor(math.log10(rough))
    width = next(step * power for step in (1, 2, 5, 10, 20) if step * power > rough)
    first, last = math.floor(low / width), math.floor(high / width) + 1
    counts = np.bincount(np.floor(margins / width).astype(int) - first, minlength=last - first)
    return {
        "mean": float(margins.mean()),
        "sd": float(margins.std()),
        "quantiles": {str(q): float(np.percentile(margins, q)) for q in QUANTILES},
        "histogram": [
            {
                "low": float(f"{(first + place) * width:.6g}"),
                "high": float(f"{(first + place + 1) * width:.6g}"),
            }
            | {"pairs": int(count)}
            for place, count in enumerate(counts)
        ],
    }


def _warnings(accuracy: Json, baselines: Sequence[Json]) -> list[str]:
    """What a reward model is not shown to be better than."""
    own = f"{percent(accuracy['mean'])} ({percents(accuracy['low'], accuracy['high'])})"
    told = []
    for one in baselines:
        if shows(one["difference"], one["p_value"]) == "better":
            continue
        found = one["difference"]
        apart = f"the difference of {signed(100 * found['difference'])} points has the 95% interval "
        apart += f"{signed(100 * found['low'])} to {signed(100 * found['high'])}"
        if one["name"] == CHANCE:
            told.append(
                f"it is not shown to order pairs better than chance: {own} of the test pairs, {apart}"
            )
        else:
            theirs = percent(one["accuracy"]["mean"])
            told.append(
                f"length alone does as well: it orders {own} of the test pairs, {one['name']!r} {theirs}; "
                f"{apart}"
            )
    return told
