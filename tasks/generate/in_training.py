"""Responses of a model that is in the middle of its training, by the decoder of the generate stage.

TRL would ask Transformers' `generate`, which pads a batch to its longest response and copies its cache at
every token: 1.4 to 1.9 times as long (`python -m tests.benchmarks.rollouts`).
"""

from collections.abc import Callable, Sequence

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.config import GenerateConfig
from tasks.generate.decoding import Decoder, Prompt, batches
from tasks.generate.ends import ends_of

Stop = Callable[[], None]
"""Called between tokens; raises to end the decoding."""


def decoded(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    config: GenerateConfig,
    prompts: Sequence[Prompt],
    batch_tokens: int,
    stop: Stop,
) -> list[list[int]]:
    """The tokens of each prompt's response, an end token included, in the order of the prompts.

    The model is in training again afterwards, if it was before. `batch_tokens` bounds a batch.
    """
    network = whole(model)
    was_training = network.training
    network.eval()
    try:
        decoder = Decoder(network, config, ends_of(network, tokenizer))
        found: dict[int | str, list[int]] = {}
        for batch in batches(prompts, batch_tokens):
            for finished in decoder.decode(batch):
                stop()
                found |= {prompt.row: tokens for prompt, tokens in finished}
    finally:
        network.train(was_training)
    return [found[prompt.row] for prompt in prompts]


def whole(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model that decodes: adapters are within its layers."""
    return model.get_base_model() if isinstance(model, PeftModel) else model
