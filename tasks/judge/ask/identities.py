"""Who a configuration's judges are, before anything is asked of them."""

import asyncio
import time
from collections.abc import Callable, Iterable

from tasks.config import AskConfig, AuditConfig, CompareConfig, JudgeConfig, on
from tasks.config.judge_kinds import kind_of
from tasks.judge.backends import connect
from tasks.judge.protocol.replies import Identity
from tasks.judge.protocol.scoring_protocols import ScoringProtocol, choice_protocol_of, protocol_of

DAY = 86_400.0  # seconds
_PROMPTS = (("prompt", False), ("reordered prompt", True))  # audits ask in the second way too

PullProgress = Callable[[float, float, str, str], None]


def fingerprints(config: AskConfig) -> dict[str, str]:
    """What of its judges enters the key of a stage; nothing where none is asked."""
    return digests_of(config) if config.asks else {}


def digests_of(config: AskConfig, clock: Callable[[], float] = time.time) -> dict[str, str]:
    """By judge, the digest of the model that answers for it now: `latest` is not the same one for ever.

    Beside them stands what the judges are asked, since a prompt that was reworded is another measure; and of
    a judge that is known by name alone the day, so that what it said is looked at again each day and asked
    for again once it is too old. `clock` gives seconds since the epoch.

    Raises StageError when a judge is not there, saying how to get it.
    """
    found = asyncio.run(_identified(config, None))
    forms = {
        f"{kind} of {on(scorer, criterion)}": form.version(reordered=reordered)
        for scorer in config.judges
        for criterion, form in _forms(config, scorer).items()
        for kind, reordered in _PROMPTS[: 1 + isinstance(config, AuditConfig)]
    }
    return digests(found, config.max_age_days, clock) | forms


def digests(
    found: Iterable[Identity], max_age_days: float, clock: Callable[[], float] = time.time
) -> dict[str, str]:
    """By model its digest, and the day of one that is known by name alone."""
    found = list(found)
    day = str(int(clock() // min(DAY, DAY * max_age_days)))
    days = {f"day of {identity.scorer}": day for identity in found if identity.by_name}
    return {identity.scorer: identity.digest for identity in found} | days


def made_ready(config: AskConfig, progress: PullProgress) -> list[Identity]:
    """The judges, models that Ollama does not have pulled first where `config.pull` says so.

    Raises StageError as `digests_of` does, and when a model cannot be pulled.
    """
    return asyncio.run(_identified(config, progress if config.pull else None))


async def _identified(config: AskConfig, pulling: PullProgress | None) -> list[Identity]:
    found = []
    for scorer in config.judges:
        form, *_ = _forms(config, scorer).values()  # a judge is the same one, whatever it is asked
        async with connect(config, scorer, form) as backend:
            if pulling and kind_of(scorer).can_pull and not await backend.has_model():
                await backend.pull(pulling)
            found.append(await backend.identify())
    return found


def _forms(config: AskConfig, scorer: str) -> dict[str | None, ScoringProtocol]:
    """How a judge is asked, by the criterion; under None where it is asked about none."""
    if isinstance(config, AuditConfig | CompareConfig) and config.mode == "pairwise":
        return {None: choice_protocol_of(scorer)}
    criteria = config.criteria if isinstance(config, JudgeConfig) else ()
    if isinstance(config, AuditConfig) and config.criterion:
        criteria = (config.criterion,)
    forms = {criterion.name: protocol_of(scorer, config.prompt, criterion) for criterion in criteria}
    return forms or {None: protocol_of(scorer, config.prompt)}
