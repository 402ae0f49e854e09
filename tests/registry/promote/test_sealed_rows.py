"""Pitfall 35: the same test rows, night after night, crown no false champion; what is left is told."""

import json
from itertools import count

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from tasks.config import PromoteConfig
from tasks.record.outputs import OUTPUT, fetch
from tasks.registry.champions import override, registered, rollback
from tasks.registry.promote import stage as room
from tasks.registry.promote.contest import GATE_ERRORS, Pair, contest
from tasks.registry.promote.openings import OPENINGS, TEST_SET, Budget, Opening
from tasks.registry.promote.parts import cut, row_digests
from tasks.registry.promotion import Promotion
from tasks.registry.versions import tags_of_model
from tasks.statistics.comparing import paired_test
from tasks.statistics.spending import BUDGET, left_after, level_of
from tests.benchmarks.openings import above, simulate
from tests.registry.promote.promoting import around, made
from tests.registry.promote.test_promotions_at_once import dying

NAMES = (f"test-openings-{number}" for number in count())


# The rule


@pytest.mark.parametrize("kind", ["texts", "labels"])
def test_false_champions_in_a_year_are_in_at_most_5_percent(kind):
    """Of 25 rows none are sealed. Of 200 series at 5%, 8.6% or more have one in one trial of a hundred."""
    shares = [simulate(rows, 365, 200, kind=kind).false_champions for rows in (25, 50, 110, 300, 1000)]
    assert sum(shares) / len(shares) <= 0.05
    assert max(shares) < 0.086


def test_what_is_simulated_is_what_the_stage_does():
    """Night by night, on the same scores: who passes the gate, who wins, and at which level."""
    generator, config = np.random.default_rng(5), PromoteConfig(min_rows=12)
    digests, sources = plain(range(60))
    parts, budget = cut(digests, sources, 12), InMemory()
    gate, sealed = sorted(parts.gate), sorted(parts.sealed)
    passed = won = 0
    for night in range(80):
        ours, theirs = generator.normal(50 + night % 2 * 25, 5, 60), generator.normal(50, 5, 60)
        pairs = {row: Pair(ours[row], theirs[row], None, digests[row]) for row in digests}
        met = contest(config, pairs, parts, budget, "version 1", True)
        passes = bool(above((ours - theirs)[None, gate], GATE_ERRORS)[0])
        passed += passes
        assert (met.part == "sealed") == passes
        assert budget.openings == passed
        if passes:
            assert met.level == level_of(passed)
            shown = paired_test(ours[sealed], theirs[sealed], level=met.level)
            assert met.passes == (shown.low > 0)
            won += met.passes
    assert 0 < won < passed < 80


class InMemory:
    """A budget without MLflow."""

    openings = 0

    def open(self, question):
        self.openings += 1
        return Opening(self.openings, level_of(self.openings))


def test_the_rule_before_made_one_in_every_fourth_month():
    assert simulate(110, 30, 300, sealed=False).false_champions > 0.2
    assert simulate(110, 365, 300, sealed=False).false_champions > 0.5


def test_a_model_that_is_5_points_better_is_found():
    assert simulate(200, 1, 300, gain=5).crowned > 0.7
    assert simulate(300, 31, 300, gain=5).crowned > 0.7


def test_all_levels_together_are_the_budget():
    """The terms that a million leaves out sum to 2 / sqrt(1,000,000) of the first one."""
    levels = [level_of(test) for test in range(1, 1_000_001)]
    assert levels == sorted(levels, reverse=True)
    assert BUDGET - sum(levels) == pytest.approx(2e-3 * levels[0], rel=1e-3)
    assert left_after(3) == pytest.approx(BUDGET - sum(levels[:3]))
    with pytest.raises(ValueError, match="counted from 1"):
        level_of(0)


# The cut


def plain(rows):
    return {row: f"content {row}" for row in rows}, dict.fromkeys(rows)


