"""What accuracies show: chance, intervals, differences between models, and the words for it."""

import pytest

from tasks.benchmark.comparing import differences, of_models
from tasks.benchmark.document import card_section, document
from tasks.benchmark.summary import summary_of
from tasks.errors import StageError
from tasks.report import benchmarks
from tasks.show.markdown import as_markdown
from tasks.statistics.comparing import paired_test
from tasks.statistics.intervals import wilson_interval


def items_of(right, bits=4.0, task="quiz", choices=4, size=2, source=None):
    """Rows of which those with a 1 are answered right."""
    return [
        {"task": task, "id": place, "acc": float(one), "acc_norm": 1.0 - one, "chance": 1 / choices}
        | {"bits": bits, "bytes": size}
        | ({"source": source(place)} if source else {})
        for place, one in enumerate(right)
    ]


def told_of(items, **more):
    task = {"name": items[0]["task"], "rows": len(items), "shots": 0, "cut": 0, "unknown": 0}
    return [task | summary_of(items) | more]


def test_accuracy_is_above_chance_where_its_interval_is():
    good, poor = items_of([1] * 15 + [0] * 15), items_of([1] * 10 + [0] * 20)
    found = summary_of(good)
    assert (found["acc"]["low"], found["acc"]["high"]) == wilson_interval(15, 30)
    assert (found["chance"], found["above_chance"]) == (0.25, True)
    assert found["acc_norm"]["mean"] == 0.5
    assert not summary_of(poor)["above_chance"]  # a third of four choices, and it could be guessing
    assert not summary_of(items_of([0] * 9))["above_chance"]


def test_chance_is_the_mean_over_rows():
    items = items_of([1, 0], choices=2) + items_of([1, 0], choices=4)
    assert summary_of(items)["chance"] == 0.375


def test_rows_of_one_passage_widen_the_interval():
    right = [1, 1, 1, 1, 0, 0, 0, 0] * 4
    alone = summary_of(items_of(right))["acc"]
    shared = summary_of(items_of(right, source=lambda place: f"row {place // 4}"))["acc"]
    assert alone["mean"] == shared["mean"]
    assert shared["high"] - shared["low"] > alone["high"] - alone["low"]


def test_bits_per_byte_weigh_long_answers_more():
    items = items_of([1], bits=2.0, size=1) + items_of([1], bits=2.0, size=9)
    assert summary_of(items)["bits_per_byte"]["mean"] == pytest.approx(0.4)


def test_difference_is_that_of_the_paired_test():
    ours, theirs = items_of([1] * 20 + [0] * 4, bits=2.0), items_of([0] * 16 + [1] * 8)
    (found,) = differences(ours, theirs)
    expected = paired_test([item["acc"] for item in ours], [item["acc"] for item in theirs], (), 0.0, 1.0)
    assert (found["acc"]["difference"], found["acc"]["p"]) == (expected.difference, expected.p)
    assert found["bits_per_byte"]["difference"] == pytest.approx(1.0)  # a bit a byte fewer
    assert found["rows"] == 24


def test_other_rows_or_tasks_are_not_compared():
    with pytest.raises(StageError, match="different tasks"):
        differences(items_of([1]), items_of([1], task="other"))
    with pytest.raises(StageError, match="quiz: the models were asked different rows"):
        differences(items_of([1, 0]), items_of([1]))


def test_single_row_has_no_interval_of_bits():
    (found,) = differences(items_of([1]), items_of([0]))
    assert "bits_per_byte" not in found
    models = {"base": items_of([0]), "tuned": items_of([1])}
    text = as_markdown(document({name: told_of(own) for name, own in models.items()}, of_models(models)))
    assert "tuned minus base" in text
    assert "one row shows none" in text


def test_document_says_what_is_not_above_chance():
    low, high = items_of([1] * 8 + [0] * 24), items_of([1] * 30 + [0] * 2, bits=2.0)
    models = {"base": told_of(low, cut=2), "tuned": told_of(high, unknown=1)}
    text = as_markdown(document(models, of_models({"base": low, "tuned": high})))
    assert "Base: not above chance on quiz." in text
    assert "Tuned: not above chance" not in text
    assert "Base, quiz: 2 questions longer than the model's context" in text
    assert "Tuned, quiz: 1 row with choices of characters or words that the tokenizer does not know" in text
    assert "25.0%" in text
    assert "93.8%" in text
    assert "tuned, fewer than base" in text


def test_several_comparisons_are_counted():
    tasks = [items_of([1, 0] * 8, task=name) for name in ("a", "b")]
    items = [item for own in tasks for item in own]
    told = [one for own in tasks for one in told_of(own)]
    found = {"models": [{"model": name, "tasks": told} for name in ("base", "fine-tuned")]}
    found["differences"] = of_models({"base": items, "fine-tuned": items})
    texts = [block.text for block in card_section(found, {"base": "slate"}).blocks if block.kind == "text"]
    assert any(text.startswith("2 comparisons stand here") for text in texts)


def test_card_of_several_seeds_says_whose_models_were_asked():
    found = {"models": [{"model": "base", "tasks": told_of(items_of([1, 0]))}], "differences": []}
    (alone,) = benchmarks.section({"benchmarks": found})
    (first,) = benchmarks.section({"benchmarks": found, "seeds": {"done": [1, 2]}})
    assert first.blocks[0].text == benchmarks.OF_FIRST
    assert first.blocks[1:] == alone.blocks
    assert list(benchmarks.section({})) == []
