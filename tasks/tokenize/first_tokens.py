"""What a text's first token stands for: nothing precedes it, so it is not predicted, nor are its bytes."""

import json
import re
from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

BYTE = re.compile(r"<0x[0-9A-F]{2}>")  # a byte of a character that a vocabulary lacks
SPACE = "▁"  # of SentencePiece
BEGINNING = 64  # characters that are encoded again, which most first words are shorter than

FirstBytes = Callable[[Sequence[int], str], int]
"""Of a text and its tokens: how many bytes of the text in UTF-8 the first token stands for."""


def first_bytes(tokenizer: PreTrainedTokenizerBase) -> FirstBytes:
    """What tells that of the texts of a tokenizer; of one that is not fast, by what the token decodes to."""
    if not tokenizer.is_fast:
        return lambda ids, _text: len(tokenizer.decode(ids[:1]).encode()) if ids else 0
    backend = tokenizer.backend_tokenizer
    added = backend.get_added_tokens_decoder()
    of_bytes = '"ByteLevel"' in json.dumps(json.loads(backend.to_str())["decoder"])

    def count(ids: Sequence[int], text: str) -> int:
        if not ids:
            return 0
        token = backend.id_to_token(ids[0])
        if of_bytes and ids[0] not in added:
            return len(token)  # which has a character for each byte
        if BYTE.fullmatch(token):
            return 1
        if ids[0] != tokenizer.unk_token_id:
            word = token.replace(SPACE, " ")
            for own in (word, word.removeprefix(" ")):  # some put a space before a text
                if text.startswith(own):
                    return len(own.encode())
        size = BEGINNING
        while size < len(text):
            begun = backend.encode(text[:size], add_special_tokens=False)
            if begun.ids[:1] == [ids[0]] and begun.offsets[0][1] < size:
                return len(text[: begun.offsets[0][1]].encode())
            size *= 4
        whole = backend.encode(text, add_special_tokens=False)
        return len(text[: whole.offsets[0][1]].encode())

    return count
