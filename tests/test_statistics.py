"""What `tasks/judge/statistics.py` promises: intervals that hold their mean, bounds that hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judge import statistics
from tasks.judge.statistics import (
    bootstrap_interval,
    category_means,
    paired_interval,
    perplexity_interval,
    summarise,
    wilson_interval,
    worst_case_bounds,
)

scores = st.lists(st.floats(0, 100), min_size=1, max_size=40)
partly_missing = st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=40)


def summary(values, **changes):
    settings = {"max_missing": 0.05, "resamples": 200, "seed": 1} | changes
    return summarise("ollama:x", "judge", values, **settings)


@given(values=scores, resamples=st.integers(1, 300), seed=st.integers(0, 2**32))
def test_the_interval_holds_the_mean_and_stays_within_the_data(values, resamples, seed):
    mean, low, high = bootstrap_interval(values, resamples, seed)
    assert low <= mean <= high
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert mean == pytest.approx(math.fsum(values) / len(values))


@given(value=st.floats(0, 100), count=st.integers(1, 50))
def test_equal_scores_have_an_interval_of_no_width(value, count):
    assert bootstrap_interval([value] * count, 100, 1) == (value, value, value)


@given(values=scores, seed=st.integers(0, 1000))
def test_a_seed_decides_the_interval(values, seed):
    assert bootstrap_interval(values, 100, seed) == bootstrap_interval(values, 100, seed)


def test_the_interval_agrees_with_the_normal_one_on_many_rows():
    values = np.random.default_rng(0).normal(50, 10, 400)
    mean, low, high = bootstrap_interval(values, 10_000, 123)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1)


def test_memory_is_bounded_however_many_resamples(monkeypatch):
    values = list(range(50))
    whole = bootstrap_interval(values, 1000, 7)
    monkeypatch.setattr(statistics, "DRAWS_AT_ONCE", 200)  # four resamples at once
    assert bootstrap_interval(values, 1000, 7) == pytest.approx(whole, abs=1.5)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_no_interval_of_nothing_or_of_no_number(values):
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval(values, 10, 1)


def test_paired_interval_has_the_sign_of_the_better_one():
    noise = np.random.default_rng(0).uniform(0, 50, 100)
    difference, low, high = paired_interval(noise + 10, noise, 1000, 1)
    assert (difference, low, high) == pytest.approx((10, 10, 10))
    assert paired_interval(noise, noise + 10, 1000, 1)[2] < 0
    assert paired_interval(noise, noise, 1000, 1) == (0, 0, 0)


@given(pairs=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=30))
def test_swapping_the_pair_turns_the_difference_round(pairs):
    a, b = zip(*pairs, strict=True)
    difference, low, high = paired_interval(a, b, 200, 5)
    assert paired_interval(b, a, 200, 5) == pytest.approx((-difference, -high, -low), abs=1e-9)


def test_paired_scores_must_be_of_the_same_rows():
    with pytest.raises(ValueError, match="found 2 and 3"):
        paired_interval([1, 2], [1, 2, 3], 10, 1)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_of_newcombes_table(count, of, low, high):
    """Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I, method 3."""
    assert wilson_interval(count, of) == pytest.approx((low, high), abs=5e-5)


@given(of=st.integers(1, 10**6), data=st.data())
def test_a_wilson_interval_holds_the_share_has_a_width_and_is_a_mirror_of_the_other_side(of, data):
    count = data.draw(st.integers(0, of))
    low, high = wilson_interval(count, of)
    assert 0.0 <= low <= count / of <= high <= 1.0
    assert low < high
    assert wilson_interval(of - count, of) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("count", "of"), [(0, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_has_no_interval(count, of):
    with pytest.raises(ValueError, match="at least one row"):
        wilson_interval(count, of)


losses = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 500)), min_size=1, max_size=30)


@given(rows=losses, seed=st.integers(0, 99))
def test_a_perplexity_is_that_of_all_tokens_within_those_of_the_rows(rows, seed):
    values, tokens = zip(*rows, strict=True)
    perplexity, low, high = perplexity_interval(values, tokens, 100, seed)
    total = math.fsum(loss * count for loss, count in rows)
    assert perplexity == pytest.approx(math.exp(total / sum(tokens)))
    assert low <= perplexity <= high
    assert math.exp(min(values)) * (1 - 1e-9) <= low
    assert high <= math.exp(max(values)) * (1 + 1e-9)


def test_no_perplexity_of_nothing():
    with pytest.raises(ValueError, match="at least one row"):
        perplexity_interval([], [], 10, 1)


@given(values=partly_missing, data=st.data())
def test_whatever_the_missing_rows_were_the_bounds_hold_the_mean(values, data):
    truth = [data.draw(st.floats(0, 100)) if value is None else value for value in values]
    low, high = worst_case_bounds(values)
    assert low - 1e-9 <= sum(truth) / len(truth) <= high + 1e-9


def test_worst_case_bounds_by_hand():
    assert worst_case_bounds([100.0, None, 20.0, None]) == (30.0, 80.0)


@given(values=partly_missing)
def test_every_row_is_scored_or_missing_and_every_score_is_in_the_histogram(values):
    numbers = summary(values)
    assert numbers["rows"] == numbers["scored"] + numbers["missing"] == len(values)
    assert sum(numbers["histogram"]) == numbers["scored"]


def test_summary_by_hand():
    numbers = summary([0.0, 20.0, 40.0, 100.0])
    assert (numbers["mean"], numbers["median"], numbers["status"]) == (40.0, 30.0, "ok")
    assert numbers["histogram"] == [1, 0, 1, 0, 1, 0, 0, 0, 0, 1]


def test_there_is_no_headline_above_the_share_of_missing_rows_that_is_allowed():
    """Pitfall 21: the mean over what could be parsed is the mean over the easy rows."""
    assert summary([50.0] * 19 + [None])["mean"] == 50.0
    refused = summary([50.0] * 18 + [None] * 2)
    assert refused["status"] == "too_many_missing"
    assert [refused[name] for name in ("mean", "low", "high", "median")] == [None] * 4
    assert (refused["scored"], refused["missing"], refused["lowest_possible"]) == (18, 2, 45.0)


def test_nothing_scored_is_no_mean_even_when_nearly_all_may_be_missing():
    assert summary([None, None], max_missing=0.99)["mean"] is None


def test_category_means():
    means = category_means(["b", "a", None, "a", "b"], [10.0, 20.0, 30.0, 40.0, None], 0.05)
    assert means == {
        "a": {"mean": 30.0, "rows": 2, "scored": 2},
        "b": {"mean": None, "rows": 2, "scored": 1},
    }
    assert list(means) == ["a", "b"]
