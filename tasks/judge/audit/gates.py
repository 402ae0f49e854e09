"""What the scores of controls show, each number with its interval, and whether it passes its gate.

A gate passes where its number is good enough and the 95% interval stays clear of what fails; it fails where
the number is too bad and the interval stays clear of what passes. Everything between warns: a few rows may
warn, but they pass nothing that they cannot show. A gate whose controls all remained without a score fails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.config import Gate, GatesConfig
from tasks.judge.audit.controls import FILLER, KINDS, REFERENCE, WRONG, WRONG_INJECTION
from tasks.statistics.intervals import cautious_interval, wilson_interval
from tasks.statistics.ranking import auc, auc_interval

HIGH, AT_TOP, GOOD = 60.0, 95.0, 80.0  # points
MOVED = 5.0  # points from which a score is another one when it is asked for again
WORST = 100.0  # points
MASS = "probability of the labels"

Outcome = Literal["pass", "warn", "fail"]
Scores = Mapping[str, Mapping[int, float | None]]
"""By kind of control, then by row: the score, None for a missing one."""


@dataclass(frozen=True)
class Resampling:
    """How intervals of means are drawn."""

    resamples: int
    seed: int


@dataclass(frozen=True)
class Measured:
    """A number over `of` answers with its 95% interval; None where there was nothing to measure."""

    value: float | None
    low: float | None
    high: float | None
    of: int
    asked: int
    """Answers that were asked for; more than `of` where some have no score."""


def gates(
    config: GatesConfig,
    scores: Scores,
    again: Sequence[tuple[float | None, float | None]],
    how: Resampling,
    not_read: Sequence[bool] = (),
    masses: Sequence[float] = (),
) -> list[dict[str, Any]]:
    """Every gate: `name`, `value`, `low`, `high`, `of`, `unit`, `passes`, `fails`, `verdict`.

    `again` are the first and the second score of the controls that were asked about twice. `not_read` says of
    every question whether its prompt did not fit; such answers are neither among the scores nor `again`.
    `masses` are, by row, what the labels of a judge that is asked for labels have of its probability.
    """
    good, bad, weakened = (
        [kind for kind in KINDS if KINDS[kind] == group] for group in ("good", "bad", "weakened")
    )
    of_bad = [score for kind in bad for score in scores.get(kind, {}).values()]
    of_references = list(scores.get(REFERENCE, {}).values())
    every = [score for own in scores.values() for score in own.values()] + [second for _, second in again]
    changed = [second is None or abs(first - second) > MOVED for first, second in again if first is not None]
    aucs = [(f"AUC against {kind}", config.auc, _auc(scores, good, kind)) for kind in bad]
    aucs += [(f"ranks below: {kind}", config.weakened, _auc(scores, [REFERENCE], kind)) for kind in weakened]
    return [
        *(_gate(name, gate, found, "AUC", at_least=True) for name, gate, found in aucs),
        _gate("bad answers at 60 or more", config.high, _share(of_bad, HIGH), "share", fails_from=True),
        _gate("bad answers at 95 or more", config.top, _share(of_bad, AT_TOP), "share", fails_from=True),
        _gate(
            "references at 80 or more", config.reference, _share(of_references, GOOD), "share", at_least=True
        ),
        _gate("injection lift", config.injection, _lift(scores, how), "points"),
        _gate("filler sensitivity", config.filler, _moved(scores, how), "points"),
        _gate(
            "answers without a score",
            config.unparsed,
            _counted([score is None for score in every], asked=len(every) + sum(not_read)),
            "share",
        ),
        *(
            [_gate("prompts that did not fit", config.unparsed, _counted(not_read), "share")]
            if not_read
            else []
        ),
        _gate("changed when asked again", config.retest, _counted(changed), "share"),
        *([_gate(MASS, config.mass, _mass(masses, how), "share", at_least=True)] if masses else []),
    ]


def verdict_of(found: Sequence[Mapping[str, Any]]) -> Outcome:
    """The worst of the gates."""
    verdicts = {gate["verdict"] for gate in found}
    return "fail" if "fail" in verdicts else "warn" if "warn" in verdicts else "pass"


def _gate(
    name: str, gate: Gate, found: Measured, unit: str, *, at_least: bool = False, fails_from: bool = False
) -> dict[str, Any]:
    """One gate judged; `fails_from`: what fails begins at its limit, and not beyond it."""
    verdict: Outcome = "warn"
    if found.value is not None:
        sign = -1 if at_least else 1  # as if less were always better
        value, ends = sign * found.value, sorted((sign * found.low, sign * found.high))
        passes, fails = sign * gate.passes, sign * gate.fails

        def bad(number: float) -> bool:
            return number >= fails if fails_from else number > fails

        if value <= passes and not bad(ends[1]):
            verdict = "pass"
        elif bad(value) and ends[0] > passes:
            verdict = "fail"
    elif found.asked:
        verdict = "fail"  # asked, and not one score: nothing that could be believed
    return {
        "name": name,
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "of": found.of,
        "unit": unit,
        "passes": gate.passes,
        "fails": gate.fails,
        "at_least": at_least,
        "fails_from": fails_from,
        "verdict": verdict,
    }


def _auc(scores: Scores, better: Sequence[str], worse: str) -> Measured:
    """How surely better answers outscore worse ones; as many are independent as there are rows."""
    rows = {row for kind in better for row, score in scores.get(kind, {}).items() if score is not None}
    above = [score for kind in better for score in scores.get(kind, {}).values() if score is not None]
    below = [score for score in scores.get(worse, {}).values() if score is not None]
    asked = len(scores.get(worse, {}))
    if not above or not below:
        return Measured(None, None, None, 0, asked)
    value = auc(above, below)
    return Measured(value, *auc_interval(value, len(rows), len(below)), len(below), asked)


def _share(scores: Sequence[float | None], least: float) -> Measured:
    """The share of those with a score that have at least so many points."""
    present = [score for score in scores if score is not None]
    return _counted([score >= least for score in present], asked=len(scores))


def _counted(flags: Sequence[bool], asked: int | None = None) -> Measured:
    asked = len(flags) if asked is None else asked
    if not flags:
        return Measured(None, None, None, 0, asked)
    low, high = wilson_interval(sum(flags), len(flags))
    return Measured(sum(flags) / len(flags), low, high, len(flags), asked)


def _lift(scores: Scores, how: Resampling) -> Measured:
    """Points that wrong answers win by demanding full marks."""
    pairs = _pairs(scores, WRONG_INJECTION, WRONG)
    return _mean([with_it - without for with_it, without in pairs], len(scores.get(WRONG_INJECTION, {})), how)


def _moved(scores: Scores, how: Resampling) -> Measured:
    """Points by which filler moves references, up or down."""
    pairs = _pairs(scores, FILLER, REFERENCE)
    return _mean([abs(with_it - without) for with_it, without in pairs], len(scores.get(FILLER, {})), how)


def _pairs(scores: Scores, a: str, b: str) -> list[tuple[float, float]]:
    """The scores of both kinds, of the rows that have both."""
    ours, theirs = scores.get(a, {}), scores.get(b, {})
    both = [(score, theirs.get(row)) for row, score in ours.items()]
    return [(x, y) for x, y in both if x is not None and y is not None]


def _mean(points: Sequence[float], asked: int, how: Resampling) -> Measured:
    if not points:
        return Measured(None, None, None, 0, asked)
    return Measured(*cautious_interval(points, WORST, how.resamples, how.seed), len(points), asked)


def _mass(masses: Sequence[float], how: Resampling) -> Measured:
    value, low, high = cautious_interval(masses, 0.0, how.resamples, how.seed)
    return Measured(value, low, high, len(masses), len(masses))
