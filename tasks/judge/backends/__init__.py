"""Where judges are: an Ollama server, a server that speaks OpenAI's protocol, or a model in this process.

All of them are asked the same way: `ollama.py`, `openai.py` and `local.py` each hold one `Backend`.
"""

from pkgutil import resolve_name

from tasks.config import AskConfig
from tasks.config.judge_kinds import kind_of
from tasks.judge.backends.base import Backend
from tasks.judge.protocol.scoring_protocols import AskingProtocol

__all__ = ["Backend", "connect"]


def connect(config: AskConfig, scorer: str, form: AskingProtocol) -> Backend:
    """The judge behind a scorer's name; use it as `async with`.

    Raises UsageError for an address that is none or behind a proxy that cannot be used, StageError for a key
    that is missing, a folder without a model.
    """
    return resolve_name(kind_of(scorer).backend)(config, scorer.partition(":")[2], form)
