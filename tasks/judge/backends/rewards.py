"""A reward model as a judge: it reads the response, and the reference, each as the answer to the row.

It is not told that there is a reference. What it says of a response is compared with what it says of that.
"""

import json
import re
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import transformers

from tasks.config import AskConfig
from tasks.errors import StageError
from tasks.judge.backends.in_process import InProcess
from tasks.judge.protocol.replies import Answered, Identity
from tasks.judge.protocol.scoring_protocols import REFERENCE, RESPONSE, AskingProtocol
from tasks.machine.device import pick_device
from tasks.machine.json_files import Json
from tasks.models.reward import RewardModel, require_reward_model, sequence_rewards
from tasks.record.manifest import require_unaltered, sha256_of_tree
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import by_digest
from tasks.record.tracking import open_tracking
from tasks.rows import Row
from tasks.servers.replies import Reply

DIGEST = re.compile(r"[0-9a-f]{12,64}")


class Rewards(InProcess):
    """One reward model, by the digest of what its stage made, or by a folder that holds that."""

    KIND = "reward"

    def __init__(self, config: AskConfig, model: str, _form: AskingProtocol) -> None:
        super().__init__(config, model)
        self._digest: str | None = None  # of the folder, once it was asked for

    async def identify(self) -> Identity:
        require_reward_model(self._folder)
        self._digest = sha256_of_tree(self._folder)
        return Identity(self.scorer, self._digest, transformers.__version__)

    def answered(self, body: Any) -> Answered:
        said = {name: body[name] for name in (RESPONSE, REFERENCE)}
        return Answered(json.dumps(said, allow_nan=False), body["prompt_tokens"], 1)

    def _read(self, requests: list[Json]) -> list[Reply]:
        started = time.monotonic()
        asked = [_row_of(request["messages"]) for request in requests]
        sequences = [self._loaded.tokens(row, row[side]) for row in asked for side in (RESPONSE, REFERENCE)]
        longest = self._loaded.max_length
        fitting = [own for own in sequences if len(own) <= longest]
        rewards = iter(sequence_rewards(self._loaded.model, fitting))
        found = [next(rewards) if len(own) <= longest else None for own in sequences]
        latency = time.monotonic() - started
        replies = []
        for place in range(0, len(sequences), 2):
            tokens = [len(own) for own in sequences[place : place + 2]]
            response, reference = found[place : place + 2]
            if response is None or reference is None:
                told = f"the conversation has {max(tokens)} tokens, the reward model reads {longest}"
                replies.append(Reply(400, None, told, latency))
            else:
                body = {RESPONSE: response, REFERENCE: reference, "prompt_tokens": sum(tokens)}
                replies.append(Reply(200, body, None, latency))
        return replies

    @cached_property
    def _folder(self) -> Path:
        path = Path(self.model).expanduser()
        if path.is_dir():
            return path
        if DIGEST.fullmatch(self.model):
            tracking = open_tracking()
            if reference := by_digest(tracking, self.model, ("reward",)):
                return fetch(tracking, reference) / OUTPUT
        raise StageError(
            f"{self.scorer} is no reward model that is here: expected the first 12 digits of its digest, or "
            "the folder of its output"
        )

    @cached_property
    def _loaded(self) -> RewardModel:
        try:
            model = RewardModel.load(self._folder, pick_device(self._device))
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise StageError(f"{self.scorer} cannot be loaded: {reason}") from error
        require_unaltered(self.scorer, self._folder, self._digest)
        return model


def _row_of(messages: list[Json]) -> Row:
    """The row of a conversation as the protocol tells it, with its `response` and its `reference`."""
    *before, asked, reference, response = messages
    row = {"id": 0, "instruction": asked["content"], "input": asked["input"], "messages": before}
    return row | {REFERENCE: reference["content"], RESPONSE: response["content"]}
