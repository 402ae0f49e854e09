"""What the scores of controls show, each number with its interval, and whether it passes its gate.

Every kind of bad and plausible answers has gates of its own, over the rows that it was made of: thirty errors
that a judge takes for right are not thinned by hundreds of absurd answers that none would.

A gate passes where its number is good enough and the 95% interval stays clear of what fails; it fails where
the number is too bad and the interval stays clear of what passes. Everything between warns, but for rows so
few that not even a number without fault would pass: what is found on them without fault is not measured. A
kind that could not be made of every row may stay so. Any other gate that was not measured warns of the audit
as a whole, and so do too few kinds of small errors. A gate whose controls all remained without a score fails.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tasks.config import Gate, GatesConfig
from tasks.config.gates import GOOD, HIGH, MOVED
from tasks.judge.audit.controls import FILLER, KINDS, REFERENCE, SMALL, UNSHOWN, WRONG, WRONG_INJECTION
from tasks.judge.audit.wording import NOT_MEASURED
from tasks.statistics.intervals import cautious_interval, wilson_interval
from tasks.statistics.ranking import auc, auc_interval

ABOUT = {
    REFERENCE: f"references at {GOOD} or more",
    FILLER: "filler sensitivity",
    WRONG_INJECTION: "injection lift",
}
"""Gates of one kind of controls, under other names than its own."""
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
    faultless: tuple[float, float] | None = None
    """The interval that the best of all numbers would have over as many."""


def gates(
    config: GatesConfig,
    scores: Scores,
    again: Sequence[tuple[float | None, float | None]],
    how: Resampling,
    not_read: Sequence[bool] = (),
    unread: Collection[str] = (),
    masses: Sequence[float] = (),
    *,
    reference_shown: bool = True,
) -> list[dict[str, Any]]:
    """Every gate: `name`, `value`, `low`, `high`, `of`, `unit`, `passes`, `fails`, `verdict`.

    `again` are the first and the second score of the controls that were asked about twice. `not_read` says of
    every question whether its prompt did not fit; such answers are neither among the scores nor `again`. Of
    the kinds `unread` none did: what is known of these alone fails. `masses` are, by row, what the labels of
    a judge that is asked for labels have of its probability. Where no reference is shown no answer is known
    to be right, and of the bad ones alone it is known what they must not be given.
    """
    every = [score for own in scores.values() for score in own.values()] + [second for _, second in again]
    changed = [second is None or abs(first - second) > MOVED for first, second in again if first is not None]
    kinds = KINDS if reference_shown else UNSHOWN
    needed = reference_shown or bool(scores.get(WRONG))  # rows without references have no wrong answers
    high = _high(config, scores, [kind for kind in kinds if KINDS[kind] == "bad"], wrong_needed=needed)
    found = [
        *(_by_kind(config, scores, high) if reference_shown else high),
        *(_of_references(config, scores, how) if reference_shown else []),
        gate_of(ABOUT[WRONG_INJECTION], config.injection, _lift(scores, how), "points", needed=needed),
        gate_of(
            "answers without a score",
            config.unparsed,
            counted([score is None for score in every], asked=len(every) + sum(not_read)),
            "share",
        ),
        *(
            [gate_of("prompts that did not fit", config.unparsed, counted(not_read), "share")]
            if not_read
            else []
        ),
        gate_of("changed when asked in another order", config.retest, counted(changed), "share"),
        *mass_gates(config.mass, masses, how),
    ]
    return [failed_unread(gate, unread) for gate in found]


def _of_references(config: GatesConfig, scores: Scores, how: Resampling) -> list[dict[str, Any]]:
    full = _at_least(scores, REFERENCE, GOOD)
    return [
        gate_of(ABOUT[REFERENCE], config.reference, full, "share", at_least=True),
        gate_of(ABOUT[FILLER], config.filler, _moved(scores, how), "points"),
    ]


def failed_unread(gate: dict[str, Any], unread: Collection[str]) -> dict[str, Any]:
    """The gate, failed where no prompt could be read of the kind of controls that it is about."""
    lost = any(gate["name"] == ABOUT.get(kind) or gate["name"].endswith(f" {kind}") for kind in unread)
    return gate | {"verdict": "fail"} if lost and gate["value"] is None else gate


def _by_kind(config: GatesConfig, scores: Scores, high: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The gates of every kind by itself, and whether enough kinds of small errors were measured."""
    good, bad, plausible, weakened = (
        [kind for kind in KINDS if KINDS[kind] == group] for group in ("good", "bad", "plausible", "weakened")
    )

    def gate(name: str, kind: str, limits: Gate, found: Measured, unit: str, **rule: bool) -> dict[str, Any]:
        needed = kind == WRONG or _is_of_every_row(scores, kind)
        return gate_of(f"{name} {kind}", limits, found, unit, needed=needed, **rule)

    def ranked(name: str, limits: Gate, better: Sequence[str], kinds: Sequence[str]) -> list[dict[str, Any]]:
        return [gate(name, kind, limits, _auc(scores, better, kind), "AUC", at_least=True) for kind in kinds]

    errors = {
        kind: gate("taken for right:", kind, config.plausible, found, "share", fails_from=True)
        for kind in plausible
        for found in [_taken_for_right(scores, kind)]
    }
    return [
        *ranked("AUC against", config.auc, good, bad),
        *high,
        *errors.values(),
        measured_kinds(config.small_kinds, (errors[kind] for kind in SMALL)),
        *ranked("ranks below:", config.weakened, [REFERENCE], weakened),
    ]


