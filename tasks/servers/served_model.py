"""The model that `generate.backend: openai` asks, for the key of its stage; torch is not needed for it."""

import asyncio

from tasks.config import GenerateConfig
from tasks.machine.json_files import Json
from tasks.record.manifest import canonical_json, digest_of
from tasks.servers.openai import Endpoint


def fingerprints(config: GenerateConfig) -> dict[str, str]:
    """What of a server's model enters the key: what the server tells of it, and the file if it is here.

    Nothing for one that is asked for by the model's digest, which is in the key already. Raises StageError
    when the server or the model is not there.
    """
    if config.in_process or config.model is None:
        return {}
    return {"served": asyncio.run(_identity(config, config.model))}


async def _identity(config: GenerateConfig, model: str) -> str:
    endpoint = endpoint_of(config, model)
    async with endpoint.server:
        return identity_of(endpoint, await endpoint.entry())


def endpoint_of(config: GenerateConfig, model: str) -> Endpoint:
    return Endpoint("generate", model, config.base_url, config.key_variable, config.timeout)


def identity_of(endpoint: Endpoint, entry: Json) -> str:
    """A digest of all that is known of the model; `meta` is llama.cpp's: sizes of its file and vocabulary."""
    return digest_of(canonical_json([endpoint.digest(entry), endpoint.digest_of_file(), entry.get("meta")]))
