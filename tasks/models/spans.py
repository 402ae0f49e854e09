"""Models with a head that tells where an answer starts and where it ends."""

from pathlib import Path
from typing import Any

from transformers import (
    MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    AutoConfig,
    AutoModelForQuestionAnswering,
    PreTrainedModel,
)

NAMED, CALLED = "model", "transformer"


class SpanModel:
    """`AutoModelForQuestionAnswering`, but for what a base's backbone is called.

    Transformers 5.24 calls the backbone of Llama's kinds `transformer` in this one head, and `model` in all
    others: it would load none of its weights, and draw them.
    """

    @staticmethod
    def from_pretrained(folder: Path | str, **options: Any) -> PreTrainedModel:
        shape = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        kind = MODEL_FOR_QUESTION_ANSWERING_MAPPING.get(type(shape), None)
        if kind is None or kind.base_model_prefix != CALLED:
            return AutoModelForQuestionAnswering.from_pretrained(folder, **options)
        mapping = {rf"^{NAMED}\.": f"{CALLED}."}
        loaded = AutoModelForQuestionAnswering.from_pretrained(folder, **options, key_mapping=mapping)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model._weight_conversions = None  # or it would be saved under the names that this head does not load
        return loaded
