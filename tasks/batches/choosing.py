"""Choices scored by a model, each with its prompt.

MLflow keeps this file with a model and runs it where this package is not installed: it imports what the model
is loaded with, and nothing of ours.
"""

from typing import Any, NamedTuple

import pandas as pd
import torch
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from transformers import (
    AutoConfig,
    AutoModelForMultipleChoice,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES

BETWEEN = "\n"  # a prompt and a choice, where the tokenizer puts nothing there


class ChoiceModel:
    """A model that gives each sequence (rows, time) one logit (rows, 1), which may stand among any others.

    An encoder has Transformers' head for multiple choice. A causal model, for which it has none, has that of
    a classifier with one output, which reads the last token.
    """

    @staticmethod
    def from_pretrained(folder: Any, **options: Any) -> Any:
        shape = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        if shape.model_type not in MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES:
            return AutoModelForSequenceClassification.from_pretrained(folder, **options)
        loaded = AutoModelForMultipleChoice.from_pretrained(folder, **options)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.register_forward_pre_hook(_as_single_choices, with_kwargs=True)
        return loaded


def _as_single_choices(
    _model: PreTrainedModel, args: tuple[Any, ...], inputs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Sequences (rows, time) as those of rows with one choice (rows, 1, time), which the head expects."""
    taken = ("input_ids", "attention_mask", "token_type_ids")
    return args, {
        name: value[:, None] if name in taken and value is not None and value.ndim == 2 else value
        for name, value in inputs.items()
    }


class Sequences(NamedTuple):
    """A prompt with each of its choices, in tokens."""

    input_ids: list[list[int]]
    token_types: list[list[int]]
    """Empty lists where the tokenizer tells the model nothing of the two."""
    lost: int
    """How many tokens, all of the prompt, did not fit, where most are lost."""


def sequences_of(tokenizer: PreTrainedTokenizerBase, prompt: str, choices: list[str]) -> Sequences:
    """The prompt with each choice, of at most as many tokens as the tokenizer's longest.

    The prompt loses its beginning, so that its end, which is asked, stays. Raises ValueError where a choice
    leaves no room for it.
    """
    size = tokenizer.model_max_length
    tokenizer.truncation_side = "left"
    is_paired = tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add()
    alone = tokenizer(choices, add_special_tokens=False, verbose=False)["input_ids"]
    taken = max(map(len, alone)) + tokenizer.num_special_tokens_to_add(pair=is_paired)
    if taken + 2 > size:
        raise ValueError(f"a choice takes {taken} of {size} tokens, which leaves none for its prompt")
    if is_paired:
        given, how = ([prompt] * len(choices), choices), "only_first"
    else:
        given, how = ([f"{prompt}{BETWEEN}{choice}" for choice in choices],), True
    whole = tokenizer(*given, verbose=False)["input_ids"]
    cut = tokenizer(*given, truncation=how, max_length=size)
    types = cut["token_type_ids"] if is_paired and "token_type_ids" in cut else [[] for _ in choices]
    lost = max(len(every) - len(ids) for every, ids in zip(whole, cut["input_ids"], strict=True))
    return Sequences(cut["input_ids"], types, lost)


class Chooser(PythonModel):
    """Takes `prompt` and a list of `choices`; gives the `choice`, its `place` and all `probabilities`."""

    def load_context(self, context: Any) -> None:
        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = ChoiceModel.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        ).eval()

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        del context, params
        rows = model_input.to_dict("records")
        shares = [self._shares(row["prompt"], list(row["choices"])) for row in rows]
        places = [max(range(len(each)), key=each.__getitem__) for each in shares]
        return pd.DataFrame(
            {
                "choice": [row["choices"][place] for row, place in zip(rows, places, strict=True)],
                "place": places,
                "probabilities": shares,
            }
        )

    @torch.no_grad()
    def _shares(self, prompt: str, choices: list[str]) -> list[float]:
        found = sequences_of(self.tokenizer, prompt, choices)
        scores = []
        for ids, types in zip(found.input_ids, found.token_types, strict=True):
            given = {"token_type_ids": torch.tensor([types])} if types else {}
            scores.append(self.model(input_ids=torch.tensor([ids]), **given).logits[0, 0])
        return torch.stack(scores).double().softmax(0).tolist()


if not __package__:  # MLflow runs the file by itself
    set_model(Chooser())
