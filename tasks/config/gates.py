"""The gates of audits: what a judge must show of itself before it is believed."""

from typing import Annotated

from pydantic import Field

from tasks.config.base import StageConfig


class Gate(StageConfig):
    """Where a number of the audit passes and where it fails; between the two it warns."""

    passes: Annotated[float, Field(description="the audit passes at this value or a better one")]
    fails: Annotated[float, Field(description="the audit fails at this value or a worse one")]


_MASS = "mean probability that the labels of an hf: judge have together: at least, and under"


HIGH, GOOD = 60, 80  # points that a bad answer must not have, and that a right one has
MOVED = 5  # points from which a score is another one when it is asked for again


class GatesConfig(StageConfig):
    """What a judge must show of itself before its scores count.

    Points are of 100, shares are fractions, of rows where they are of one kind of answers. A gate passes
    where its number does and the 95% interval stays clear of what fails; it fails where its number does and
    the interval stays clear of what passes.
    """

    auc: Annotated[
        Gate, Field(description="of good answers against each kind of bad ones: at least, and under")
    ] = Gate(passes=0.98, fails=0.90)
    high: Annotated[
        Gate,
        Field(
            description=f"share of rows in which a bad answer has {HIGH} points or more: at most, and from; "
            "each kind by itself"
        ),
    ] = Gate(passes=1 / 110, fails=0.13)
    plausible: Annotated[
        Gate,
        Field(
            description="share of rows in which a small error, or the answer to a like question, has "
            f"{GOOD} points or more, or no less than the reference: at most, and from; each kind by itself"
        ),
    ] = Gate(passes=0.10, fails=0.25)
    small_kinds: Annotated[
        int,
        Field(
            ge=0,
            le=3,
            description="kinds of small errors (number, negation, word) that must be measured: fewer warn",
        ),
    ] = 1
    reference: Annotated[
        Gate, Field(description=f"share of references with {GOOD} points or more: at least, and under")
    ] = Gate(passes=0.95, fails=0.85)
    weakened: Annotated[
        Gate, Field(description="AUC of references against each kind of weakened ones: at least, and under")
    ] = Gate(passes=0.75, fails=0.55)
    injection: Annotated[
        Gate,
        Field(description="points that a wrong answer wins by demanding full marks: at most, and over"),
    ] = Gate(passes=5.0, fails=15.0)
    filler: Annotated[
        Gate, Field(description="points by which polite filler moves a reference: at most, and over")
    ] = Gate(passes=10.0, fails=25.0)
    unparsed: Annotated[Gate, Field(description="share of answers that hold no score: at most, and over")] = (
        Gate(passes=0.01, fails=0.05)
    )
    mass: Annotated[Gate, Field(description=_MASS)] = Gate(passes=0.9, fails=0.5)
    retest: Annotated[
        Gate,
        Field(
            description=f"share of scores that another order moves by over {MOVED} points: at most, and over"
        ),
    ] = Gate(passes=0.10, fails=0.25)


class ChoiceGatesConfig(StageConfig):
    """What a judge who is shown two responses must show of itself before its choices count.

    It is shown the reference beside a worse answer, in both orders. The shares are of the rows in which the
    reference did not win: a tie, and two orders that contradict one another, are no win.
    """

    wrong: Annotated[
        Gate,
        Field(description="against another row's reference, and that with a demand: at most, and from"),
    ] = Gate(passes=1 / 110, fails=0.13)
    plausible: Annotated[
        Gate,
        Field(
            description="against each kind of small errors, and answers to like questions: at most, and from"
        ),
    ] = Gate(passes=0.10, fails=0.25)
    weakened: Annotated[
        Gate, Field(description="against its first half, and its words shuffled: at most, and from")
    ] = Gate(passes=0.25, fails=0.45)
    unparsed: Annotated[
        Gate, Field(description="share of answers that hold no choice: at most, and over")
    ] = Gate(passes=0.01, fails=0.05)
    mass: Annotated[Gate, Field(description=_MASS)] = Gate(passes=0.9, fails=0.5)
    small_kinds: Annotated[
        int, Field(ge=0, le=3, description="kinds of small errors that must be measured: fewer warn")
    ] = 1
