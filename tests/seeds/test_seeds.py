"""Which seeds a recipe is trained with, and how a profile or a command says so."""

import pytest
from pydantic import ValidationError

from flows.profiles.profile import Profile
from flows.profiles.seeds import SEEDED, SHARED, trainings_of
from tasks.errors import UsageError

RAW = {
    "name": "tiny",
    "corpus": {"sources": [{"made": "python-reference"}]},
    "instructions": {"sources": [{"made": "skills"}]},
    "pretrain": {"seed": 7},
    "dpo": {},
}


def profile(**changes):
    return Profile.model_validate(RAW | changes)


def test_trainings_add_one_to_the_seeds_of_the_profile():
    whole = profile(seeds=3)
    first, second, third = trainings_of(whole)
    assert first.profile == profile()
    assert second.seeds == {"pretrain": 8, "finetune": 124, "dpo": 124}
    assert [one.profile.pretrain.seed for one in (first, second, third)] == [7, 8, 9]
    assert [one.profile.dpo.seed for one in (first, second, third)] == [123, 124, 125]
    assert str(third) == "seed 3 (pretrain 9, finetune 125, dpo 125)"


def test_all_that_is_not_training_keeps_its_seed():
    """The rows and the test split are the same for all, so that what differs is training."""
    trainings = trainings_of(profile(seeds=2))
    kept = [one.profile.model_dump(exclude={*SEEDED, "promote"}, context=None) for one in trainings]
    assert kept[0] == kept[1]
    for rows_only in (True, False):
        results = [one.profile.checks(rows_only=rows_only) for one in trainings]
        assert (results[0] == results[1]) == rows_only


def test_the_first_alone_may_become_champion():
    assert [one.profile.promote.eligible for one in trainings_of(profile(seeds=3))] == [True, False, False]


def test_generation_draws_only_where_it_samples():
    assert "generate" not in trainings_of(profile(seeds=2))[1].seeds
    sampled = trainings_of(profile(seeds=2, generate={"decoding": "sample", "seed": 5}))
    assert [one.profile.generate.seed for one in sampled] == [5, 6]


def test_a_base_model_that_is_taken_over_is_not_trained():
    raw = {name: RAW[name] for name in ("name", "instructions")} | {"base": {"model": "owner/model"}}
    assert trainings_of(Profile.model_validate(raw | {"seeds": 2}))[1].seeds == {"finetune": 124}


def test_a_list_names_the_seeds():
    trainings = trainings_of(profile(seeds=[5, 9]))
    assert [one.seeds for one in trainings] == [
        dict.fromkeys(("pretrain", "finetune", "dpo"), n) for n in (5, 9)
    ]
    (alone,) = trainings_of(profile(seeds=[9]))
    assert alone.profile.pretrain.seed == 9


def test_the_largest_seed_is_followed_by_the_smallest():
    assert trainings_of(profile(pretrain={"seed": 2**32 - 1}, seeds=2))[1].seeds["pretrain"] == 0


def test_seeds_are_refused_where_nothing_is_trained():
    raw = {"name": "none", "base": {"model": "owner/model"}, "seeds": 2}
    with pytest.raises(UsageError, match="2 trainings are asked for, but none trains nothing"):
        trainings_of(Profile.model_validate(raw))


@pytest.mark.parametrize(
    "seeds", [0, -1, 1001, "three", 2.0, True, [], [1, 1], [1, "2"], [-1], [2**32], None]
)
def test_what_is_no_number_of_trainings_is_refused(seeds):
    with pytest.raises(ValidationError, match=r"how many trainings, from 1 to 1,000|boolean"):
        profile(seeds=seeds)


def test_a_training_that_was_written_down_is_read_as_it_was():
    """As it is sent to a work pool."""
    for one in trainings_of(profile(seeds=2)):
        assert Profile.model_validate(one.profile.model_dump(mode="json")) == one.profile


@pytest.mark.parametrize("seeds", ["0", "-2", "two", "1.5", "[1, 1]", ""])
def test_the_option_refuses_what_is_no_number_of_trainings(touchstone, seeds):
    status, _, err = touchstone("run", "quickstart", f"--seeds={seeds}")
    assert status == 2
    assert "seeds: expected how many trainings, from 1 to 1,000, or a list of different seeds" in err
    assert seeds in err


def test_every_stage_precedes_training_or_knows_whether_it_draws():
    whole = profile(seeds=2).stages()
    assert set(whole) - set(SEEDED) - set(SHARED) == {"judge", "promote", "report"}
