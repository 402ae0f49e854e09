"""Who a configuration's judges are, before anything is asked of them."""

import asyncio
from collections.abc import Callable

from tasks.config import AskConfig
from tasks.judge.backends import Identity, connect
from tasks.judge.backends.ollama import Ollama
from tasks.judge.forms import form_of

Progress = Callable[[float, float, str, str], None]


def digests_of(config: AskConfig) -> dict[str, str]:
    """By judge, the digest of the model that answers for it now: `latest` is not the same one for ever.

    Raises StageError when a judge is not there, saying how to get it.
    """
    found = asyncio.run(_identified(config, None))
    return {identity.scorer: identity.digest for identity in found}


def made_ready(config: AskConfig, progress: Progress) -> list[Identity]:
    """The judges, models that Ollama does not have pulled first where `config.pull` says so.

    Raises StageError as `digests_of` does, and when a model cannot be pulled.
    """
    return asyncio.run(_identified(config, progress if config.pull else None))


async def _identified(config: AskConfig, pulling: Progress | None) -> list[Identity]:
    found = []
    for scorer in config.judges:
        async with connect(config, scorer, form_of(scorer, config.prompt)) as backend:
            if pulling and isinstance(backend, Ollama) and not await backend.has_model():
                await backend.pull(pulling)
            found.append(await backend.identify())
    return found
