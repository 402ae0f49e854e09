"""What `tasks/judge/score/summary.py` promises: bounds that hold, and no headline over the easy rows."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.judge.score.summary import category_means, summarise, worst_case_bounds

partly_missing = st.lists(st.none() | st.floats(0, 100), min_size=1, max_size=40)


def summary(values, **changes):
    settings = {"max_missing": 0.05} | changes
    return summarise("ollama:x", "judge", values, **settings)


@given(values=partly_missing, data=st.data())
def test_whatever_the_missing_rows_were_the_bounds_hold_the_mean(values, data):
    truth = [data.draw(st.floats(0, 100)) if value is None else value for value in values]
    low, high = worst_case_bounds(values)
    assert low - 1e-9 <= sum(truth) / len(truth) <= high + 1e-9


def test_worst_case_bounds_by_hand():
    assert worst_case_bounds([100.0, None, 20.0, None]) == (30.0, 80.0)


@given(values=partly_missing)
def test_every_row_is_scored_or_missing_and_scores_are_counted(values):
    numbers = summary(values)
    assert numbers["rows"] == numbers["scored"] + numbers["missing"] == len(values)
    assert sum(numbers["histogram"]) == numbers["scored"]


def test_summary_by_hand():
    numbers = summary([0.0, 20.0, 40.0, 100.0])
    assert (numbers["mean"], numbers["median"], numbers["status"]) == (40.0, 30.0, "ok")
    assert numbers["histogram"] == [1, 0, 1, 0, 1, 0, 0, 0, 0, 1]


def test_headline_is_absent_above_the_allowed_share_of_missing():
    """Pitfall 21: the mean over what could be parsed is the mean over the easy rows."""
    assert summary([50.0] * 19 + [None])["mean"] == 50.0
    refused = summary([50.0] * 18 + [None] * 2)
    assert refused["status"] == "too_many_missing"
    assert [refused[name] for name in ("mean", "low", "high", "median")] == [None] * 4
    assert (refused["scored"], refused["missing"], refused["lowest_possible"]) == (18, 2, 45.0)


def test_nothing_scored_is_no_mean_even_when_all_may_be_missing():
    assert summary([None, None], max_missing=0.99)["mean"] is None


def test_category_means():
    means = category_means(["b", "a", None, "a", "b"], [10.0, 20.0, 30.0, 40.0, None], 0.05)
    assert means == {
        "a": {"mean": 30.0, "rows": 2, "scored": 2},
        "b": {"mean": None, "rows": 2, "scored": 1},
    }
    assert list(means) == ["a", "b"]
