"""A model of a server that speaks OpenAI's protocol: where it is, its key, what the server tells of it."""

import os
from pathlib import Path

from tasks.errors import StageError, UnreachableError
from tasks.machine.addresses import WEB, is_loopback, parse_address
from tasks.machine.digests import sha256_of
from tasks.machine.json_files import Json
from tasks.record.manifest import canonical_json, digest_of
from tasks.servers.http import Server, url_of
from tasks.servers.replies import Reply

DEFAULT_URL = "https://api.openai.com/v1"
CONTEXTS = ("max_model_len", "context_length")  # in a model's entry, what the server holds of it


class Endpoint:
    """One model of one server; `section` names the settings that it is of, in messages."""

    def __init__(
        self, section: str, model: str, base_url: str | None, key_variable: str, timeout: float
    ) -> None:
        """Raises UsageError for what is no address, StageError for what is no key, or for none."""
        self.section, self.model, self.key_variable = section, model, key_variable
        text = (base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_URL).strip()
        expected = (
            "a server of OpenAI's protocol; expected something like http://gpu:8000/v1 in "
            f"{section}.base_url or OPENAI_BASE_URL"
        )
        self.url = url_of(text, WEB, expected)
        secret = os.environ.get(key_variable, "").strip() or None
        if secret and not (secret.isascii() and secret.isprintable() and " " not in secret):
            raise StageError(f"{key_variable} holds no key: a key is of ASCII characters, without spaces")
        if secret is None and self.url.startswith("https://api.openai.com"):
            raise StageError(f"openai:{model} at {self.url} needs a key: set {key_variable}")
        self.server = Server(self.url, timeout, secret)

    async def entry(self) -> Json:
        """What the server tells of the model.

        Raises UnreachableError when it does not answer, StageError when it has no such model.
        """
        reply = await self.server.get("/models")
        if reply.status is None or reply.passing:
            raise self.gone(reply.error)
        entries = reply.body.get("data") if isinstance(reply.body, dict) else None
        if reply.status in (401, 403):
            raise self.fatal(reply)
        if reply.status != 200 or not isinstance(entries, list):
            raise StageError(
                f"what answers at {self.url} does not speak OpenAI's protocol: GET /models gave "
                f"{reply.error or 'no list'}. Set {self.section}.base_url or OPENAI_BASE_URL, up to /v1."
            )
        known = {str(entry.get("id")): entry for entry in entries if isinstance(entry, dict)}
        if self.model not in known:
            raise self.no_such_model(sorted(known))
        return known[self.model]

    def digest(self, entry: Json) -> str:
        """What is known of who answers: the address and the server's own entry, without the time.

        The protocol tells no digest of weights.
        """
        lasting = {name: entry.get(name) for name in ("id", "owned_by", "root", "max_model_len")}
        return digest_of(canonical_json({"url": self.url, "model": lasting}))

    def digest_of_file(self) -> str | None:
        """Of the file that a server on this machine names its model after, as llama.cpp does by default."""
        path = Path(self.model)
        return sha256_of(path) if is_loopback(parse_address(self.url, WEB).host) and path.is_file() else None

    def promised(self, entry: Json) -> int | None:
        """Tokens of prompt and answer together that the server says it holds."""
        told = [entry[name] for name in CONTEXTS if type(entry.get(name)) is int]
        return min(told, default=None)

    async def alive(self) -> bool:
        return (await self.server.get("/models")).status == 200

    def fatal(self, reply: Reply, refused: str = "to answer") -> StageError:
        """Why asking on is of no use; `refused` says what the server will not do."""
        if reply.status in (401, 403):
            return StageError(
                f"the server at {self.url} rejected the API key: {reply.error}. Set {self.key_variable}."
            )
        if reply.status == 404:
            return self.no_such_model([])
        return StageError(
            f"the server at {self.url} refuses {refused}: {reply.error}. Check {self.section}.base_url."
        )

    def gone(self, reason: str | None) -> StageError:
        return UnreachableError(
            f"no server answers at {self.url} ({reason}). Set {self.section}.base_url or OPENAI_BASE_URL to "
            "where one runs. Finished answers are kept; run again to continue."
        )

    def no_such_model(self, known: list[str]) -> StageError:
        there = f"; it has {', '.join(known[:10])}" if known else ""
        return StageError(f"the server at {self.url} has no model {self.model!r}{there}")
