"""The tokens that end a model's responses."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def ends_of(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokenizer's end token, and those that the model says end its responses."""
    ends = network.generation_config.eos_token_id
    more = ends if isinstance(ends, list) else [] if ends is None else [ends]
    return frozenset([tokenizer.eos_token_id, *more])
