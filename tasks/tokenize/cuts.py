"""Where a tokenizer lets a text be cut, so that long texts need not be encoded whole."""

import json
import re

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase

from tasks.tokenize.corpus import ANYWHERE, AT_SPACES, BETWEEN_WORDS, NOWHERE
from tasks.tokenize.word_level import EVERY_CHARACTER, MARKS


def cuts(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """Where a text may be cut so that the tokens of the parts are those of the whole.

    Anywhere for one token a character, at spaces for one a word. For a byte-level BPE with GPT-2's pattern,
    between its words: a run of one kind (whitespace, letters, digits, marks) is one word. Nowhere when
    anything else is known of the tokenizer (a normalizer, added tokens that are not special, another
    pattern), or nothing.
    """
    if not tokenizer.is_fast or (backend := tokenizer.backend_tokenizer).pre_tokenizer is None:
        return NOWHERE
    added = backend.get_added_tokens_decoder().values()
    if backend.normalizer is not None or not all(token.special for token in added):
        return NOWHERE
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = backend.pre_tokenizer
    match json.loads(bare.to_str())["pre_tokenizer"]:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return BETWEEN_WORDS
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return ANYWHERE if pattern == EVERY_CHARACTER else NOWHERE
        case {"type": "Sequence", "pretokenizers": [{"pattern": {"Regex": str(marks)}}, {"type": kind}]}:
            return AT_SPACES if (marks, kind) == (MARKS, "WhitespaceSplit") else NOWHERE
    return NOWHERE
