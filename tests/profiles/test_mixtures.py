"""Weights of sources in a profile: where they stand, what follows from them, and what does not go."""

import pytest
from pydantic import ValidationError

from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from tasks.config import LossesConfig, MixturePhase, PretrainConfig, PretrainedConfig

WSD = {"schedule": "wsd", "steps": 100, "decay": 0.2, "batch_size": 4, "accumulation": 2}


def sources(**weights):
    return {"sources": [{"path": name, "weight": weight} for name, weight in weights.items()]}


def profile(corpus=None, **sections):
    corpus = corpus or sources(tales=8, verse=2)
    return Profile.model_validate({"name": "mine", "corpus": corpus, **sections})


def test_what_is_read_and_trained_follows_the_weights():
    found = profile(pretrain=WSD | {"decay_mixture": {"verse": 4}})
    assert found.tokenizing.sources == ("tales", "verse")
    assert found.pretraining.mixture == {"tales": 8, "verse": 2}
    assert found.checks().pretrain == found.pretraining
    assert found.pretraining.mixture_phases == (
        MixturePhase(begins=0, shares={"tales": 0.8, "verse": 0.2}),
        MixturePhase(begins=80 * 8, shares={"verse": 1.0}),
    )


def test_a_mixed_profile_is_the_same_when_read_again():
    one = profile(pretrain=WSD | {"decay_mixture": {"verse": 1}})
    assert Profile.model_validate(one.model_dump(mode="json")) == one


def test_without_weights_settings_and_keys_are_as_they_were():
    found = profile({"sources": [{"path": "tales"}, {"path": "verse"}]})
    assert found.tokenizing == found.tokenize
    assert found.pretraining == found.pretrain
    assert found.pretraining.mixture_phases == ()
    assert not {"mixture", "decay_mixture", "sources"} & (
        found.pretrain.key_fields().keys() | found.tokenize.key_fields().keys()
    )


def test_weights_do_not_change_what_is_downloaded_or_tokenized():
    one, other = profile(), profile(sources(tales=1, verse=5))
    assert one.corpus.key_fields() == other.corpus.key_fields()
    assert one.tokenizing.key_fields() == other.tokenizing.key_fields()
    assert one.pretraining.key_fields() != other.pretraining.key_fields()


def test_weights_of_instructions_are_of_the_training_rows():
    found = profile(instructions=sources(a=1, b=3))
    assert found.reading_rows.mixture == {"a": 1, "b": 3}
    unweighted = profile(instructions={"sources": [{"path": "a"}, {"path": "b"}]})
    assert unweighted.reading_rows == unweighted.rows
    assert "mixture" not in unweighted.rows.key_fields()


def test_a_weight_is_set_by_the_name_of_a_file():
    found = load_profile("mixture", ["pretrain.decay_mixture.tinyshakespeare.txt=5"])
    assert found.pretrain.decay_mixture == {"python-reference.jsonl": 20, "tinyshakespeare.txt": 5}


def test_a_source_may_be_kept_for_the_decay():
    found = profile(sources(tales=1, verse=0), pretrain=WSD | {"decay_mixture": {"tales": 1, "verse": 1}})
    assert found.pretraining.mixture_phases[0].shares == {"tales": 1.0, "verse": 0.0}


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"corpus": sources(tales=8, verse=None)},
            "tales has a weight, and verse has none",
        ),
        ({"corpus": sources(tales=-1, verse=2)}, "greater than or equal to 0"),
        ({"corpus": sources(tales=0, verse=0)}, "no source has a weight above 0"),
        (
            {"corpus": sources(tales=1, verse=0)},
            "'verse' has the weight 0, and is not in",
        ),
        (
            {"pretrain": WSD | {"decay_mixture": {"prose": 1}}},
            "names 'prose', and the sources of the",
        ),
        ({"pretrain": WSD | {"decay_mixture": {"verse": 0}}}, "no source has a weight above 0"),
        (
            {"pretrain": {"decay_mixture": {"verse": 1}}},
            "schedule: wsd lets the rate fall, and",
        ),
        (
            {"corpus": {"sources": [{"path": "a"}]}, "pretrain": WSD | {"decay_mixture": {"a": 1}}},
            "they have none; give each of corpus.sources a weight",
        ),
        ({"pretrain": {"mixture": {"tales": 1}}}, "pretrain.mixture follows the weights of corpus.sources"),
        ({"tokenize": {"sources": ["tales"]}}, "tokenize.sources follows the weights of corpus.sources"),
        (
            {"labelled": sources(a=1)},
            "labelled.sources: a weight is of a source of corpus or of instructions",
        ),
        ({"instructions": sources(a=1, b=0)}, "the instructions' source 'b' has the weight 0"),
        (
            {"instructions": "a.json", "rows": {"mixture": {"a": 1}}},
            "rows.mixture follows the weights of inst",
        ),
        (
            {"instructions": sources(a=1, b=3), "rows": {"balance": True, "mixture": {"a": 1}}},
            "balance and mixture both say which rows are trained on",
        ),
        (
            {"base": {"model": "a/b"}, "instructions": "rows.json", "synthesize": {"by": "ollama:a"}},
            "the base model is imported. Leave the weights out",
        ),
    ],
)
def test_weights_that_nothing_goes_by_are_refused(sections, told):
    with pytest.raises(ValidationError, match=told):
        profile(**sections)


def test_phases_begin_where_the_rate_falls():
    """Of one step and more, whatever the shares of the steps are rounded to."""
    config = PretrainConfig(
        schedule="wsd", steps=7, decay=0.01, mixture={"a": 1}, decay_mixture={"a": 1}, batch_size=2
    )
    assert [phase.begins for phase in config.mixture_phases] == [0, 12]


def test_seeds_of_two_mixtures_are_not_paired():
    """Their blocks are not the same ones in the same order."""
    plain = PretrainedConfig(seeds=(1, 2), context=8, sequences=4, document_mask=False)
    phases = PretrainConfig(mixture={"a": 1, "b": 3}).mixture_phases
    mixed = plain.model_copy(update={"mixture_phases": phases})
    assert LossesConfig(a=plain, b=plain).paired_seeds
    assert LossesConfig(a=mixed, b=mixed).paired_seeds
    assert not LossesConfig(a=plain, b=mixed).paired_seeds
    assert "mixture_phases" not in plain.key_fields()
