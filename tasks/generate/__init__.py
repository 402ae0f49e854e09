"""Responses to the test prompts, and how well a model expects the reference responses.

`stage` writes them; `decoding` is the loop over batches of rows, with the keys and values in `cache` and the
next token from `sampling`; `beams` is Hugging Face's beam search, `references` the losses of the references.
"""

from tasks.generate.stage import generate

__all__ = ["generate"]
