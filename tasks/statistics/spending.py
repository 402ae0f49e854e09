"""An error budget that the tests on one set of rows share, however many there come to be.

Test number k is made at the one-sided level `BUDGET` x k^-DECAY / zeta(DECAY). These levels sum to BUDGET, so
by the union bound at most BUDGET of all series, of any length, ever show a gain that is not there. The tests
need not be independent, and nobody says beforehand how many there will be (alpha spending; Tian and Ramdas,
Online Control of the Familywise Error Rate, 2021). A test that shows a gain earns nothing back, as it would
where the share of false ones is held (Foster and Stine, Alpha-Investing, 2008): what is held here is the
chance of a single one.

The rules that need no levels (Thresholdout: Dwork et al., The Reusable Holdout, Science, 2015; the ladder:
Blum and Hardt, 2015) answer many more questions, of sets of tens of thousands of rows: their noise or their
step is about 1 / sqrt(rows) times a logarithm, which at a hundred rows is more than any gain.
"""

BUDGET = 0.05
DECAY = 1.5  # slower keeps more for late tests and leaves less for the first
ZETA = 2.6123753486854883  # zeta(DECAY), which the terms sum to


def level_of(test: int) -> float:
    """The one-sided level of a test, the first being number 1.

    Raises ValueError for a number below 1.
    """
    if test < 1:
        raise ValueError(f"tests are counted from 1; found {test}")
    return BUDGET * test**-DECAY / ZETA


def left_after(tests: int) -> float:
    """What so many tests leave of BUDGET, which all later ones share."""
    return BUDGET - sum(level_of(test) for test in range(1, tests + 1))
