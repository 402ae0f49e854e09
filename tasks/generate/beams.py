"""Beam search, by Hugging Face: the likeliest of several responses that are grown side by side."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

import torch
from transformers import GenerationConfig, PreTrainedModel

from tasks.generate.decoding import Prompt

Grow = Callable[[list[Prompt], int], list[tuple[Prompt, list[int]]]]
"""Rows of one limit with the tokens that are found for them."""


def search(prompts: Sequence[Prompt], grow: Grow) -> Iterator[list[tuple[Prompt, list[int]]]]:
    """Rows with their tokens, an end token included, those of one limit at a time.

    Hugging Face's limit is one for the whole batch.
    """
    for limit, members in groupby(sorted(prompts, key=lambda one: one.limit), key=lambda one: one.limit):
        yield grow(list(members), limit)


@torch.no_grad()
def grown(
    model: PreTrainedModel, prompts: list[Prompt], limit: int, beams: int, ends: frozenset[int]
) -> list[tuple[Prompt, list[int]]]:
    """By a causal model, which continues its prompts."""
    longest = max(len(prompt.ids) for prompt in prompts)
    pad = min(ends)
    padded = [[pad] * (longest - len(prompt.ids)) + prompt.ids for prompt in prompts]
    mask = [[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    output = model.generate(
        input_ids=torch.tensor(padded, device=model.device),
        attention_mask=torch.tensor(mask, device=model.device),
        generation_config=settings(limit, beams, ends, pad),
    )
    return [
        (prompt, up_to_end(tokens, ends))
        for prompt, tokens in zip(prompts, output[:, longest:].tolist(), strict=True)
    ]


def settings(limit: int, beams: int, ends: frozenset[int], pad: int, **more: int) -> GenerationConfig:
    """How Hugging Face is to search; `more` is what a kind of model needs beside."""
    return GenerationConfig(
        max_new_tokens=limit,
        num_beams=beams,
        do_sample=False,
        eos_token_id=sorted(ends),
        pad_token_id=pad,
        **more,
    )


def up_to_end(tokens: list[int], ends: frozenset[int]) -> list[int]:
    place = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[: place + 1]
