"""Masked sequences: what is drawn depends on seed and place, and is 80/10/10 of tokens or words."""

from collections import Counter

import numpy as np
import pytest

from tasks.batches.masked import (
    PADDING,
    MaskedSequences,
    Masking,
    validation_rows,
    windows,
)
from tasks.data.token_files import IGNORED, Split
from tasks.errors import StageError
from tasks.tokenize.masks import with_mask
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.words import words_of

VOCABULARY = 50
SPECIAL = np.isin(np.arange(VOCABULARY), [0, 1, 48, 49])
MASKING = Masking(rate=0.15, start=48, end=0, mask=49, pad=1, special=SPECIAL)


def split_of(*lengths, seed=1):
    """Documents of regular tokens, each with its end token."""
    draw = np.random.default_rng(seed)
    parts = [np.append(draw.integers(2, 48, length), 0) for length in lengths]
    ends = np.cumsum([len(part) for part in parts]).astype("<u8")
    return Split(np.concatenate(parts).astype(np.uint16), ends)


def sequences(apart=True, masking=MASKING, **where):
    return MaskedSequences(split_of(3, 20, 7, 1, 30, 12), masking, 12, 123, apart, **where)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("inputs", "labels"))


def test_documents_apart_are_cut_into_texts_without_end_token():
    starts, lengths = windows(split_of(3, 20, 7), 10, apart=True)
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [(0, 3), (4, 10), (14, 10), (25, 7)]


def test_joined_documents_are_cut_as_one_stream():
    starts, lengths = windows(split_of(3, 20), 10, apart=False, offset=2)
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [(2, 10), (12, 10), (22, 3)]


@pytest.mark.parametrize("apart", [True, False])
def test_a_continued_training_draws_the_same_masks(apart):
    whole = sequences(apart)
    drawn = [whole.rows(5) for _ in range(6)]
    for done in range(1, 6):
        part = sequences(apart)
        for _ in range(done):
            part.batch(5)
        again = sequences(apart, epoch=part.epoch, taken=part.taken).rows(5)
        assert all(map(same, drawn[done], again))


def test_masks_are_the_same_however_a_batch_is_shared():
    whole, first, second = sequences().rows(7), sequences(), sequences()
    shared = first.rows(7, slice(0, 3)) + second.rows(7, slice(3, 7))
    assert all(map(same, whole, shared))


def test_masks_differ_from_epoch_to_epoch():
    one = sequences()
    first = {row.original.tobytes(): row for row in one.rows(len(one._texts[0]))}
    second = {row.original.tobytes(): row for row in one.rows(len(one._texts[0]))}
    assert first.keys() == second.keys()
    assert not all(same(row, second[text]) for text, row in first.items())


def test_validation_masks_are_fixed():
    split = split_of(9, 9, 9)
    one, again, other = (list(validation_rows(split, MASKING, 12, seed, True)) for seed in (1, 1, 2))
    assert all(map(same, one, again))
    assert not all(map(same, one, other))


def test_a_row_is_as_likely_to_be_masked_as_its_rate_says():
    text = np.arange(2, 42)
    rows = [MASKING.row(text, np.random.default_rng(seed)) for seed in range(400)]
    labels = np.stack([row.labels != IGNORED for row in rows])[:, 1:-1]
    assert labels.mean() == pytest.approx(0.15, abs=0.012)
    assert labels.any(axis=1).all()
    fates = Counter()
    for row in rows:
        drawn = row.labels != IGNORED
        fates["masked"] += (row.inputs[drawn] == 49).sum()
        fates["kept"] += (row.inputs[drawn] == row.original[drawn]).sum()
        assert np.array_equal(row.inputs[~drawn], row.original[~drawn])
    assert fates["masked"] / labels.sum() == pytest.approx(0.8, abs=0.03)
    assert fates["kept"] / labels.sum() == pytest.approx(0.1, abs=0.03)


def test_a_short_text_always_has_something_to_predict():
    rows = [MASKING.row(np.array([5]), np.random.default_rng(seed)) for seed in range(50)]
    assert all((row.labels != IGNORED).sum() == 1 for row in rows)


def test_text_of_special_tokens_alone_predicts_nothing():
    row = MASKING.row(np.array([0, 0, 1]), np.random.default_rng(1))
    assert np.array_equal(row.inputs, [48, 0, 0, 1, 0])
    assert (row.labels == IGNORED).all()


def test_whole_words_are_masked():
    tokenizer = with_mask(train_bpe(["unbelievable things, 12 and 345!"] * 3, 262))
    words = words_of(tokenizer)
    special = np.zeros(len(tokenizer), dtype=bool)
    special[tokenizer.all_special_ids] = True
    masking = Masking(
        0.4,
        tokenizer.cls_token_id,
        tokenizer.eos_token_id,
        tokenizer.mask_token_id,
        tokenizer.pad_token_id,
        special,
        words,
    )
    text = "unbelievable things, 12 and 345!"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    units = masking.units(np.array([masking.start, *ids, masking.end]))
    found = ["".join(tokenizer.decode([i]) for i in np.array(ids)[units[1:-1] == u]) for u in range(7)]
    assert found == ["unbelievable", " things", ",", " 12", " and", " 345", "!"]
    for seed in range(20):
        row = masking.row(np.array(ids), np.random.default_rng(seed))
        drawn = row.labels[1:-1] != IGNORED
        assert all(len(set(drawn[units[1:-1] == unit])) == 1 for unit in range(7))


def test_padding_is_marked_and_full_rows_have_none():
    rows = [MASKING.row(np.arange(2, 2 + length), np.random.default_rng(1)) for length in (3, 9)]
    batch = MASKING.collate(rows, 12)
    assert batch.inputs.shape == (2, 12)
    assert (batch.documents == PADDING).sum().item() == (12 - 5) + (12 - 11)
    assert (batch.inputs[batch.documents == PADDING] == 1).all()
    assert (batch.labels[batch.documents == PADDING] == IGNORED).all()
    full = [MASKING.row(np.arange(2, 12), np.random.default_rng(1))] * 2
    assert MASKING.collate(full, 12).documents is None


def test_too_little_text_is_refused():
    with pytest.raises(StageError, match="has 4 tokens; a context of 12 needs 10"):
        MaskedSequences(split_of(3), MASKING, 12, 1)


def test_batches_of_like_length_hold_every_text_once():
    split = split_of(*np.random.default_rng(5).integers(1, 60, 500))
    grouped = MaskedSequences(split, MASKING, 64, 1, apart=True, together=16)
    for _ in range(3):
        lengths = grouped._texts[1]
        assert len(lengths) == 500
        assert sorted(lengths.tolist()) == sorted(windows(split, 62, apart=True)[1].tolist())
        batches = [grouped.batch(16) for _ in range(500 // 16)]
        padding = sum((b.documents == PADDING).sum().item() for b in batches if b.documents is not None)
        assert padding / sum(b.inputs.numel() for b in batches) < 0.2
    assert grouped.epoch == 2
