"""Tokenizers of masked language models: their special tokens, and where their words begin."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

from tasks.config import TokenizeConfig
from tasks.data.token_files import load_tokens
from tasks.errors import StageError
from tasks.models.loading import load_tokenizer
from tasks.tokenize.masks import require_mask, with_mask
from tasks.tokenize.stage import characters, load_hugging_face, train_bpe
from tasks.tokenize.words import words_of
from tests.pretrain.training import tokens_of

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "##s", "cat", ","]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """The folder of BERT's kind of tokenizer: WordPiece, and no end token."""
    folder = tmp_path_factory.mktemp("bert")
    BertTokenizerFast(vocab={piece: number for number, piece in enumerate(PIECES)}).save_pretrained(folder)
    return folder


def words_in(tokenizer, text):
    ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
    numbers = np.cumsum(words_of(tokenizer).begins(ids))
    return [tokenizer.decode(ids[numbers == number]).strip() for number in np.unique(numbers)]


@pytest.mark.parametrize("make", [lambda texts: train_bpe(texts, 270), characters])
def test_a_tokenizer_trained_here_puts_its_tokens_around_texts(make, tmp_path):
    with_mask(make(["a cat sat"])).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    start, end = tokenizer.cls_token_id, tokenizer.eos_token_id
    own = {text: tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("a cat", "sat")}
    assert tokenizer("a cat")["input_ids"] == [start, *own["a cat"], end]
    pair = tokenizer("a cat", "sat")
    assert pair["input_ids"] == [start, *own["a cat"], end, *own["sat"], end]
    assert pair["token_type_ids"] == [0] * (len(own["a cat"]) + 2) + [1] * (len(own["sat"]) + 1)
    assert tokenizer.mask_token_id not in (start, end, tokenizer.pad_token_id)


def test_the_vocabulary_is_as_long_as_asked_for(tmp_path):
    files = load_tokens(tokens_of("the cat sat on the mat " * 40, tmp_path, mask_token=True, vocab_size=280))
    assert files.vocab_size <= 280
    assert set(files.special) == {"start", "end", "mask", "pad", "all"}


def test_tokens_without_a_mask_say_what_to_set(tmp_path):
    files = load_tokens(tokens_of("the cat sat on the mat " * 40, tmp_path))
    assert "special" not in files.facts
    with pytest.raises(StageError, match=r"Set tokenize\.mask_token=true"):
        _ = files.special


def test_end_token_of_berts_tokenizer_is_its_separator(bert, tmp_path):
    files = load_tokens(
        tokens_of("play cat , playing " * 40, tmp_path, kind="hf", name=str(bert), mask_token=True)
    )
    assert files.end_token == files.special["end"] == PIECES.index("[SEP]")


def test_a_causal_models_tokenizer_is_refused(tmp_path):
    train_bpe(["a cat"], 270).save_pretrained(tmp_path)
    with pytest.raises(StageError, match=r"has no mask token.*set tokenize.kind=bpe"):
        load_hugging_face(TokenizeConfig(kind="hf", name=str(tmp_path), mask_token=True))


def test_a_tokenizer_that_puts_nothing_around_texts_is_refused():
    tokenizer = train_bpe(["a cat"], 270)
    names = {"cls_token": "<c>", "sep_token": "<s>", "mask_token": "<m>"}
    tokenizer.add_special_tokens(names)
    with pytest.raises(StageError, match=r"puts \[\] around a text; expected \['<c>', '<s>'\]"):
        require_mask(tokenizer, "x")


def test_gpt2s_vocabulary_has_no_mask():
    with pytest.raises(ValueError, match="GPT-2's vocabulary has no mask token"):
        TokenizeConfig(kind="gpt2", mask_token=True)


# Where words begin


def test_words_of_wordpiece(bert):
    tokenizer = load_hugging_face(TokenizeConfig(kind="hf", name=str(bert), mask_token=True))
    assert words_in(tokenizer, "playing cats, play") == ["playing", "cats", ",", "play"]


def test_words_of_byte_level_bpe():
    tokenizer = train_bpe(["x"], 258)
    assert words_in(tokenizer, "naïve cats 42x, 天地") == ["naïve", "cats", "42", "x", ",", "天地"]


def test_words_of_characters():
    tokenizer = characters(["a cat, 42x"])
    assert words_in(tokenizer, "a cat, 42x") == ["a", "cat", ",", "42", "x"]


def test_words_of_sentencepiece():
    pieces = {"<unk>": 0, "▁the": 1, "▁c": 2, "at": 3}
    backend = Tokenizer(models.BPE(vocab=pieces, merges=[], unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    words = words_of(PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>"))
    assert words.begins(np.array([1, 2, 3, 3, 1])).tolist() == [True, True, False, False, True]


def test_unknown_kind_of_tokens_is_refused():
    backend = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    backend.normalizer = normalizers.Lowercase()
    with pytest.raises(StageError, match=r"cannot be told.*\(BPE\).*Set pretrain.masking=tokens"):
        words_of(PreTrainedTokenizerFast(tokenizer_object=backend))
