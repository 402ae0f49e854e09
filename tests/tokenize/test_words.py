"""A vocabulary of words: what it knows, what it loses, and that the loss is told."""

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from tasks.config import TokenizeConfig
from tasks.data.token_files import load_tokens, read_facts
from tasks.tokenize.corpus import TextPart, cut
from tasks.tokenize.stage import cuts, text_ids, tokenize
from tasks.tokenize.word_level import UNKNOWN, words

TEXT = (
    'I had thought him "a cheap genius--though a good fellow" (enough), so no: '
    "it wasn't a surprise; well-known, was it?\nYes… “He’s here!”"
)
READABLE = (
    'I had thought him " a cheap genius--though a good fellow " (enough), so no: '
    "it wasn't a surprise; well-known, was it? Yes… “He’s here!”"
)


def test_words_and_marks_are_tokens_and_decoding_is_readable():
    tokenizer = words([TEXT], 300, 1)
    (ids,) = text_ids(tokenizer, [TEXT])
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[:8] == ["I", "had", "thought", "him", '"', "a", "cheap", "genius"]
    assert tokens[8:12] == ["--", "though", "a", "good"]
    assert "well-known" in tokens
    assert tokenizer.decode(ids) == READABLE
    assert tokenizer.decode(text_ids(tokenizer, [READABLE])[0]) == READABLE


def test_rare_words_and_those_beyond_the_size_are_unknown():
    text = "a a a b b c"
    assert set(words([text], 300, 2).get_vocab()) == {"<|endoftext|>", "<|pad|>", UNKNOWN, "a", "b"}
    assert set(words([text], 4, 1).get_vocab()) == {"<|endoftext|>", "<|pad|>", UNKNOWN, "a"}
    tokenizer = words([text], 300, 2)
    assert tokenizer.decode(text_ids(tokenizer, ["a c b"])[0]) == f"a {UNKNOWN} b"
    assert tokenizer.eos_token_id not in text_ids(tokenizer, ["a <|endoftext|>"])[0]


def test_share_of_unknown_words_is_told_of_both_splits(tmp_path, stage_run, monkeypatch):
    folder = tmp_path / "texts"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.txt").write_text(f"the same words, and word{number} alone")
    metrics, told = {}, []
    run = stage_run(say=told.append)
    monkeypatch.setattr(type(run), "log_metrics", lambda _run, values: metrics.update(values))
    config = TokenizeConfig(kind="word", validation=0.2)
    tokenize(config, run, corpus=folder)
    facts, files = read_facts(run.out), load_tokens(run.out)
    tokenizer = AutoTokenizer.from_pretrained(run.out / "tokenizer")
    assert facts["train"]["unknown"] == 0, "words of the training split are known"
    held_out = facts["validation"]["documents"]
    assert facts["validation"]["unknown"] == held_out > 0, "no word is learned from what is held out"
    assert (files.validation.tokens == tokenizer.unk_token_id).sum() == held_out
    assert metrics["train_unknown_share"] == 0
    assert metrics["validation_unknown_share"] == pytest.approx(1 / 7)
    assert told == ["the vocabulary lacks 14.3% of validation: so many tokens are the unknown one"]


def test_a_minimum_frequency_goes_with_words():
    with pytest.raises(ValidationError, match=r"min_frequency goes with tokenize.kind=word"):
        TokenizeConfig(min_frequency=2)


@pytest.mark.parametrize("size", [1, 5, 30])
def test_texts_are_cut_at_spaces_so_that_no_word_is_parted(size):
    tokenizer = words([TEXT], 300, 1)
    parts = cut([TextPart("train", TEXT, True)], cuts(tokenizer), size)
    found = [token for part in parts for token in text_ids(tokenizer, [part.text])[0]]
    assert found == text_ids(tokenizer, [TEXT])[0]
