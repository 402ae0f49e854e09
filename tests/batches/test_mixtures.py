"""Sources mixed by weights: the shares that were asked for in any run, and a place that tells all."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches.masked import Masking
from tasks.batches.mixtures import (
    MixtureOrder,
    causal_batches,
    masked_batches,
    sources_read,
)
from tasks.config import PretrainConfig
from tasks.data.token_files import Split, TokenFiles
from tasks.errors import StageError

LENGTHS = {"few": [9, 14, 30], "many": [40] * 20, "some": [3, 3, 3, 3, 100]}
SPECIAL = np.isin(np.arange(2000), [0, 1, 2, 3])
MASKING = Masking(0.15, start=0, end=1, mask=2, pad=3, special=SPECIAL)


def files_of(lengths=LENGTHS):
    """Tokens that are their own places, of documents of these lengths by source."""
    ends = np.cumsum([length for own in lengths.values() for length in own])
    sources = {name: {"tokens": sum(own), "documents": len(own)} for name, own in lengths.items()}
    train = Split(np.arange(ends[-1]), ends.astype(np.uint64))
    return TokenFiles(2000, 1, {"train": {"sources": sources}}, train, train)


def mixed(mixture, **settings):
    return PretrainConfig(context=8, batch_size=2, accumulation=2, mixture=mixture, **settings)


def source_of(place, lengths=LENGTHS):
    ends = np.cumsum([sum(own) for own in lengths.values()])
    return list(lengths)[int(np.searchsorted(ends, place, side="right"))]


weights = st.lists(st.integers(0, 20), min_size=1, max_size=12).filter(any).map(tuple)


# The order


def order_of(*weights, begins=(0,)):
    return MixtureOrder(begins, weights)


@given(weights=weights, size=st.integers(1, 300))
def test_draws_of_any_first_part_have_the_shares(weights, size):
    order = order_of(weights).sources(0, size)
    shares = np.array(weights) / sum(weights)
    counts = np.stack([np.cumsum(order == source) for source in range(len(weights))])
    asked = shares[:, None] * np.arange(1, size + 1)
    assert (abs(counts - asked) <= 2).all()
    assert not counts[shares == 0].any(), "a source of weight 0 is never drawn"


def test_eighty_to_twenty_is_four_of_five_in_every_window():
    order = order_of((80, 20)).sources(0, 1000)
    assert all((order[at : at + 5] == 0).sum() == 4 for at in range(995))


def test_many_small_sources_do_not_come_all_at_once():
    """Regression: with one of half, nine equal ones were due at the same time."""
    order = order_of((9, *[1] * 9)).sources(0, 1800)
    assert all(8 <= (order[at : at + 18] == 0).sum() <= 10 for at in range(1782))
    assert np.bincount(order).tolist() == [900, *[100] * 9]


@given(weights=weights, number=st.integers(0, 10**15), size=st.integers(0, 40))
def test_draws_before_a_number_are_those_that_were_drawn(weights, number, size):
    """A training that is continued draws what it would have drawn, however far it has got."""
    order = order_of(weights)
    drawn = order.sources(number, size)
    before, after = order.counts(number), order.counts(number + size)
    assert (before + np.bincount(drawn, minlength=len(weights))).tolist() == after.tolist()
    assert before.sum() == number


@given(borders=st.lists(st.integers(0, 30), min_size=2, max_size=6).map(sorted))
def test_phases_follow_each_other_however_they_are_read(borders):
    order = order_of((3, 1), (1, 3), begins=(0, 12))
    whole = order.sources(0, 30)
    parts = [order.sources(first, last - first) for first, last in pairwise([0, *borders, 30])]
    assert np.concatenate(parts).tolist() == whole.tolist()
    assert np.bincount(whole[:12]).tolist() == [9, 3]
    assert np.bincount(whole[12:24]).tolist() == [3, 9]
    for taken in borders:
        assert order.counts(taken).tolist() == np.bincount(whole[:taken], minlength=2).tolist()


# Blocks


def test_blocks_of_a_mixture_hold_text_of_one_source():
    batches = causal_batches(mixed({"few": 1, "many": 6, "some": 3}), files_of())
    names = []
    for _ in range(50):
        for row in batches.batch(2).inputs.tolist():
            assert row == list(range(row[0], row[0] + 8))
            assert source_of(row[0]) == source_of(row[-1] + 1)
            names.append(source_of(row[0]))
    assert {name: names.count(name) for name in LENGTHS} == {"few": 10, "many": 60, "some": 30}


def test_a_small_source_is_read_again_and_a_large_one_in_part():
    config, files = mixed({"few": 1, "many": 1, "some": 1}), files_of()
    read = {own.source: own for own in sources_read(config, files, causal_batches(config, files, taken=60))}
    assert [own.tokens_read for own in read.values()] == [20 * 8] * 3
    assert read["few"].epochs == pytest.approx(20 / 6, abs=0.3), "of about six blocks an epoch"
    assert read["many"].epochs == pytest.approx(0.2, abs=0.01)
    assert sum(own.share_read for own in read.values()) == pytest.approx(1)


def test_a_source_is_read_once_before_it_is_read_again():
    batches = causal_batches(mixed({"few": 1, "many": 1, "some": 1}), files_of())
    rows = [row for _ in range(30) for row in batches.batch(1).inputs.tolist()]
    own = [row[0] for row in rows if source_of(row[0]) == "few"]
    assert len(set(own[:6])) == len(own[:6])


def of_decay(**settings):
    """The second mixture begins behind 24 of 32 sequences."""
    wsd = {"schedule": "wsd", "steps": 8, "decay": 0.25, "decay_mixture": {"few": 1, "some": 3}}
    return mixed({"few": 1, "many": 1, "some": 0}, **wsd, **settings)


def test_the_second_mixture_begins_where_the_rate_falls():
    batches = causal_batches(of_decay(), files_of())
    names = [[source_of(place) for place in batches.batch(4).inputs[:, 0].tolist()] for _ in range(8)]
    assert all(sorted(step) == ["few", "few", "many", "many"] for step in names[:6])
    assert all(sorted(step) == ["few", "some", "some", "some"] for step in names[6:])


makers = pytest.mark.parametrize(
    "make",
    [
        lambda config, taken=0: causal_batches(config, files_of(), taken=taken),
        lambda config, taken=0: masked_batches(config, files_of(), MASKING, taken=taken, together=4),
    ],
    ids=["causal", "masked"],
)


@makers
@pytest.mark.parametrize("document_mask", [False, True])
def test_a_mixture_continues_where_it_was(make, document_mask):
    """At every step, before and behind the second mixture's first."""
    config = of_decay(document_mask=document_mask)
    whole = make(config)
    for step in range(10):
        rest = make(config, taken=4 * step)
        assert (rest.epoch, rest.taken) == (whole.epoch, whole.taken) == (0, 4 * step)
        assert_same(whole.batch(4), rest.batch(4))


