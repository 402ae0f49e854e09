"""Where words begin in a sequence of tokens, known from the tokens alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tasks.data.token_files import id_count
from tasks.errors import StageError

CONTINUES, BEGINS, LETTER, DIGIT, MARK, SPACE = range(6)
METASPACE = "▁"


@dataclass(frozen=True)
class Words:
    """Of each token (vocabulary,) what it begins with and what it ends with."""

    first: np.ndarray
    last: np.ndarray

    def begins(self, tokens: np.ndarray) -> np.ndarray:
        """True where a word begins; both (time,).

        As GPT-2 splits text: at whitespace, and between letters, digits and marks. A space is of the word
        behind it.
        """
        first, before = self.first[tokens], self.last[tokens[:-1]]
        changes = np.ones(len(tokens), dtype=bool)
        changes[1:] = (first[1:] != before) & (before != SPACE)
        return (first == BEGINS) | ((first != CONTINUES) & changes)


def words_of(tokenizer: PreTrainedTokenizerBase) -> Words:
    """Raises StageError for a tokenizer whose tokens do not say where words begin."""
    kind, of_token = _reader(tokenizer)
    if of_token is None:
        raise StageError(
            f"where words begin cannot be told from the tokens of this tokenizer ({kind}). Set "
            "pretrain.masking=tokens"
        )
    first, last = (np.full(id_count(tokenizer), BEGINS, dtype=np.int8) for _ in range(2))
    special = set(tokenizer.all_special_ids)
    for token, number in tokenizer.get_vocab().items():
        if number not in special:
            first[number], last[number] = of_token(token)
    return Words(first, last)


def _reader(tokenizer: PreTrainedTokenizerBase) -> tuple[str, Callable[[str], tuple[int, int]] | None]:
    """The kind of a tokenizer, and what gives a token's first and last; None where that is unknown."""
    if not tokenizer.is_fast:
        return type(tokenizer).__name__, None
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    model, splitting = written["model"], str([written["pre_tokenizer"], written["decoder"]])
    kind = model.get("type") or "no model"
    if kind == "WordPiece":
        prefix = model["continuing_subword_prefix"]
        return kind, lambda token: (CONTINUES if token.startswith(prefix) else BEGINS, LETTER)
    if "ByteLevel" in splitting:
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}
        return kind, lambda token: _kinds_of(_bytes_of(token, byte_of))
    if METASPACE in splitting:
        return kind, lambda token: (BEGINS if token.startswith(METASPACE) else CONTINUES, LETTER)
    if kind == "WordLevel":
        if max(map(len, model["vocab"].keys() - tokenizer.all_special_tokens), default=0) > 1:
            return kind, lambda _: (BEGINS, LETTER)
        return kind, lambda token: _kinds_of(token.encode())
    return kind, None


def _bytes_of(token: str, byte_of: Mapping[str, int]) -> bytes:
    """Of a token of a byte-level vocabulary; added tokens stand there as they are."""
    known = all(character in byte_of for character in token)
    return bytes(byte_of[character] for character in token) if known else token.encode()


def _kinds_of(token: bytes) -> tuple[int, int]:
    """Of a token's first and last character; one whose first character began in another token continues."""
    text = token.decode(errors="replace")
    first = CONTINUES if text.startswith("\ufffd") else _kind_of(text[0])
    return first, SPACE if text[-1] == " " else _kind_of(text[-1])


def _kind_of(character: str) -> int:
    if character.isspace():
        return BEGINS
    if character.isalpha() or character == "\ufffd":
        return LETTER
    return DIGIT if character.isnumeric() else MARK
