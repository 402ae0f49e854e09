"""Reading GGUF files through Transformers, which draws a progress bar of its own over ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from transformers import modeling_gguf_pytorch_utils


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Transformers 5.24 draws it with tqdm whatever its own `disable_progress_bar` was told."""
    drawn = modeling_gguf_pytorch_utils.tqdm
    modeling_gguf_pytorch_utils.tqdm = partial(drawn, disable=True)
    try:
        yield
    finally:
        modeling_gguf_pytorch_utils.tqdm = drawn
