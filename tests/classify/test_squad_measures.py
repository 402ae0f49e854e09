"""Exact match and F1 are those of SQuAD's official script; languages without spaces as documented."""

import pytest

from tasks.classify.answers import exact_match, f1, normalized

# Computed by `compute_exact` and `compute_f1` of SQuAD's evaluate-v2.0.py, the largest over right answers.
OFFICIAL = [
    ("the Denver Broncos!", ["Denver Broncos"], 1.0, 1.0),
    ("in 1990", ["1990", "the year 1990"], 0.0, 2 / 3),
    ("Denver", ["Denver Broncos", "The Broncos of Denver"], 0.0, 2 / 3),
    ("a a cat", ["cat"], 1.0, 1.0),
    ("cat cat dog", ["cat dog dog"], 0.0, 2 / 3),
    ("U.S.", ["us"], 1.0, 1.0),
    ("well-known", ["well known"], 0.0, 0.0),
    ("", [], 1.0, 1.0),
    ("", ["Paris"], 0.0, 0.0),
    ("Paris", [], 0.0, 0.0),
    ("the", ["Paris"], 0.0, 0.0),
    ("Paris", ["the", "Paris in France"], 0.0, 1 / 2),
    ("", ["the"], 1.0, 1.0),
    ("l'été", ["l’été"], 0.0, 0.0),
    ("  New\tYork ", ["new york"], 1.0, 1.0),
]


@pytest.mark.parametrize(("given", "right", "exact", "value"), OFFICIAL)
def test_exact_match_and_f1_are_the_official_values(given, right, exact, value):
    assert exact_match(given, right) == exact
    assert f1(given, right) == pytest.approx(value)


def test_characters_of_scripts_without_spaces_are_words():
    assert normalized("北京。") == "北 京"
    assert exact_match("北京。", ["北京"]) == 1.0
    assert f1("北京市", ["北京"]) == pytest.approx(0.8)
    assert f1("「東京」 1964", ["東京"]) == pytest.approx(0.8)


def test_korean_is_split_at_its_spaces():
    assert f1("서울 특별시", ["서울"]) == pytest.approx(2 / 3)
