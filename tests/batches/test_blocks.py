"""The order of the data: no token twice an epoch, and no document predicted from another."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches.blocks import Batch, Blocks, batch_at, validation_batches
from tasks.data.token_files import IGNORED, Split
from tasks.errors import StageError


def counting(length):
    """A stream whose tokens are their own places, of one document."""
    return Split(np.arange(length), np.array([length]))


@st.composite
def streams(draw, shortest=2):
    """Documents of one token (nothing but its end) and more, whose tokens are their own places."""
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=30).filter(lambda x: sum(x) >= shortest))
    ends = np.cumsum(lengths)
    return Split(np.arange(ends[-1]), ends.astype(np.uint64))


def document_of(split, place):
    """The slow way, document by document."""
    number = 0
    while place >= split.ends[number]:
        number += 1
    return number


def expected_at(split, place):
    """(input, label, document) at a place of the stream whose tokens are places."""
    document = document_of(split, place)
    label = place + 1 if document_of(split, place + 1) == document else IGNORED
    return place, label, document


def triples(batch):
    """(input, label, document) of every position, row by row."""
    return list(
        zip(
            batch.inputs.flatten().tolist(),
            batch.labels.flatten().tolist(),
            batch.documents.flatten().tolist(),
            strict=True,
        )
    )


# An epoch


@given(length=st.integers(9, 200), context=st.integers(1, 8), seed=st.integers(0, 2**32), epochs=st.just(3))
def test_epoch_predicts_tokens_once_and_drops_under_two_blocks(length, context, seed, epochs):
    blocks = Blocks(counting(length), context, seed)
    for epoch in range(epochs):
        seen = []
        while not seen or blocks.taken < len(blocks._order):
            batch = blocks.batch(1)
            assert batch.labels.tolist() == (batch.inputs + 1).tolist()
            assert batch.documents is None
            seen += batch.labels.flatten().tolist()
        assert blocks.epoch == epoch
        assert len(seen) == len(set(seen)) > length - 1 - 2 * context


def test_an_epoch_has_an_order_drawn_from_the_seed():
    def first_tokens(seed, count=24):
        return Blocks(counting(100), 4, seed).batch(count).inputs[:, 0].tolist()

    assert first_tokens(1) == first_tokens(1)
    assert first_tokens(1) != first_tokens(2)
    one = first_tokens(1, 48)
    assert one != sorted(one)
    assert one[:24] != one[24:], "the second epoch has another order"


@given(before=st.integers(0, 60), size=st.integers(1, 5))
def test_blocks_continue_where_they_were(before, size):
    whole = Blocks(counting(50), 4, 7)
    for _ in range(before):
        whole.batch(1)
    rest = Blocks(counting(50), 4, 7, epoch=whole.epoch, taken=whole.taken)
    for _ in range(10):
        assert torch.equal(rest.batch(size).inputs, whole.batch(size).inputs)


@given(size=st.integers(1, 40), count=st.integers(1, 5), batches=st.integers(1, 4))
def test_the_shares_of_several_processes_are_the_whole_batch(size, count, batches):
    """Each process reads its own rows only, and all stand at the same place afterwards."""
    whole = Blocks(counting(50), 4, 7)
    shares = [Blocks(counting(50), 4, 7) for _ in range(count)]
    for _ in range(batches):
        batch = whole.batch(size)
        parts = [
            blocks.batch(size, slice(size * rank // count, size * (rank + 1) // count))
            for rank, blocks in enumerate(shares)
        ]
        assert torch.equal(torch.cat([part.inputs for part in parts]), batch.inputs)
    assert {(blocks.epoch, blocks.taken) for blocks in shares} == {(whole.epoch, whole.taken)}


def test_corpus_shorter_than_the_context_is_refused_with_advice():
    assert Blocks(counting(17), 16, 1).batch(1).inputs.tolist() == [list(range(16))]
    with pytest.raises(StageError, match=r"has 16 tokens; a context of 16 needs 17.*lower pretrain\.context"):
        Blocks(counting(16), 16, 1)


# Documents apart (pitfall 13)


def test_an_end_token_predicts_nothing():
    """Documents a b c E, E, d E: the end of each is predicted, what follows it is not."""
    split = Split(np.array([10, 11, 12, 0, 0, 13, 0]), np.array([4, 5, 7]))
    batch = batch_at(split, np.array([0]), 6, apart=True)
    assert batch.inputs.tolist() == [[10, 11, 12, 0, 0, 13]]
    assert batch.labels.tolist() == [[11, 12, 0, IGNORED, IGNORED, 0]]
    assert batch.documents.tolist() == [[0, 0, 0, 0, 1, 2]]
    assert batch.supervised() == 4
    joined = batch_at(split, np.array([0]), 6, apart=False)
    assert joined.labels.tolist() == [[11, 12, 0, 0, 13, 0]]
    assert (joined.documents, joined.supervised()) == (None, 6)


@given(split=streams(), data=st.data())
def test_labels_and_documents_are_those_of_the_slow_way(split, data):
    context = data.draw(st.integers(1, len(split) - 1))
    starts = data.draw(st.lists(st.integers(0, len(split) - context - 1), min_size=1, max_size=5))
    batch = batch_at(split, np.array(starts), context, apart=True)
    expected = [expected_at(split, start + at) for start in starts for at in range(context)]
    assert triples(batch) == expected
    assert batch.supervised() == sum(label != IGNORED for _, label, _ in expected)
    assert {tensor.dtype for tensor in (batch.inputs, batch.labels, batch.documents)} == {torch.int64}


@given(split=streams(shortest=9), seed=st.integers(0, 9))
def test_blocks_of_an_epoch_are_those_of_the_slow_way(split, seed):
    blocks = Blocks(split, 4, seed, apart=True)
    found = triples(blocks.batch(len(blocks._order)))
    assert found == [expected_at(split, place) for place, _, _ in found]


def test_documents_are_looked_up_in_the_type_of_their_ends():
    """Signed places among unsigned ends are compared as floats: a copy of all ends, and rounded."""
    first = 2**53  # from here on floats skip every second number
    split = Split(
        np.broadcast_to(np.uint16(7), (first + 6,)), np.arange(first - 2, first + 7, dtype=np.uint64)
    )
    batch = batch_at(split, np.array([first - 2]), 6, apart=True)
    assert batch.documents.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert batch.labels.tolist() == [[IGNORED] * 6]


def test_rows_of_a_batch_keep_their_documents():
    split = Split(np.arange(20), np.array([3, 8, 20]))
    batch = batch_at(split, np.array([0, 5, 10]), 4, apart=True)
    piece = batch.rows(1, 3)
    assert len(piece) == 2
    assert triples(piece) == triples(batch)[4:]
    on_cpu = piece.to(torch.device("cpu"))
    assert isinstance(on_cpu, Batch)
    assert triples(on_cpu) == triples(piece)


# Validation


@given(split=streams(), context=st.integers(1, 9), size=st.integers(1, 4), apart=st.booleans())
def test_validation_predicts_every_token_but_the_first_once(split, context, size, apart):
    batches = list(validation_batches(split, context, size, apart))
    places = [place for batch in batches for place in batch.inputs.flatten().tolist()]
    assert places == list(range(len(split) - 1))
    labels = [label for batch in batches for label in batch.labels.flatten().tolist()]
    if apart:
        assert labels == [expected_at(split, place)[1] for place in places]
    else:
        assert labels == [place + 1 for place in places]
    assert all(len(batch) <= size for batch in batches)


def test_a_stream_of_one_token_has_nothing_to_validate():
    assert list(validation_batches(counting(1), 4, 2, apart=False)) == []
    assert list(validation_batches(counting(0), 4, 2, apart=False)) == []