def test_four_fifths_are_sealed_and_the_order_does_not_matter():
    digests, sources = plain(range(110))
    parts = cut(digests, sources, 12)
    assert (len(parts.gate), len(parts.sealed)) == (22, 88)
    assert parts.gate | parts.sealed == set(digests)
    assert parts == cut(dict(reversed(digests.items())), sources, 12)


def test_a_row_keeps_its_side_under_another_number():
    parts = cut(*plain(range(110)), 12)
    renumbered = {row + 1000: digest for row, digest in plain(range(110))[0].items()}
    again = cut(renumbered, dict.fromkeys(renumbered), 12)
    assert {row - 1000 for row in again.sealed} == parts.sealed


def test_few_rows_change_sides_when_some_are_added():
    before, after = cut(*plain(range(200)), 12), cut(*plain(range(210)), 12)
    assert len(before.gate & after.sealed) + len(before.sealed & after.gate) <= 5


def test_no_source_stands_in_both_parts():
    digests, _ = plain(range(300))
    sources = {row: f"passage {row // 5}" if row < 200 else None for row in digests}
    parts = cut(digests, sources, 12)
    told = [{sources[row] for row in part} - {None} for part in (parts.gate, parts.sealed)]
    assert all(told)
    assert not told[0] & told[1]


def test_rows_alike_stand_in_one_part():
    digests = {row: f"content {row // 2}" for row in range(100)}
    parts = cut(digests, dict.fromkeys(digests), 12)
    assert all((row in parts.gate) == (row + 1 in parts.gate) for row in range(0, 100, 2))


def test_what_a_fifth_of_is_too_few_is_not_cut():
    """Sources count: sixty rows of ten are as few as ten."""
    assert len(cut(*plain(range(60)), 12).gate) == 12
    assert cut(*plain(range(59)), 12) == cut(*plain(range(59)), 99)
    assert not cut(*plain(range(59)), 12).gate
    assert not cut(plain(range(60))[0], {row: f"{row % 10}" for row in range(60)}, 12).gate


# The budget


@pytest.fixture
def budget(tracking):
    """Opens the budget of a test set for this test's registered model."""
    name = next(NAMES)
    tracking.client.create_registered_model(name)

    def open_budget(rows=range(100), scorer="metric:chrf"):
        return Budget(tracking, name, scorer, [f"{row:064x}"[::-1] for row in rows])

    open_budget.tags = lambda: tags_of_model(tracking, name)
    return open_budget


def test_each_question_is_an_opening_at_the_next_level(budget):
    opened = [budget().open([night]) for night in range(3)]
    assert [one.number for one in opened] == [1, 2, 3]
    assert [one.level for one in opened] == [level_of(1), level_of(2), level_of(3)]
    assert budget().openings == 3


def test_the_same_question_asked_again_spends_nothing(budget):
    first = budget().open(["x"])
    budget().open(["y"])
    assert budget().open(["x"]) == first
    assert budget().openings == 2


def test_nothing_is_written_before_the_first_opening(budget):
    assert budget().openings == 0
    assert budget.tags() == {}


def test_opening_that_died_before_its_level_gets_one_later(budget, monkeypatch):
    dead = budget()
    with monkeypatch.context() as patched:
        patched.setattr(Budget, "openings", property(lambda _: pytest.fail("killed here")))
        with pytest.raises(pytest.fail.Exception):
            dead.open(["x"])
    assert budget().open(["y"]).number == 2, "whoever died may come back with the first level"
    assert budget().open(["x"]).level == level_of(2)
    assert budget().openings == 2


def test_another_test_set_or_scorer_begins_another_budget(budget):
    budget().open([1])
    assert budget(range(500, 600)).open([1]).number == 1
    assert budget(scorer="ollama:llama3.2").open([1]).number == 1


