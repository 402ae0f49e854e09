"""Beam search, by Hugging Face: the likeliest of several responses that are grown side by side."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from transformers import GenerationConfig, PreTrainedModel

from tasks.generate.decoding import Prompt


def search(
    model: PreTrainedModel, prompts: Sequence[Prompt], beams: int, ends: frozenset[int]
) -> Iterator[list[tuple[Prompt, list[int]]]]:
    """Rows with their tokens, an end token included, those of one limit at a time.

    Hugging Face's limit is one for the whole batch.
    """
    for limit, members in groupby(sorted(prompts, key=lambda one: one.limit), key=lambda one: one.limit):
        yield _grown(model, list(members), limit, beams, ends)


@torch.no_grad()
def _grown(
    model: PreTrainedModel, prompts: list[Prompt], limit: int, beams: int, ends: frozenset[int]
) -> list[tuple[Prompt, list[int]]]:
    longest = max(len(prompt.ids) for prompt in prompts)
    pad = min(ends)
    padded = [[pad] * (longest - len(prompt.ids)) + prompt.ids for prompt in prompts]
    mask = [[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    output = model.generate(
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=GenerationConfig(
            max_new_tokens=limit,
            num_beams=beams,
            do_sample=False,
            eos_token_id=sorted(ends),
            pad_token_id=pad,
        ),
    )
    return [
        (prompt, up_to_end(tokens, ends))
        for prompt, tokens in zip(prompts, output[:, longest:].tolist(), strict=True)
    ]


def up_to_end(tokens: list[int], ends: frozenset[int]) -> list[int]:
    place = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: place + 1]
