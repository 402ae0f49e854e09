"""Where judges are: an Ollama server, a server that speaks OpenAI's protocol, or a model in this process.

All of them are asked the same way: `ollama.py`, `openai.py` and `local.py` each hold one `Backend`.
"""

from tasks.config import AskConfig
from tasks.judge.backends.base import Answered, Backend, Identity, Reply
from tasks.judge.backends.ollama import Ollama
from tasks.judge.backends.openai import OpenAI
from tasks.judge.protocol.forms import Form

__all__ = ["Answered", "Backend", "Identity", "Reply", "connect"]


def connect(config: AskConfig, scorer: str, form: Form) -> Backend:
    """The judge behind a scorer's name; use it as `async with`.

    Raises UsageError for an address that is none or behind a proxy that cannot be used, StageError for a key
    that is missing, a folder without a model.
    """
    kind, _, model = scorer.partition(":")
    if kind == "ollama":
        return Ollama(config, model, form)
    if kind == "openai":
        return OpenAI(config, model, form)
    from tasks.judge.backends.local import Local  # imports torch

    return Local(config, model, form)
