"""Tokenizers of masked language models: a mask token, and a token before and behind each text."""

from typing import Any

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tasks.errors import StageError

START = "<|cls|>"
MASK = "<|mask|>"
INPUTS = ["input_ids", "token_type_ids", "attention_mask"]


def with_mask(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer that was trained here as an encoder's, in place, two tokens longer.

    A text becomes START text END, and a pair of texts START text END other END, as BERT reads them: the end
    token of documents is what closes a text.
    """
    end = tokenizer.eos_token
    tokenizer.add_special_tokens({"cls_token": START, "sep_token": end, "mask_token": MASK})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{START} $A {end}",
        pair=f"{START} $A {end} $B:1 {end}:1",
        special_tokens=[(START, tokenizer.cls_token_id), (end, tokenizer.eos_token_id)],
    )
    # What is saved is what it was made with.
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = INPUTS
    return tokenizer


def require_mask(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise StageError for a tokenizer that is not an encoder's."""
    needed = {"mask": tokenizer.mask_token, "[CLS]": tokenizer.cls_token, "[SEP]": tokenizer.sep_token}
    if missing := [what for what, token in needed.items() if token is None]:
        raise StageError(
            f"tokenizer {name!r} has no {missing[0]} token, which pretrain.objective=masked needs. Name a "
            "masked model's tokenizer as tokenize.name, or set tokenize.kind=bpe, which trains one"
        )
    around = tokenizer("").input_ids
    if around != [tokenizer.cls_token_id, tokenizer.sep_token_id]:
        raise StageError(
            f"tokenizer {name!r} puts {tokenizer.convert_ids_to_tokens(around)} around a text; expected "
            f"{[tokenizer.cls_token, tokenizer.sep_token]}. Name another masked model's tokenizer"
        )


def special_ids(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """As `TokenFiles.special` has them."""
    return {
        "start": tokenizer.cls_token_id,
        "end": tokenizer.sep_token_id,
        "mask": tokenizer.mask_token_id,
        "pad": tokenizer.pad_token_id,
        "all": sorted(tokenizer.all_special_ids),
    }
