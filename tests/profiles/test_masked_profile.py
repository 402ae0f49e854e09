"""Profiles that pretrain a masked language model: what follows from the objective, and what does not go."""

import pytest
from pydantic import ValidationError

from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from tasks.config import PretrainConfig

MASKED = {"objective": "masked", "architecture": "bert"}
TEXT = {"corpus": "text.txt"}


def profile(pretrain=MASKED, **sections):
    return Profile.model_validate({"name": "mine", "pretrain": pretrain, **(TEXT | sections)})


def test_the_tokenizer_has_a_mask_where_the_objective_masks():
    assert profile().tokenize.mask_token
    assert profile(tokenize={"vocab_size": 500}).tokenize.mask_token
    assert not profile({}).tokenize.mask_token


def test_a_masked_profile_is_the_same_when_read_again():
    one = profile(labelled="spam.tsv")
    assert Profile.model_validate(one.model_dump(mode="json")) == one


@pytest.mark.parametrize(
    ("pretrain", "mask_token"), [(MASKED, False), ({}, True)], ids=["masked without", "causal with"]
)
def test_mask_token_and_objective_go_together(pretrain, mask_token):
    with pytest.raises(ValidationError, match=r"Leave tokenize\.mask_token out: it follows the objective"):
        profile(pretrain, tokenize={"mask_token": mask_token})


def test_a_masked_model_cannot_be_taught_to_write():
    with pytest.raises(ValidationError, match=r"cannot continue a prompt\. Give labelled texts or no rows"):
        profile(instructions="rows.json")


def test_a_masked_model_alone_is_not_exported():
    with pytest.raises(ValidationError, match="loads with AutoModelForMaskedLM"):
        profile(export={})


def test_settings_of_masking_beside_an_imported_base_are_unused():
    with pytest.raises(ValidationError, match=r"pretrain\.objective: set, but the base"):
        Profile.model_validate({"name": "mine", "base": {"model": "a/b"}, "pretrain": MASKED})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "masked"}, "set architecture: bert, or name a masked model as model"),
        ({"architecture": "bert"}, "cannot predict the next token; set objective: masked"),
        ({"mask_rate": 0.3}, "mask_rate and masking go with objective: masked"),
        ({"masking": "words"}, "mask_rate and masking go with objective: masked"),
        (MASKED | {"mask_rate": 0}, "greater than 0"),
        (MASKED | {"mask_rate": 1}, "less than 1"),
        (MASKED | {"context": 4}, "context 4 is too short for objective: masked"),
        (MASKED | {"qk_norm": True}, "go with architecture: llama"),
        (MASKED | {"size": "124M"}, "neither one of quickstart, cpu, tiny"),
        (MASKED | {"model": "a/b"}, "model brings its own architecture"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        PretrainConfig(**fields)


@pytest.mark.parametrize(("size", "shape"), [("base", (12, 12, 768)), ("2x2x16", (2, 2, 16))])
def test_a_bert_has_sizes_of_its_own(size, shape):
    assert PretrainConfig(**MASKED, size=size).shape() == shape


def test_the_shipped_profile_classifies_what_spam_does():
    ours, spam = load_profile("masked"), load_profile("spam")
    assert ours.pretrain.objective == "masked"
    for section in ("labelled", "rows", "classify"):
        assert getattr(ours, section) == getattr(spam, section)
