"""Benchmarks of several trainings of one recipe: means over seeds, how far these are apart, and the card."""

from statistics import mean, stdev

import pytest

from tasks.benchmark.comparing import of_models
from tasks.benchmark.outputs import BenchmarkResults, write_items
from tasks.benchmark.summary import summary_of
from tasks.config import SeedRun, SeedsConfig
from tasks.errors import StageError
from tasks.report import benchmarks
from tasks.seeds.outputs import Spread
from tasks.seeds.stage import seeds
from tasks.show.document import Document
from tasks.show.markdown import as_markdown
from tasks.statistics.seeds import gain_over_seeds, over_seeds
from tests.benchmark.test_benchmark_findings import items_of, told_of
from tests.runs import stage_run_in

BASE = ([1, 0, 0, 0] * 8, [0, 1, 0, 0] * 8, [1, 1, 0, 0] * 8)
TUNED = ([1, 1, 1, 0] * 8, [1, 1, 1, 1] * 8, [1, 1, 0, 1] * 8)
BITS = (4.0, 5.0, 6.0)


def right_of(items):
    return [[one["acc"] for one in own] for own in items]


@pytest.fixture
def compared(tmp_path):
    """What the seeds stage makes of items by model and seed."""

    def compare(**models):
        made = {}
        for name, by_seed in models.items():
            for number, items in enumerate(by_seed, start=1):
                folder = made[f"seed_{number}_{name}_benchmark"] = tmp_path / f"{name}-{number}"
                folder.mkdir()
                write_items(folder, items)
                BenchmarkResults(tasks=told_of(items)).write(folder)
        count = max(map(len, models.values()))
        runs = tuple(SeedRun(number=number, seeds={}) for number in range(1, count + 1))
        run = stage_run_in(tmp_path / "run")
        seeds(SeedsConfig(runs=runs), run, **made)
        return Spread.read(run.out).benchmarks

    return compare


@pytest.fixture
def of_three(compared):
    base, tuned = ([items_of(*one) for one in zip(right, BITS, strict=True)] for right in (BASE, TUNED))
    return base, tuned, compared(base=base, tuned=tuned)


def test_accuracies_and_bits_are_means_over_seeds(of_three):
    base, _, found = of_three
    (task,) = found["models"][0]["tasks"]
    expected = over_seeds(right_of(base), 0.0, 1.0)
    assert (task["acc"]["mean"], task["acc"]["low"]) == (expected.mean, expected.low)
    assert task["acc"]["by_seed"] == [0.25, 0.25, 0.5]
    assert task["acc"]["sd"] == pytest.approx(stdev([0.25, 0.25, 0.5]))
    assert task["bits_per_byte"]["by_seed"] == [2.0, 2.5, 3.0]  # two bytes an answer
    assert task["bits_per_byte"]["mean"] == pytest.approx(2.5)
    assert task["bits_per_byte"]["low"] < 2.0  # of three seeds the trainings' part is wide
    assert not task["above_chance"]
    assert found["models"][1]["tasks"][0]["above_chance"]


def test_differences_are_paired_by_row_and_seed(of_three):
    base, tuned, found = of_three
    (gain,) = found["differences"]
    assert (gain["model"], gain["against"], gain["task"], gain["rows"]) == ("fine-tuned", "base", "quiz", 32)
    expected = gain_over_seeds(right_of(tuned), right_of(base), (), 0.0, 1.0)
    assert (gain["acc"]["difference"], gain["acc"]["p"]) == (expected.mean, expected.p)
    assert gain["acc"]["by_seed"] == [0.5, 0.75, 0.25]
    assert gain["bits_per_byte"]["difference"] == gain["bits_per_byte"]["sd"] == 0.0


def test_bits_over_seeds_weigh_long_answers_more(compared):
    by_seed = [
        [
            one | {"id": place}
            for place, one in enumerate(items_of([1], bits, size=1) + items_of([1], bits, size=9))
        ]
        for bits in (2.0, 4.0)
    ]
    (task,) = compared(base=by_seed)["models"][0]["tasks"]
    assert task["bits_per_byte"]["by_seed"] == pytest.approx([0.4, 0.8])
    assert task["bits_per_byte"]["mean"] == pytest.approx(mean([0.4, 0.8]))


def test_seeds_that_were_asked_other_rows_are_not_compared(compared):
    with pytest.raises(StageError, match="the seeds were not asked the same rows of the benchmark"):
        compared(base=[items_of([1, 0]), items_of([1, 0, 1])])


def test_benchmarks_of_a_single_seed_are_those_of_its_model(compared):
    items = items_of([1, 0, 0, 1] * 8)
    (task,) = compared(base=[items])["models"][0]["tasks"]
    assert task["acc"]["mean"] == summary_of(items)["acc"]["mean"]
    assert task["acc"]["sd"] is None
    assert task["bits_per_byte"]["low"] == summary_of(items)["bits_per_byte"]["low"]


def test_card_of_several_seeds_tells_benchmarks_over_them(of_three):
    base, tuned, found = of_three
    first = {"base": base[0], "fine-tuned": tuned[0]}
    told = {
        "models": [{"model": name, "tasks": told_of(items)} for name, items in first.items()],
        "differences": of_models(first),
    }
    report = {"benchmarks": told, "seeds": {"done": [1, 2, 3], "benchmarks": found}}
    text = as_markdown(
        Document(kind="card", title="a", subtitle="", sections=list(benchmarks.section(report)))
    )
    for part in (
        benchmarks.OVER_SEEDS,
        "33.3%",
        "83.3%",
        "+50.0",
        "25.0%, 25.0%, 50.0%",
        "14.4",
        "2.000, 2.500",
    ):
        assert part in text, text
    assert "2.000, 2.500, 3.000 | 0.500" in text
