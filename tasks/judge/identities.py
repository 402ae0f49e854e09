"""Who a configuration's judges are, before anything is asked of them."""

import asyncio
from collections.abc import Callable

from tasks.config import AskConfig, CompareConfig
from tasks.judge.backends import Identity, connect
from tasks.judge.backends.ollama import Ollama
from tasks.judge.forms import Form, choice_form_of, form_of

Progress = Callable[[float, float, str, str], None]


def digests_of(config: AskConfig) -> dict[str, str]:
    """By judge, the digest of the model that answers for it now: `latest` is not the same one for ever.

    Beside them stands what the judges are asked, since a prompt that was reworded is another measure.

    Raises StageError when a judge is not there, saying how to get it.
    """
    found = asyncio.run(_identified(config, None))
    forms = {f"prompt of {scorer}": _form(config, scorer).version() for scorer in config.judges}
    return {identity.scorer: identity.digest for identity in found} | forms


def made_ready(config: AskConfig, progress: Progress) -> list[Identity]:
    """The judges, models that Ollama does not have pulled first where `config.pull` says so.

    Raises StageError as `digests_of` does, and when a model cannot be pulled.
    """
    return asyncio.run(_identified(config, progress if config.pull else None))


async def _identified(config: AskConfig, pulling: Progress | None) -> list[Identity]:
    found = []
    for scorer in config.judges:
        async with connect(config, scorer, _form(config, scorer)) as backend:
            if pulling and isinstance(backend, Ollama) and not await backend.has_model():
                await backend.pull(pulling)
            found.append(await backend.identify())
    return found


def _form(config: AskConfig, scorer: str) -> Form:
    if isinstance(config, CompareConfig):
        return choice_form_of(scorer)
    return form_of(scorer, config.prompt)
