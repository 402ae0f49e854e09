"""A reward model: a causal model with a head of one number, which is read at a conversation's last token.

Transformers reads such a head at the last token that is not the padding. So that this is the end of a
response, padding is a token of its own, and stands on the right.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from peft import TaskType
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from tasks.errors import StageError
from tasks.models.classifier import Head, load_classifier, new_classifier
from tasks.models.loading import load_tokenizer, use_fused_gelu
from tasks.models.summary import REWARD, ModelSummary
from tasks.tokenize.templates import Template, load_template
from tasks.tokenize.word_level import PAD

HEAD = Head(AutoModelForSequenceClassification, TaskType.SEQ_CLS, "regression")
BATCH_TOKENS = 8_192  # that are read at once


def new_reward_model(folder: Path, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in `folder` in float32 with a new head, which `seed` draws, and its tokenizer.

    A padding that the tokenizer did not have gets an embedding, which no token sees. Raises StageError as
    `new_classifier` does.
    """
    tokenizer = reward_tokenizer(folder)
    model = new_classifier(folder, (REWARD,), load_tokenizer(folder), seed, HEAD)
    known, padding = model.get_input_embeddings().num_embeddings, tokenizer.pad_token_id
    if padding >= known:
        with torch.random.fork_rng([]):  # Transformers draws what is set to 0 here
            model.resize_token_embeddings(padding + 1, mean_resizing=False)
        with torch.no_grad():
            model.get_input_embeddings().weight[known:] = 0
        model.name_or_path = ""  # PEFT would compare with it, and keep whole embeddings beside the adapters
    model.config.get_text_config().pad_token_id = padding
    return model, tokenizer


def reward_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`; where its padding is its end token, with a padding of its own."""
    tokenizer = load_tokenizer(folder)
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    return tokenizer


@dataclass(frozen=True)
class RewardModel:
    """One that the reward stage wrote: it says what a response to a row is worth.

    That number has no bounds; how much greater it is than another's to the same row is what was learned.
    """

    model: PreTrainedModel
    template: Template
    max_length: int
    """Tokens of prompt and response together; what is longer is read up to there, as in training."""

    @classmethod
    def load(cls, output: Path, device: torch.device) -> Self:
        """From the output of the stage. Raises StageError for another model."""
        summary = require_reward_model(output)
        template = load_template(summary.template, load_tokenizer(output / "model"))
        model = use_fused_gelu(load_classifier(output / "model", HEAD)).to(device).eval()
        return cls(model, template, summary.numbers["max_length"])

    def rewards(self, responses: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """What each response to its row is worth. Raises StageError for a prompt that leaves it no room."""
        prompts = self.template.prompts_ids(rows)
        sequences = [
            self._sequence(row, prompt, response)
            for row, prompt, response in zip(rows, prompts, responses, strict=True)
        ]
        return sequence_rewards(self.model, sequences)

    def tokens(self, row: Mapping[str, Any], response: str) -> list[int]:
        """What is read of a response to a row, however long it is."""
        return [*self.template.prompt_ids(row), *self.template.completion_ids(response)]

    def _sequence(self, row: Mapping[str, Any], prompt: list[int], response: str) -> list[int]:
        if len(prompt) >= self.max_length:
            raise StageError(
                f"row {row['id']} leaves the reward model no room for a response: its prompt has "
                f"{len(prompt)} tokens, and the model was trained on {self.max_length} at most. Leave the "
                "row out, or train the model with a greater reward.max_length"
            )
        return [*prompt, *self.template.completion_ids(response)][: self.max_length]


def require_reward_model(output: Path) -> ModelSummary:
    """The summary of a reward model. Raises StageError for another model, and where there is none."""
    summary = ModelSummary.find(output)
    if summary is None or summary.task != REWARD:
        raise StageError(
            f"{output.name} holds no reward model: expected the output of a reward stage, with "
            "summary.json and the folder model"
        )
    return summary


@torch.no_grad()
def sequence_rewards(model: PreTrainedModel, sequences: Sequence[Sequence[int]]) -> list[float]:
    """The reward of each sequence of tokens; sequences of about one length are read together.

    Raises StageError for a reward that is no finite number.
    """
    padding = model.config.get_text_config().pad_token_id
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    found: dict[int, float] = {}
    while order:
        count = max(1, BATCH_TOKENS // len(sequences[order[-1]]))
        places, order = order[-count:], order[:-count]
        longest = len(sequences[places[-1]])
        ids = [[*sequences[place], *[padding] * (longest - len(sequences[place]))] for place in places]
        mask = [[1] * len(sequences[place]) + [0] * (longest - len(sequences[place])) for place in places]
        logits = model(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            use_cache=False,
        ).logits
        found |= zip(places, logits[:, 0].float().tolist(), strict=True)
    rewards = [found[place] for place in range(len(sequences))]
    if wrong := [reward for reward in rewards if not math.isfinite(reward)]:
        raise StageError(
            f"the reward model gives {wrong[0]}, which is no finite number: its weights are damaged, or its "
            "training went astray. Train it again with a lower reward.learning_rate"
        )
    return rewards
