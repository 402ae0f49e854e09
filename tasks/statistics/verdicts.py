"""The one word for what a difference shows; light to import, for whoever only shows numbers."""

from collections.abc import Mapping
from typing import Literal

SURE = 0.05  # p-value up to which a difference is shown


def shows(interval: Mapping[str, float], p: float | None = None) -> Literal["better", "worse", "open"]:
    """What an interval of a difference, from `low` to `high`, shows, with its p-value if it has one.

    Those of `paired_test` always agree; where others do not, nothing is shown.
    """
    if p is None or p <= SURE:
        if interval["low"] > 0.0:
            return "better"
        if interval["high"] < 0.0:
            return "worse"
    return "open"
