"""Judges in this process: a causal model of Hugging Face that is asked for one token.

No answer is written. The probabilities of the labels as the next token are made to sum to 1, and the score is
the mean that they come to: finer than a whole number. How much they had before that, their mass, is kept: a
model that would say something else gives them little, and then their mean means nothing. What asks at the
same time is read as one batch, the text common to all of it once.
"""

import json
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import snapshot_download
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tasks.config import AskConfig, GenerateConfig
from tasks.data.reading import Message
from tasks.errors import StageError
from tasks.generate.decoding import Decoder, Prompt
from tasks.judge.backends.in_process import InProcess
from tasks.judge.protocol.replies import Answered, Identity
from tasks.judge.protocol.scoring_protocols import AskingProtocol
from tasks.machine.device import pick_device
from tasks.machine.json_files import Json
from tasks.machine.proxies import require_way_to_hub
from tasks.models.loading import load_causal, load_tokenizer
from tasks.record.manifest import digest_of, require_unaltered, sha256_of_tree
from tasks.servers.replies import Reply
from tasks.tokenize.templates import rendered

FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")


class Local(InProcess):
    """One model, by a folder or by a name on the hub, `name@revision` for one state of it."""

    KIND = "hf"

    def __init__(self, config: AskConfig, model: str, form: AskingProtocol) -> None:
        if form.labels is None:
            raise ValueError(f"a local judge chooses between labels, which the form {form.name} has not")
        super().__init__(config, model)
        self._digest: str | None = None  # of the folder, once it was asked for
        self._labels = form.labels

    async def identify(self) -> Identity:
        """A folder by its files; a snapshot of the hub lies in a folder that is named by its commit."""
        if Path(self.model).is_dir():
            digest = self._digest = sha256_of_tree(self._folder)
        else:
            digest = digest_of(self._folder.name.encode())
        return Identity(f"hf:{self.model}", digest, transformers.__version__)

    def request(self, messages: list[Message], seed: int) -> Json:
        return super().request(messages, seed) | {"labels": list(self._labels)}

    def answered(self, body: Any) -> Answered:
        said = {name: body[name] for name in ("probabilities", "mass")}
        return Answered(json.dumps(said), body["prompt_tokens"], 1)

    def _read(self, requests: list[Json]) -> list[Reply]:
        """A reply for each; prompts longer than the model's context are refused and not cut."""
        started = time.monotonic()
        prompts = [self._prompts.ids(request["messages"]) for request in requests]
        longest = getattr(self._decoder.read.model.config, "max_position_embeddings", None)
        fitting = [
            Prompt(place, ids, 1)
            for place, ids in enumerate(prompts)
            if longest is None or len(ids) <= longest
        ]
        found: dict[int, dict[str, float]] = {}
        if fitting:
            chances = self._decoder.logits_after(fitting).log_softmax(dim=-1)
            for prompt, row in zip(fitting, chances, strict=True):
                found[int(prompt.row)] = {
                    label: float(row[tokens].exp().sum()) for label, tokens in self._prompts.labels.items()
                }
        latency = time.monotonic() - started
        return [_reply(found.get(place), len(ids), longest, latency) for place, ids in enumerate(prompts)]

    @cached_property
    def _folder(self) -> Path:
        if Path(self.model).is_dir():
            return Path(self.model)
        name, _, revision = self.model.partition("@")
        require_way_to_hub()
        try:
            return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(FILES)))
        except Exception as error:  # of huggingface_hub, httpx: each has its own
            raise StageError(
                f"hf:{self.model} is no folder here and could not be downloaded from the hub: "
                f"{type(error).__name__}: {error}. Check the name and the network, or name a folder."
            ) from error

    @cached_property
    def _decoder(self) -> Decoder:
        try:
            model = load_causal(self._folder)
        except (OSError, ValueError) as error:
            raise StageError(
                f"hf:{self.model} cannot be loaded: {str(error).strip().splitlines()[0]}"
            ) from error
        require_unaltered(f"hf:{self.model}", self._folder, self._digest)
        return Decoder(model.to(pick_device(self._device)).eval(), GenerateConfig(), frozenset())

    @cached_property
    def _prompts(self) -> "_Prompts":
        try:
            tokenizer = load_tokenizer(self._folder)
        except (OSError, ValueError) as error:
            raise StageError(
                f"hf:{self.model} has no tokenizer that can be loaded: {str(error).strip().splitlines()[0]}"
            ) from error
        return _Prompts(tokenizer, self._labels, self.model)


class _Prompts:
    """Conversations as tokens, up to where the label is to stand; and the tokens of each label.

    A label may be a token with a space before it and one without; both say the same.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: Mapping[str, float], model: str) -> None:
        self.tokenizer = tokenizer
        sample = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
        head = self._encode(self._text(sample))
        spellings = []
        for space in ("", " "):  # vocabularies differ in whether a space belongs to the word after it
            whole = [self._encode(self._text(sample) + space + label) for label in labels]
            last = [ids[-1] for ids in whole if ids and ids[:-1] == head]
            if len(set(last)) == len(labels):
                spellings.append(last)
        if spellings:
            every = zip(labels, zip(*spellings, strict=True), strict=True)
            self.labels = {label: sorted(set(tokens)) for label, tokens in every}
            return
        raise StageError(
            f"hf:{model} cannot be a judge: in its vocabulary the labels {', '.join(labels)} are not one "
            "token each"
        )

    def ids(self, messages: list[Message]) -> list[int]:
        return self._encode(self._text(messages))

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=self.tokenizer.chat_template is None)

    def _text(self, messages: list[Message]) -> str:
        """By the model's own chat template; for one that has none, the messages and where to answer."""
        if self.tokenizer.chat_template is None:
            return "\n\n".join([*(message["content"] for message in messages), "Answer:"])
        try:
            return self._templated(messages)
        except TemplateError:  # some templates know no system: its words begin the user's
            joined = "\n\n".join(message["content"] for message in messages)
            return self._templated([{"role": "user", "content": joined}])

    def _templated(self, messages: list[Message]) -> str:
        """Templates of models that think know `enable_thinking`; the others do not look at it."""
        return rendered(self.tokenizer, messages, add_generation_prompt=True, enable_thinking=False)


def _reply(chances: dict[str, float] | None, tokens: int, longest: int | None, latency: float) -> Reply:
    if chances is None:
        return Reply(400, None, f"the prompt has {tokens} tokens, the model reads {longest}", latency)
    mass = sum(chances.values())
    if not 0.0 < mass <= 1.001:
        return Reply(422, None, "the model gives the labels no probability that is a number", latency)
    body = {
        "probabilities": {label: chance / mass for label, chance in chances.items()},
        "mass": mass,
        "prompt_tokens": tokens,
    }
    return Reply(200, body, None, latency)
