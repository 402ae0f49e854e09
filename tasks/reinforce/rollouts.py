"""Responses that are drawn for their rewards, and those to validation prompts."""

from collections.abc import Sequence
from itertools import chain

from peft import PeftModel
from transformers import PreTrainedModel

from tasks.config import GenerateConfig, GrpoConfig
from tasks.generate.decoding import Prompt
from tasks.generate.ends import ends_of
from tasks.generate.in_training import Stop, decoded, whole
from tasks.reinforce.prompts import PromptData


class Rollouts:
    """Draws from a model while it is trained; whatever is drawn depends on its key alone, not on chance."""

    def __init__(self, config: GrpoConfig, data: PromptData) -> None:
        self.config, self.data = config, data
        self.sampling = GenerateConfig(
            template=config.template,
            decoding="sample",
            temperature=config.temperature,
            seed=config.seed,
            max_new_tokens=config.max_new_tokens,
        )
        self.greedy = GenerateConfig(template=config.template, max_new_tokens=config.max_new_tokens)

    def drawn(
        self, model: PreTrainedModel | PeftModel, prompts: Sequence[Sequence[int]], key: str, stop: Stop
    ) -> list[list[int]]:
        """A response's tokens for each prompt, an end token included; others for every key."""
        keys = [f"{key}, {place}" for place in range(len(prompts))]
        return self._decoded(self.sampling, model, prompts, keys, stop)

    def answered(
        self, model: PreTrainedModel | PeftModel, prompts: Sequence[Sequence[int]], stop: Stop
    ) -> list[list[int]]:
        """The greedy responses."""
        return self._decoded(self.greedy, model, prompts, range(len(prompts)), stop)

    def texts(self, responses: Sequence[Sequence[int]]) -> list[str]:
        return [self.data.template.response(list(ids)) for ids in responses]

    def is_cut(self, model: PreTrainedModel | PeftModel, responses: Sequence[Sequence[int]]) -> list[bool]:
        """Of each response, whether a limit ended it."""
        ends = ends_of(whole(model), self.data.template.tokenizer)
        return [ids[-1] not in ends for ids in responses]

    def _decoded(
        self,
        config: GenerateConfig,
        model: PreTrainedModel | PeftModel,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int | str],
        stop: Stop,
    ) -> list[list[int]]:
        waiting = [
            Prompt(key, list(ids), min(config.max_new_tokens, self.data.max_length - len(ids)))
            for key, ids in zip(keys, prompts, strict=True)
        ]
        tokenizer = self.data.template.tokenizer
        return decoded(model, tokenizer, config, waiting, self.config.batch_tokens, stop)


def grouped(prompts: Sequence[Sequence[int]], size: int) -> list[Sequence[int]]:
    """Each prompt `size` times in a row."""
    return list(chain.from_iterable([prompt] * size for prompt in prompts))
