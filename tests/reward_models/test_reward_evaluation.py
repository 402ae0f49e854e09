"""Held-out pairs: shares, calibration and baselines by hand, and the card that tells of them."""

import itertools
import math

import numpy as np
import pytest

from tasks.errors import StageError
from tasks.reward_models.card import section
from tasks.reward_models.evaluation import calibration, evaluate, length_that_is_chosen
from tasks.reward_models.examples import evaluated
from tasks.reward_models.outputs import RewardEvaluation, read_pairs, write_pairs
from tasks.rows import load_split
from tasks.show.document import Document
from tasks.show.markdown import as_markdown

LONG, SHORT = "one two three", "one"


def rows_of(*longer):
    """A row each: whether its chosen response is the longer one."""
    return [
        {"id": place, "chosen": LONG if is_longer else SHORT, "rejected": SHORT if is_longer else LONG}
        for place, is_longer in enumerate(longer)
    ]


def test_accuracy_counts_ties_half():
    found = evaluate(rows_of(1, 1, 0, 0), [(1, 0), (2, 0), (0, 1), (1, 1)], rows_of(1))
    assert found.accuracy["mean"] == (1 + 1 + 0 + 0.5) / 4
    assert found.accuracy["low"] < found.accuracy["mean"] < found.accuracy["high"]
    assert found.loss == pytest.approx(np.mean([math.log1p(math.exp(-own)) for own in (1, 2, -1, 0)]))
    assert found.rewards == {"chosen": 1.0, "rejected": 0.5}


def test_margins_are_told_by_quantiles_and_bars():
    margins = [-0.4, 0.1, 0.1, 3.0]
    found = evaluate(rows_of(1, 1, 1, 1), [(own, 0.0) for own in margins], rows_of(1)).margin
    assert found["mean"] == pytest.approx(0.7)
    assert found["quantiles"]["50"] == pytest.approx(0.1)
    bars = found["histogram"]
    assert sum(one["pairs"] for one in bars) == 4
    assert bars[0]["low"] <= -0.4
    assert bars[-1]["high"] > 3.0
    assert all(one["high"] == two["low"] for one, two in itertools.pairwise(bars))


def test_calibration_compares_confidence_with_what_is_right():
    """Of two pairs with confidence 75% one is right, of two with 95% both."""
    sure = [math.log(3), -math.log(3), math.log(19), math.log(19)]
    found = calibration(np.array(sure), [None] * 4)
    filled = {one["low"]: one for one in found["bins"] if one["pairs"]}
    assert {low: one["pairs"] for low, one in filled.items()} == {0.7: 2, 0.9: 2}
    assert [one["sure"] for one in filled.values()] == pytest.approx([0.75, 0.95])
    assert [one["right"]["mean"] for one in filled.values()] == [0.5, 1.0]
    assert found["error"] == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_length_baseline_goes_the_way_of_the_training_pairs():
    assert length_that_is_chosen(rows_of(1, 1, 0)) == 1
    assert length_that_is_chosen(rows_of(0, 0, 1)) == -1
    found = evaluate(rows_of(0, 0, 0, 1), [(1, 0)] * 4, rows_of(0))
    length, chance = found.baselines
    assert (length["name"], length["accuracy"]["mean"]) == ("shorter is better", 0.75)
    assert (chance["name"], chance["accuracy"]["mean"]) == ("chance", 0.5)


def test_words_are_counted_in_texts_without_spaces():
    row = {"id": 0, "chosen": "黄金是贵重的", "rejected": "黄金"}
    assert length_that_is_chosen([row]) == 1
    assert length_that_is_chosen([row | {"chosen": "黄金", "rejected": "黄金是贵重的"}]) == -1


def test_what_length_does_as_well_is_warned_of():
    """A model that takes the longer response is right as often as that rule is."""
    rows = rows_of(*[1] * 30, *[0] * 10)
    rewards = [(len(row["chosen"]), len(row["rejected"])) for row in rows]
    found = evaluate(rows, rewards, rows)
    assert found.length_correlation == pytest.approx(1.0)
    (warning,) = found.warnings
    assert warning.startswith("length alone does as well: it orders 75.0%")


def test_model_that_is_better_than_both_is_not_warned_of():
    rows = rows_of(*[1, 0] * 20)
    assert evaluate(rows, [(1.0, 0.0)] * 40, rows).warnings == []


def test_model_of_no_order_is_warned_of():
    rows = rows_of(*[1] * 20)
    found = evaluate(rows, [(1, 0), (0, 1)] * 10, rows)
    assert [warning.partition(":")[0] for warning in found.warnings] == [
        "length alone does as well",
        "it is not shown to order pairs better than chance",
    ]


def test_pairs_of_one_source_count_together():
    rows = rows_of(*[1, 0] * 20)
    rewards = [(1.0, 0.0)] * 30 + [(0.0, 1.0)] * 10
    alone = evaluate(rows, rewards, rows).accuracy
    together = [row | {"source": f"passage {place // 8}"} for place, row in enumerate(rows)]
    grouped = evaluate(together, rewards, rows).accuracy
    assert grouped["mean"] == alone["mean"]
    assert grouped["high"] - grouped["low"] > alone["high"] - alone["low"]


def test_without_a_test_pair_nothing_is_known():
    with pytest.raises(StageError, match="there is no test pair"):
        evaluate([], [], rows_of(1))


def test_stage_leaves_what_it_measured(trained, rows):
    found = RewardEvaluation.read(trained.out)
    lines = read_pairs(trained.out)
    right = [line["chosen"] > line["rejected"] for line in lines]
    assert found.pairs == len(lines) == 8
    assert found.accuracy["mean"] == sum(right) / 8 > 0.7
    assert trained.metrics["test_accuracy"] == found.accuracy["mean"]


def test_card_shows_the_pairs_that_it_is_most_surely_wrong_of(trained, rows, tmp_path):
    members = load_split(rows, "test")
    write_pairs(tmp_path, [{"id": row["id"], "chosen": 0.0, "rejected": row["id"]} for row in members])
    RewardEvaluation.read(trained.out).write(tmp_path)
    found = evaluated(tmp_path, rows, 3)
    last = members[-1]
    assert [row["id"] for row in found["wrong"]["rows"]] == [last["id"], last["id"] - 1, last["id"] - 2]
    text = as_markdown(Document(kind="", title="t", sections=[section(found, None)]))
    assert "8 pairs in the wrong order, the surest mistake first, the first 3." in text
    assert last["rejected"] in text


def test_card_tells_baselines_warnings_and_reliability():
    rows = rows_of(*[1] * 30, *[0] * 10)
    found = evaluate(rows, [(len(row["chosen"]), len(row["rejected"])) for row in rows], rows)
    told = section(found.as_json() | {"wrong": {"of": 0, "rows": []}}, {"name": "own-reward", "version": 3})
    text = as_markdown(Document(kind="", title="t", sections=[told]))
    assert "It is own-reward version 3." in text
    assert "Not shown to be better than taking the longer response: +0.0 points" in text
    assert "Warning: length alone does as well" in text
    assert "Better than chance" in text
    assert "90 to 100%" in text
