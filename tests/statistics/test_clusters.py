"""Rows of one source are not independent: they are drawn, and change their sign, together."""

import numpy as np
import pytest

from tasks.statistics.comparing import sign_flip_test, smallest_detectable
from tasks.statistics.intervals import bootstrap_interval, paired_interval, perplexity_interval

TEN = [float(value) for value in (1, 9, 2, 8, 3, 7, 4, 6, 5, 10)]


def test_pitfall_38_copies_of_a_row_make_no_interval_narrower():
    """Each row four times tells what the rows tell once."""
    once = bootstrap_interval(TEN, 4000, 1)
    names = [f"source {place}" for place in range(10) for _ in range(4)]
    copied = bootstrap_interval(np.repeat(TEN, 4), 4000, 1, names)
    assert copied == pytest.approx(once)
    alone = bootstrap_interval(np.repeat(TEN, 4), 4000, 1)
    assert alone[2] - alone[1] < 0.6 * (once[2] - once[1])


def test_sources_of_one_row_each_change_nothing():
    names = [f"source {place}" for place in range(10)]
    assert bootstrap_interval(TEN, 500, 1, names) == bootstrap_interval(TEN, 500, 1)
    assert bootstrap_interval(TEN, 500, 1, [None] * 10) == bootstrap_interval(TEN, 500, 1)


def test_sources_of_differing_sizes_weigh_by_their_rows():
    """The mean is that of the rows; 2,000 simulated draws of whole sources give the bounds."""
    sizes = [1, 5, 2, 8, 3, 4]
    values = [float(place * 3 % 7) for place, size in enumerate(sizes) for _ in range(size)]
    names = [str(place) for place, size in enumerate(sizes) for _ in range(size)]
    mean, low, high = bootstrap_interval(values, 8000, 1, names)
    assert mean == pytest.approx(np.mean(values))
    rows_of = [[row for row, name in enumerate(names) if name == str(place)] for place in range(6)]
    random, drawn = np.random.default_rng(7), []
    for _ in range(2000):
        chosen = random.integers(0, 6, 6)
        drawn.append(np.mean([values[row] for one in chosen for row in rows_of[one]]))
    assert (low, high) == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.2)


def test_pairs_and_perplexities_are_drawn_by_source_too():
    names = [str(place) for place in range(10) for _ in range(4)]
    zeros = [0.0] * 10
    assert paired_interval(np.repeat(TEN, 4), np.repeat(zeros, 4), 500, 1, names) == pytest.approx(
        paired_interval(TEN, zeros, 500, 1)
    )
    losses = [value / 10 for value in TEN]
    assert perplexity_interval(np.repeat(losses, 4), [5] * 40, 500, 1, names) == pytest.approx(
        perplexity_interval(losses, [20] * 10, 500, 1)
    )


def test_pitfall_38_the_p_value_counts_sources_and_not_rows():
    """Five sources with four rows each, all better: 2 of 32 choices of signs are as far, not 2 of 2**20."""
    names = [str(place) for place in range(5) for _ in range(4)]
    assert sign_flip_test([1.0] * 20, 999, 1, names) == 2 / 32


def test_what_can_be_detected_follows_the_sources():
    names = [str(place) for place in range(10) for _ in range(4)]
    assert smallest_detectable(np.repeat(TEN, 4), sources=names) == pytest.approx(smallest_detectable(TEN))


def test_as_many_sources_as_values_are_needed():
    with pytest.raises(ValueError, match="2 sources of 3 values"):
        bootstrap_interval([1.0, 2.0, 3.0], 10, 1, ["a", "a"])
