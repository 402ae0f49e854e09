"""The corpus as a stream: every character reaches its split, and no cut changes a token."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from tasks.config import TokenizeConfig
from tasks.tokenize import corpus
from tasks.tokenize.corpus import (
    ANYWHERE,
    BETWEEN_WORDS,
    LONGEST,
    NOWHERE,
    Corpus,
    Measures,
    cut,
    measure,
    sample,
    split_parts,
    training_lengths,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TRICKY = st.text(
    " \n\t\r\x0b\x1c\x85\xa0\u2028\u3000\u200b'stredvml0٣½Ⅷ.,_!`éж中ァ。、هन\u094d🙂\u0301\u200d", max_size=60
)


def pieces_of(documents, size=3):
    """Documents as they come from files: in pieces."""
    for number, text in enumerate(documents):
        for start in range(0, len(text), size):
            yield number, text[start : start + size]


def cut_texts(text, where, size, arriving=3):
    whole = np.array([len(text)])
    parts = list(cut(split_parts(pieces_of([text], arriving), whole, whole), where, size))
    assert [part.ends for part in parts] == [False] * (len(parts) - 1) + [True]
    return [part.text for part in parts]


# Reading


def test_documents_come_in_the_order_of_their_paths_and_rows(tmp_path):
    rows = '{"text": "third"}\n{"completion": "fourth"}\n'
    files = {
        "b.jsonl": rows,
        "a.txt": "first",
        "a.md": "zeroth",
        "c": "last",
        "b.json": '[{"text": "second"}]',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    expected = ["zeroth", "first", "second", "third", "fourth", "last"]
    assert list(Corpus(tmp_path, TokenizeConfig()).pieces()) == list(enumerate(expected))


@given(st.lists(TEXT.filter(bool), min_size=1), st.integers(1, 9))
def test_measures_are_characters_a_document_and_bytes_of_all(documents, size):
    lengths, total, *_ = measure(pieces_of(documents, size), lambda done: None)
    assert lengths.tolist() == [len(text) for text in documents]
    assert total == len("".join(documents).encode())


# Cutting


def words(text):
    return [word for word, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)]


def words_of_parts(text, size):
    return [word for part in cut_texts(text, BETWEEN_WORDS, size) for word in words(part)]


@given(TRICKY | TEXT, st.integers(1, 8))
@example("one  two   three \n\n four", 1)
@example("don't 'll'd I've'", 1)
@example("a'sb a''s 1's", 1)
@example("北京。上海，1984年 hello,world 3.14", 1)
@example(" \n ", 1)
@example("x\x1c y\x85 z", 1)
def test_cutting_between_words_changes_no_word(text, size):
    if text:
        assert words_of_parts(text, size) == words(text)


@pytest.mark.slow
def test_characters_named_by_the_cuts_are_what_they_claim():
    contexts = "a{0}b 1{0}2. {0}'s,{0}. {0}{0} 中{0}。"
    named = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    named = [
        char
        for char in named
        if ord(char) < 0x3100 or BETWEEN_WORDS.search(f"{char}!") or char in "。，！？；："
    ]
    assert len(named) > 40_000
    text = "".join(contexts.format(char) for char in named)
    assert words_of_parts(text, 1) == words(text)


@given(
    TRICKY.filter(bool),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([BETWEEN_WORDS, ANYWHERE, NOWHERE]),
)
def test_parts_are_the_text_and_do_not_depend_on_how_it_arrives(text, size, arriving, where):
    parts = cut_texts(text, where, size, arriving)
    assert "".join(parts) == text
    assert "" not in parts
    assert parts == cut_texts(text, where, size, len(text))
    assert all(len(part) >= size for part in parts[:-1])
    if where is NOWHERE:
        assert parts == [text]
    if where is ANYWHERE:
        assert {len(part) for part in parts[:-1]} <= {size}


@pytest.mark.parametrize(
    "text",
    [
        "ab,cd." * 1000,
        "f00dcafe" * 1000,
        "北京是首都，上海不是。" * 1000,
        "word " * 1000,
        "if(x){y=1;}" * 1000,
    ],
)
def test_text_of_more_than_one_kind_of_character_is_cut_soon(text):
    parts = cut_texts(text, BETWEEN_WORDS, 100)
    assert max(map(len, parts)) < 120
    assert [word for part in parts for word in words(part)] == words(text)


@pytest.mark.parametrize("sign", ["a", "1", "!", " ", "🙂"])
def test_run_of_one_kind_is_one_whole_word_unless_it_is_long(sign):
    text = sign * (LONGEST + 100)
    assert cut_texts(text, BETWEEN_WORDS, 100) == [text]
    assert len(words(text)) == 1
    whole = np.array([3 * len(text)])
    parts = list(cut(split_parts(pieces_of([text * 3]), whole, whole), BETWEEN_WORDS, 100))
    assert [len(part.text) for part in parts] == [LONGEST + 100] * 3
    assert [part.half_a_word for part in parts] == [True, True, False]
    assert cut_texts(text * 3, NOWHERE, 100) == [text * 3]


@given(
    st.lists(st.sampled_from(["a" * 40, "b", " ", "1" * 25, ",", "中" * 30]), min_size=1, max_size=12),
    st.integers(1, 30),
    st.integers(1, 50),
)
def test_cuts_of_long_words_do_not_depend_on_how_text_arrives(runs, size, arriving):
    text = "".join(runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "LONGEST", 10)
        parts = cut_texts(text, BETWEEN_WORDS, size, arriving)
        assert "".join(parts) == text
        assert parts == cut_texts(text, BETWEEN_WORDS, size, len(text))
        assert all(size <= len(part) <= size + 10 for part in parts[:-1])
        assert len(parts[-1]) <= size + 10
        boundaries = np.array([match.start() for match in BETWEEN_WORDS.finditer(text)])
        for end, part in zip(np.cumsum(list(map(len, parts)))[:-1], parts, strict=False):
            due = np.arange(end - len(part) + size, end)
            assert not np.isin(due, boundaries).any()
            assert end in boundaries or len(due) == 10


# Splits


def split(documents, config):
    measures = measure(pieces_of(documents), lambda done: None)
    training = training_lengths(measures, config)
    found = {"train": [""], "validation": [""]}
    for part in split_parts(pieces_of(documents), measures.lengths, training):
        assert part.text
        found[part.split][-1] += part.text
        if part.ends:
            found[part.split].append("")
    assert found["train"].pop() == found["validation"].pop() == ""  # every document has ended
    return found["train"], found["validation"]


def test_equal_documents_go_to_one_split():
    """Else what is held out would have been trained on."""
    documents = [f"document {number} of the lot" for number in range(30)] * 3
    train, validation = split(documents, TokenizeConfig(validation=0.2))
    assert set(train).isdisjoint(validation)
    assert sorted(train + validation) == sorted(documents)
    assert len(validation) == 18


@given(TEXT.filter(bool))
def test_single_text_is_cut_at_90_percent_and_nothing_is_lost(text):
    train, validation = split([text], TokenizeConfig(validation=0.1))
    assert "".join(train + validation) == text
    assert len("".join(validation)) == len(text) // 10


def test_the_verdict_is_cut_at_ninety_percent(shared_data):
    text = (shared_data / "the-verdict.txt").read_text(encoding="utf-8")
    train, validation = split([text], TokenizeConfig(validation=0.1))
    assert (len(train[0]), len(validation[0])) == (18_432, 2_047)


@given(st.lists(TEXT.filter(bool), min_size=1, max_size=9), st.floats(0, 0.99))
def test_few_documents_lose_the_end_of_their_text_only(documents, share):
    train, validation = split(documents, TokenizeConfig(validation=share))
    text = "".join(documents)
    assert "".join(train + validation) == text
    assert len("".join(validation)) == int(len(text) * share)
    assert "" not in train + validation


@given(st.lists(TEXT.filter(bool), min_size=10, max_size=40, unique=True), st.integers(0, 2**32 - 1))
def test_many_documents_are_held_out_whole_and_in_order(documents, seed):
    config = TokenizeConfig(validation=0.3, seed=seed)
    train, validation = split(documents, config)
    wanted, held = int(sum(map(len, documents)) * 0.3), len("".join(validation))
    assert abs(held - wanted) < max(1, wanted / 2)
    assert split(documents, config) == (train, validation)
    if "".join(train + validation) == "".join(documents):
        return  # the end of the text was held out, as no whole documents come near the share
    assert sorted(train + validation) == sorted(documents)
    assert [text for text in documents if text in set(train)] == train
    assert [text for text in documents if text in set(validation)] == validation


def shares_held_out(lengths, share, seeds):
    """The mean length of held-out documents to that of trained ones, and their size to the one asked for."""
    ratios, sizes = [], []
    measures = Measures(lengths, 0, np.arange(len(lengths)))
    for seed in range(seeds):
        training = training_lengths(measures, TokenizeConfig(validation=share, seed=seed))
        held = training == 0
        assert set(training[~held]) <= set(lengths[~held]), "documents are held out whole"
        ratios.append(lengths[held].mean() / lengths[~held].mean())
        sizes.append(lengths[held].sum() / lengths.sum() / share)
    return np.array(ratios), np.array(sizes)


@pytest.mark.parametrize("spread", [0.3, 1.0, 1.6], ids=["alike", "as articles", "heavy-tailed"])
@pytest.mark.parametrize(("count", "share"), [(30, 0.1), (57, 0.1), (57, 0.2), (400, 0.1), (400, 0.02)])
def test_held_out_documents_are_as_long_as_trained_ones(spread, count, share):
    """Filling the share with what still fits held out documents of 0.64 of the trained mean."""
    lengths = np.random.default_rng(5).lognormal(8, spread, count).astype(int) + 1
    ratios, sizes = shares_held_out(lengths, share, 100)
    assert ratios.mean() == pytest.approx(1, abs=0.08)
    assert sizes.mean() == pytest.approx(1, abs=0.04)
    assert np.abs(sizes - 1).max() < 0.25


def test_every_document_but_the_longest_may_be_held_out():
    lengths = np.random.default_rng(5).lognormal(8, 1, 57).astype(int) + 1
    measures = Measures(lengths, 0, np.arange(57))
    times = sum(training_lengths(measures, TokenizeConfig(seed=seed)) == 0 for seed in range(300))
    assert times[lengths < lengths.sum() / 20].min() > 0
    assert times.max() < 100


def test_another_seed_holds_out_other_documents():
    documents = [f"document {number:03}" for number in range(100)]
    one, other = (split(documents, TokenizeConfig(seed=seed))[1] for seed in (1, 2))
    assert len(one) == len(other) == 10
    assert one != other


def test_held_out_share_is_never_empty_for_large_documents():
    train, validation = split(["x" * 100] * 10, TokenizeConfig(validation=0.05))
    assert [len(text) for text in train] == [100] * 9 + [50]
    assert [len(text) for text in validation] == [50]


def test_nothing_is_held_out_when_nothing_is_to_be():
    documents = [f"document {number}" for number in range(20)]
    assert split(documents, TokenizeConfig(validation=0)) == (documents, [])


# The sample that a tokenizer learns from


def sampled(documents, wanted):
    lengths, size, *_ = measure(pieces_of(documents), lambda done: None)
    return list(sample(split_parts(pieces_of(documents), lengths, lengths), size, wanted))


def test_all_of_a_corpus_that_is_small_enough_is_sampled():
    documents = ["one two", "назад", "three"]
    size = len("".join(documents).encode())
    for wanted in (size, 100):
        assert "".join(sampled(documents, wanted)) == "".join(documents)
    assert len("".join(sampled(documents, size - 1)).encode()) < size


@given(st.lists(TEXT.filter(bool), min_size=1, max_size=30), st.integers(1, 200))
def test_a_sample_is_never_larger_than_asked_for(documents, wanted):
    try:
        texts = sampled(documents, wanted)
    except corpus.StageError:
        return
    assert 0 < len("".join(texts).encode()) <= wanted


def test_a_sample_is_spread_evenly():
    documents = [f"{number:04} " * 20 for number in range(100)]
    texts = sampled(documents, 1000)
    taken = [int(word) for text in texts for word in text.split()]
    assert 150 < len(taken) <= 200  # words of five bytes
    counts, _ = np.histogram(taken, bins=10, range=(0, 100))
    assert counts.min() >= 14
    assert counts.max() <= 21


def test_sample_takes_text_from_every_part_of_one_long_document():
    text = " ".join(f"w{number}" for number in range(10_000))
    texts = sampled([text], 10_000)
    assert all(part in text for part in texts)
    starts = [text.index(part) for part in texts]
    assert max(np.diff([0, *starts, len(text)])) < len(text) / 50
