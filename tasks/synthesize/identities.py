"""What of its models and its prompt enters the key of a synthesis."""

import asyncio

from tasks.config import SynthesizeConfig
from tasks.judge.ask.identities import digests, digests_of
from tasks.judge.backends import connect
from tasks.judge.protocol.replies import Identity
from tasks.synthesize.prompts import Prompt, prompt_of, protocol_of

PROMPT = "prompt"


def fingerprints(config: SynthesizeConfig) -> dict[str, str]:
    """The digest of the prompt, of each model that writes, and of the judge that decides on rows.

    Raises UsageError for a prompt that cannot be used, StageError when a model is not there.
    """
    prompt = prompt_of(config)
    writers = digests(asyncio.run(_identified(config, prompt)), config.max_age_days)
    judging = config.judging()
    return {PROMPT: prompt.digest} | (digests_of(judging) if judging else {}) | writers


async def _identified(config: SynthesizeConfig, prompt: Prompt) -> list[Identity]:
    found = []
    for writer in config.writers:
        form = protocol_of(config, prompt, config.temperature)
        async with connect(config.writing(writer), writer, form) as backend:
            found.append(await backend.identify())
    return found