def _high(
    config: GatesConfig, scores: Scores, kinds: Iterable[str], *, wrong_needed: bool
) -> list[dict[str, Any]]:
    """How often bad ones are given much, each kind by itself."""
    return [
        gate_of(
            f"{HIGH} or more for {kind}",
            config.high,
            _at_least(scores, kind, HIGH),
            "share",
            fails_from=True,
            needed=(wrong_needed and kind == WRONG) or _is_of_every_row(scores, kind),
        )
        for kind in kinds
    ]


def _is_of_every_row(scores: Scores, kind: str) -> bool:
    return len(scores.get(kind, {})) == max((len(own) for own in scores.values()), default=0)


def measured_kinds(small_kinds: int, errors: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """How many kinds of small errors were measured: who was shown none passes nothing."""
    told = [gate["verdict"] != NOT_MEASURED for gate in errors]
    count = float(sum(told))
    found = Measured(count, count, count, len(told), len(told), (count, count))
    limits = Gate(passes=small_kinds, fails=0.0)
    return gate_of("kinds of small errors measured", limits, found, "count", at_least=True)


def verdict_of(found: Sequence[Mapping[str, Any]]) -> Outcome:
    """The worst of the gates; one that was not measured, and should have been, warns."""
    verdicts = {gate["verdict"] for gate in found if gate["verdict"] != NOT_MEASURED or gate["needed"]}
    return "fail" if "fail" in verdicts else "warn" if verdicts & {"warn", NOT_MEASURED} else "pass"


def gate_of(
    name: str,
    gate: Gate,
    found: Measured,
    unit: str,
    *,
    at_least: bool = False,
    fails_from: bool = False,
    needed: bool = True,
) -> dict[str, Any]:
    """One gate judged; `fails_from`: what fails begins at its limit, and not beyond it."""
    sign = -1 if at_least else 1  # as if less were always better
    passes, fails = sign * gate.passes, sign * gate.fails

    def bad(number: float) -> bool:
        return number >= fails if fails_from else number > fails

    verdict = "warn"
    if found.value is None:
        verdict = "fail" if found.asked else NOT_MEASURED  # asked, and not one score: not to be believed
    else:
        value, ends = sign * found.value, sorted((sign * found.low, sign * found.high))
        if bad(value) and ends[0] > passes:
            verdict = "fail"
        elif value <= passes and not bad(ends[1]):
            verdict = "pass"
        elif value <= passes and bad(max(sign * end for end in found.faultless)):
            verdict = NOT_MEASURED
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
        "needed": needed,
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
    value, counts = auc(above, below), (len(rows), len(below))
    return Measured(value, *auc_interval(value, *counts), len(below), asked, auc_interval(1.0, *counts))


def _at_least(scores: Scores, kind: str, least: float) -> Measured:
    """The share of the rows with a score of a kind that were given so many points."""
    own = scores.get(kind, {}).values()
    return counted(
        [score >= least for score in own if score is not None], asked=len(own), best=float(kind == REFERENCE)
    )


def _taken_for_right(scores: Scores, kind: str) -> Measured:
    """The share of rows whose wrong answer was given `GOOD` points or more, or no less than the reference."""
    pairs = _pairs(scores, kind, REFERENCE)
    return counted([own >= GOOD or own >= right for own, right in pairs], asked=len(scores.get(kind, {})))


def counted(flags: Sequence[bool], asked: int | None = None, best: float = 0.0) -> Measured:
    """The share of what is true, of which `best`, 0 or 1, is without fault."""
    asked = len(flags) if asked is None else asked
    if not flags:
        return Measured(None, None, None, 0, asked)
    low, high = wilson_interval(sum(flags), len(flags))
    faultless = wilson_interval(round(best * len(flags)), len(flags))
    return Measured(sum(flags) / len(flags), low, high, len(flags), asked, faultless)


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
    mean, low, high = cautious_interval(points, WORST, how.resamples, how.seed)
    _, *faultless = cautious_interval([0.0] * len(points), WORST, how.resamples, how.seed)
    return Measured(mean, low, high, len(points), asked, tuple(faultless))


def mass_gates(limits: Gate, masses: Sequence[float], how: Resampling) -> list[dict[str, Any]]:
    """The gate of the labels' probability, a mean over rows; none for a judge that gives no labels."""
    if not masses:
        return []
    value, low, high = cautious_interval(masses, 0.0, how.resamples, how.seed)
    _, *faultless = cautious_interval([1.0] * len(masses), 0.0, how.resamples, how.seed)
    found = Measured(value, low, high, len(masses), len(masses), tuple(faultless))
    return [gate_of(MASS, limits, found, "share", at_least=True)]