@makers
def test_shares_of_processes_are_the_whole_of_a_mixed_batch(make):
    config = of_decay(document_mask=True)
    whole, *ranks = (make(config) for _ in range(4))
    for _ in range(8):
        batch = whole.batch(4)
        parts = [own.batch(4, slice(4 * rank // 3, 4 * (rank + 1) // 3)) for rank, own in enumerate(ranks)]
        time = max(part.inputs.shape[1] for part in parts)
        assert batch.inputs.shape[1] == time
        rows = [row for part in parts for row in part.inputs.tolist()]
        assert [row[: len(rows[at])] for at, row in enumerate(batch.inputs.tolist())] == rows


def assert_same(one, other):
    assert torch.equal(one.inputs, other.inputs)
    assert torch.equal(one.labels, other.labels)


# Masked sequences


def masked(mixture):
    own = {"objective": "masked", "architecture": "bert", "document_mask": True}
    return PretrainConfig(context=32, mixture=mixture, **own)


def test_shares_of_masked_sequences_are_of_tokens():
    """Those of short documents are drawn oftener, since each is shorter."""
    lengths = {"short": [4] * 100, "long": [31] * 40}
    config = PretrainConfig(
        objective="masked",
        architecture="bert",
        context=32,
        document_mask=True,
        mixture={"short": 1, "long": 1},
    )
    files = files_of(lengths)
    read = sources_read(config, files, masked_batches(config, files, MASKING, taken=740))
    assert [own.share_read for own in read] == pytest.approx([0.5, 0.5], abs=0.01)
    assert [own.epochs for own in read] == pytest.approx([6.4, 2.5], abs=0.1)


def test_sources_at_the_same_place_are_masked_otherwise():
    config = masked({"a": 1, "b": 1})
    batches = masked_batches(config, files_of({"a": [40], "b": [40]}), MASKING)
    one, other = batches.rows(2)
    assert (one.labels >= 0).tolist() != (other.labels >= 0).tolist()


# What cannot be mixed


@pytest.mark.parametrize("mixture", [{"few": 1, "many": 1}, {"few": 1, "many": 1, "some": 1, "none": 1}])
def test_a_mixture_of_other_sources_is_refused(mixture):
    with pytest.raises(StageError, match=r"the sources of the tokens are few, many, some\. Give each source"):
        causal_batches(mixed(mixture), files_of())


def test_a_source_shorter_than_the_context_is_refused():
    with pytest.raises(StageError, match="the source 'tiny' has 8 tokens; a context of 8 needs 9"):
        causal_batches(mixed({"many": 1, "tiny": 1}), files_of({"many": [40] * 3, "tiny": [8]}))