@pytest.mark.parametrize(
    ("rows", "goes_on"),
    [(range(101), True), (range(50), True), (range(45, 145), True), (range(55, 155), False)],
    ids=["one row more", "half of it", "most of it", "mostly new"],
)
@pytest.mark.parametrize("times", [1, 10], ids=["in full", "by a sketch"])
def test_mostly_unchanged_test_set_goes_on_with_its_budget(budget, rows, goes_on, times):
    """Regression: one row added each night would begin a budget each night."""
    scaled = range(rows.start * times, rows.stop * times)
    budget(range(100 * times)).open([1])
    assert budget(scaled).open([2]).number == (2 if goes_on else 1)
    assert budget(range(100 * times)).openings == (2 if goes_on else 1)
    assert sum(tag.startswith(TEST_SET) for tag in budget.tags()) == (1 if goes_on else 2)


def test_two_machines_at_once_spend_no_more_than_in_turn(budget, monkeypatch):
    """Both write before either counts, as no lock of theirs forbids: both get the lower level."""
    first, second, real, opened = budget(), budget(), Budget.openings.fget, []

    def counted(self):
        if self is first:  # it has written: now the other machine writes, and counts
            opened.append(second.open(["second"]))
        return real(self)

    monkeypatch.setattr(Budget, "openings", property(counted))
    opened.append(first.open(["first"]))
    assert [one.level for one in opened] == [level_of(2), level_of(2)]


def test_a_tag_that_two_machines_set_at_once_is_set_by_both(budget, tracking, monkeypatch):
    """Regression: MLflow looks whether there is a tag and then inserts it; the second insert is an error."""
    real, refused = tracking.client.set_registered_model_tag, []

    def outrun(name, tag, text):
        real(name, tag, text)
        if tag not in refused:
            refused.append(tag)
            raise MlflowException("UNIQUE constraint failed")

    monkeypatch.setattr(tracking.client, "set_registered_model_tag", outrun)
    assert budget().open([1]).number == 1
    assert len(refused) == 2


def test_a_tag_that_cannot_be_set_is_no_opening(budget, tracking, monkeypatch):
    def fail(*_):
        raise MlflowException("the database is locked")

    monkeypatch.setattr(tracking.client, "set_registered_model_tag", fail)
    with pytest.raises(MlflowException, match="locked"):
        budget().open([1])


def test_a_full_year_of_openings_fits_into_tags(budget):
    """MLflow keeps 5,000 characters of a tag of a registered model."""
    budget(range(5000)).open([1])
    assert all(len(tag) <= 250 and len(text) < 4000 for tag, text in budget.tags().items())


# The promotion


def openings(tracking, promoted):
    return sum(tag.startswith(OPENINGS) for tag in tags_of_model(tracking, promoted.name))


def by_part(tracking, gate, sealed):
    """Scores of 30 rows, by the part that a row is in."""
    rows = fetch(tracking, made(tracking, "rows", 30)) / OUTPUT
    parts = cut(row_digests(rows, range(100, 130)), dict.fromkeys(range(100, 130)), 6)
    return [gate[i % 2] if 100 + i in parts.gate else sealed[i % 2] for i in range(30)]


def test_a_candidate_that_the_gate_stops_opens_nothing(tracking, promoted):
    promoted([40.0] * 30)
    promotion = promoted(by_part(tracking, gate=(35.0, 45.0), sealed=(60.0, 61.0)))
    assert not promotion["champion"]
    assert (promotion["part"], promotion["part_rows"], promotion["openings"]) == ("gate", 6, 0)
    assert "not a standard error above the margin" in promotion["reason"]
    assert "the 24 sealed rows were never opened, which leaves 5.00%" in promotion["reason"]
    assert openings(tracking, promoted) == 0


