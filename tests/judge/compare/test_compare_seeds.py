"""Recipes compared over their seeds: A and B are several runs each."""

import pytest

from tasks.errors import StageError
from tasks.judge.compare.document import covers, document
from tasks.judge.compare.stage import compare
from tasks.show.markdown import as_markdown
from tests.judge.compare.comparing import CHRF, Compared, ComparisonInput, rows_of

ROWS = 30
STRONG, WEAK = ([base + row % 7 for row in range(ROWS)] for base in (60.0, 20.0))


class Seeds(Compared):
    """A comparison whose sides have further seeds."""

    def __init__(self, folder, a, b, **config):
        sides = {"a": [self.side(one) for one in a], "b": [self.side(one) for one in b]}
        super().__init__(folder, sides["a"][0], sides["b"][0], **config)
        for name, own in sides.items():
            for number, side in enumerate(own[1:], start=2):
                place = folder / f"{name}{number}"
                side.write(place)
                self.inputs |= {f"{name}_{part}_{number}": place / part for part in ("responses", "scores")}

    @staticmethod
    def side(points):
        return ComparisonInput(rows_of("x" * len(points)), {CHRF: points})


def shifted(points, by):
    return [one + by for one in points]


def test_seeds_that_agree_show_what_rows_show(tmp_path):
    a, b = [STRONG, shifted(STRONG, 1), shifted(STRONG, -1)], [WEAK, shifted(WEAK, 1), shifted(WEAK, -1)]
    found = Seeds(tmp_path, a, b)().headline
    assert found["difference"] == pytest.approx(40.0)
    assert found["low"] > 0
    assert (found["seeds"]["a"], found["seeds"]["b"], found["scored"]) == (3, 3, ROWS)
    assert found["seeds"]["sd_a"] == pytest.approx(1.0)
    assert found["low"] < found["seeds"]["rows_low"]


def test_a_lucky_seed_is_not_a_better_recipe(tmp_path):
    """Pitfall 36: compared alone, the first seed of A is better; its recipe is not."""
    a, b = [STRONG, WEAK, shifted(WEAK, 2)], [WEAK, shifted(WEAK, 3), shifted(WEAK, -1)]
    alone = Seeds(tmp_path / "alone", a[:1], b[:1])().headline
    found = Seeds(tmp_path / "all", a, b)().headline
    assert alone["low"] > 0
    assert found["seeds"]["rows_low"] > 0
    assert found["low"] < 0
    assert found["p"] > 0.05


def test_what_the_interval_covers_is_told(tmp_path):
    one = Seeds(tmp_path / "1", [STRONG], [WEAK])()
    several = Seeds(tmp_path / "2", [STRONG, shifted(STRONG, 2)], [WEAK])()
    assert "One seed each: the interval covers rows, not training." in as_markdown(document(one.report))
    told = covers(several.headline["seeds"])
    assert told.startswith(
        "2 seeds of A (SD 1.4 between them) and one of B: the interval covers rows, and of"
    )
    assert "of the first seeds" in as_markdown(document(several.report))
    assert "of the first seeds" not in as_markdown(document(one.report))


def test_row_that_one_seed_lacks_is_counted_and_bounds_the_rest(tmp_path):
    second = [None, *STRONG[1:]]
    found = Seeds(tmp_path, [STRONG, second], [WEAK, WEAK])().headline
    assert (found["scored"], found["missing_a"], found["missing_b"]) == (ROWS - 1, 1, 0)
    assert found["lowest_possible"] < found["difference"] < found["highest_possible"]


def test_seeds_of_one_side_are_of_the_same_rows(tmp_path):
    made = Seeds(tmp_path, [STRONG, STRONG[:-1]], [WEAK])
    with pytest.raises(StageError, match="the seeds of A were not scored alike on the same rows"):
        compare(made.config, made.run, **made.inputs)
