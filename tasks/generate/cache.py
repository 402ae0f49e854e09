"""Keys and values of a batch in buffers of their final size, from which rows leave.

Hugging Face's cache grows by copying all of itself at every token; here a token is written where it belongs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicLayer, DynamicSlidingWindowLayer

from tasks.errors import StageError


@dataclass
class Window:
    """What of the buffers the next forward sees: rows `first` to `last`, columns from `start` to `end`.

    It writes its own columns behind `end`.
    """

    first: int
    last: int
    start: int
    end: int

    def show(self, rows: slice, start: int, end: int) -> None:
        self.first, self.last, self.start, self.end = rows.start, rows.stop, start, end


class BufferLayer(CacheLayerMixin):
    """Keys and values of one layer, both (rows, heads, columns, head width)."""

    is_sliding = False

    def __init__(self, window: Window, rows: int, columns: int) -> None:
        super().__init__()
        self.window, self.rows, self.columns = window, rows, columns

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Zeros: what is masked counts nothing, but nothing times NaN is NaN."""
        self.keys, self.values = (
            states.new_zeros(self.rows, states.shape[1], self.columns, states.shape[3])
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write the new columns; returns views of all that the window sees and of those."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        window, end = self.window, self.window.end + key_states.shape[2]
        keys, values = (buffer[window.first : window.last, :, :end] for buffer in (self.keys, self.values))
        keys[:, :, window.end :] = key_states
        values[:, :, window.end :] = value_states
        return keys[:, :, window.start :], values[:, :, window.start :]

    def get_seq_length(self) -> int:
        return self.window.end - self.window.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self.columns


class BufferCache(Cache):
    """Of all layers; `window` is moved by who calls the model."""

    def __init__(self, model: PreTrainedModel, rows: int, columns: int) -> None:
        """Raises StageError for a model that keeps something else than keys and values."""
        layers = DynamicCache(config=model.config).layers
        known = (DynamicLayer, DynamicSlidingWindowLayer)  # and not what was derived from them
        if other := [layer for layer in layers if type(layer) not in known]:
            raise StageError(
                f"{type(model).__name__} keeps a {type(other[0]).__name__}, not only the keys and values of "
                "tokens, so its rows cannot share a batch. Choose a model with attention in every layer"
            )
        self.window = Window(0, rows, 0, 0)
        super().__init__(layers=[BufferLayer(self.window, rows, columns) for _ in layers])

    def start_with(self, prefix: Cache, rows: slice, column: int) -> None:
        """Write keys and values of tokens that all rows begin with, read once, at a column of some rows."""
        for layer, read in zip(self.layers, prefix.layers, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(read.keys, read.values)
            until = column + read.keys.shape[2]
            layer.keys[rows, :, column:until] = read.keys
            layer.values[rows, :, column:until] = read.values

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Rows take the places of others."""
        seen = slice(self.window.start, self.window.end)
        for layer in self.layers:
            for buffer in (layer.keys, layer.values):
                buffer[targets, :, seen] = buffer[sources, :, seen]