def test_sealed_rows_decide_on_a_candidate_that_passed_the_gate(tracking, promoted):
    promoted([40.0] * 30)
    lucky = promoted(by_part(tracking, gate=(60.0, 61.0), sealed=(35.0, 45.5)))
    assert not lucky["champion"]
    assert (lucky["part"], lucky["part_rows"], lucky["openings"]) == ("sealed", 24, 1)
    assert lucky["sealed_mean"] is None
    assert lucky["budget_left"] == pytest.approx(left_after(1))
    assert "opened once, which leaves 3.09% of the error budget of 5%" in lucky["reason"]
    better = promoted(by_part(tracking, gate=(80.0, 81.0), sealed=(70.0, 71.0)))
    assert better["champion"]
    assert (better["openings"], better["level"]) == (2, level_of(2))
    assert better["mean"] > better["sealed_mean"] == pytest.approx(70.5, abs=0.1)
    listed = {model["name"]: model for model in registered(tracking)}[promoted.name]["versions"]
    assert [version["sealed_mean"] for version in listed][1:] == [None, round(better["sealed_mean"], 4)]


def test_first_champion_is_chosen_by_gate_told_by_sealed_rows(tracking, promoted):
    low = promoted(by_part(tracking, gate=(5.0, 5.0), sealed=(90.0, 90.0)))
    assert (low["champion"], low["sealed_mean"]) == (False, None)
    first = promoted(by_part(tracking, gate=(20.0, 20.0), sealed=(15.0, 15.0)))
    assert (first["champion"], first["sealed_mean"], first["openings"]) == (True, 15.0, 0)


def test_sealed_rows_stay_shut_for_who_cannot_be_champion(tracking, promoted):
    promoted(around(40))
    promotion = promoted(around(60), failed="end token")
    assert (promotion["champion"], promotion["part"]) == (False, "gate")
    small = promoted(around(60), failed="end token", min_rows=20)
    assert "by its scores: the 30 test rows are not opened for it" in small["reason"]
    assert openings(tracking, promoted) == 0


def test_of_too_few_rows_to_cut_every_comparison_is_an_opening(tracking, promoted):
    assert promoted(around(40), min_rows=8)["sealed_mean"] is None
    worse = promoted(around(39), min_rows=8)
    assert (worse["champion"], worse["part"], worse["part_rows"]) == (False, "test", 30)
    assert "the 30 test rows were opened once, which leaves 3.09%" in worse["reason"]
    assert promoted([50.0 + index % 3 for index in range(30)], min_rows=8)["level"] == level_of(2)


def test_too_few_scores_to_compare_spend_nothing(tracking, promoted):
    promoted(around(40))
    promotion = promoted([None] * 25 + [90.0] * 5)
    assert "have a score of both it and version 1; a comparison needs 6" in promotion["reason"]
    assert openings(tracking, promoted) == 0


@pytest.mark.parametrize(
    ("place", "name"), [(room, "decision_tags"), (room, "description"), (Promotion, "write")]
)
def test_promotion_that_was_killed_and_resumed_spends_once(tracking, promoted, place, name):
    promoted(around(40))
    patched = dying(place, name)
    with pytest.raises(KeyboardInterrupt):
        promoted([70.0 + index % 3 for index in range(30)])
    patched.undo()
    assert openings(tracking, promoted) == 1
    promotion = promoted(inputs=promoted.inputs)
    assert (promotion["champion"], promotion["openings"], promotion["level"]) == (True, 1, level_of(1))
    assert openings(tracking, promoted) == 1


def test_what_people_decide_spends_nothing(tracking, promoted):
    promoted(around(40))
    promoted(around(39))
    override(tracking, promoted.name, 2, "it is kinder")
    rollback(tracking, promoted.name)
    assert openings(tracking, promoted) == 0


def test_an_opening_says_when_by_whom_and_at_which_level(tracking, promoted):
    promoted(around(40))
    promoted(around(60))
    tags = tags_of_model(tracking, promoted.name)
    (text,) = (text for tag, text in tags.items() if tag.startswith(OPENINGS))
    assert json.loads(text).keys() == {"at", "by", "number", "level"}
