"""Responses of a model that a server of OpenAI's protocol has: vLLM, llama.cpp, `touchstone serve`.

The prompt is rendered and tokenized here, by the template that was trained on, and sent as a completion's
prompt: as tokens, or as text to a server that takes no tokens, whose own count must then be the same. What a
server cannot give, the losses of the references, is left out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tasks.config import GenerateConfig
from tasks.errors import StageError
from tasks.generate import sampling
from tasks.machine.json_files import Json, as_line, read_whole_lines
from tasks.models.architectures import context_of
from tasks.models.loading import ADAPTER, load_tokenizer
from tasks.record.stage import StageRun
from tasks.rows import Row
from tasks.servers.openai import Endpoint
from tasks.servers.replies import Reply
from tasks.servers.retries import retry_delay
from tasks.servers.served_model import endpoint_of, identity_of
from tasks.tokenize.templates import Template, load_template, require_room

DIGITS = 12  # of a model's digest, by which a server is asked for it where no name is set
WHOLE = ("stop", "eos", "eos_token", "stop_sequence", "end_turn")  # reasons of a response that ended itself
NO_EXTRAS = {"top_k": 0, "min_p": 0}  # by default llama.cpp draws from 40 tokens
PROBE_TOKENS = 1

Form = Literal["tokens", "text"]


@dataclass(frozen=True)
class Asked:
    """Who responded: the server's name of the model, what is known of it, and in which form it was asked."""

    model: str
    digest: str
    prompts: Form

    def as_json(self) -> Json:
        return asdict(self)


def responses(
    config: GenerateConfig, run: StageRun, model: Path, rows: Sequence[Row]
) -> tuple[list[Json], Asked]:
    """The rows with their responses, in their order, and who gave them; what is done is in a journal.

    Raises StageError when the server has another model than the key says, when it reads another prompt than
    was sent, and for a row that it refuses.
    """
    folder = model / "model"
    tokenizer = load_tokenizer(folder)
    template = load_template(config.template, tokenizer)
    context = float("inf") if (folder / ADAPTER).exists() else context_of(folder)
    prompts = dict(zip((row["id"] for row in rows), template.prompts_ids(rows), strict=True))
    for row, ids in prompts.items():
        require_room(row, ids, context)
    asking = _Asking(config, run, template, prompts, context)
    done, asked = asyncio.run(asking.all(rows, _name(config, run)))
    joined = [{**row, "prompt": template.prompt(row), **done[row["id"]]} for row in rows]
    return joined, asked


def _name(config: GenerateConfig, run: StageRun) -> str:
    """What the server is asked for. Raises StageError where neither a name nor a digest is known."""
    if config.model is not None:
        return config.model
    if "model" not in run.references:
        raise StageError("generate.model is not set, and the model's digest is not known. Set generate.model")
    return run.references["model"].digest[:DIGITS]


class _Asking:
    """The requests of one stage."""

    def __init__(
        self,
        config: GenerateConfig,
        run: StageRun,
        template: Template,
        prompts: dict[int, list[int]],
        context: float,
    ) -> None:
        self.config, self.run, self.template = config, run, template
        self.prompts, self.context = prompts, context
        self.path = run.checkpoint / "served.jsonl"
        self.done: dict[int, Json] = {line.pop("id"): line for line in read_whole_lines(self.path)}
        self.endpoint: Endpoint
        self.form: Form = "tokens"

    async def all(self, rows: Sequence[Row], name: str) -> tuple[dict[int, Json], Asked]:
        self.endpoint = endpoint_of(self.config, name)
        waiting = [row for row in rows if row["id"] not in self.done]
        async with self.endpoint.server:
            asked = await self._identified(rows[0])
            with self.path.open("a", encoding="utf-8") as journal:
                queue = iter(waiting)

                async def work() -> None:
                    for row in queue:
                        found = await self._response(row)
                        self.done[row["id"]] = found
                        journal.write(as_line({"id": row["id"], **found}))
                        journal.flush()
                        self.run.progress(len(self.done), len(rows), "rows", f"by {self.endpoint.model}")

                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(min(self.config.concurrency, len(waiting))):
                            group.create_task(work())
                except ExceptionGroup as errors:  # the first stopped the others; one message is enough
                    raise errors.exceptions[0] from None
        return self.done, asked

    async def _identified(self, row: Row) -> Asked:
        """Who answers, and whether it takes a prompt's tokens: asked for one token."""
        entry = await self._entry()
        identity = identity_of(self.endpoint, entry)
        expected = self.run.fingerprints.get("served")
        if expected is not None and identity != expected:
            raise StageError(
                f"the server at {self.endpoint.url} has another model as {self.endpoint.model!r} than when "
                "this stage was started. Run again"
            )
        probe = self._request(row) | {"max_tokens": PROBE_TOKENS}
        reply = await self._sent(probe)
        if reply.refused:
            self.form = "text"
            reply = await self._sent(self._request(row) | {"max_tokens": PROBE_TOKENS})
        if reply.status != 200:
            raise self._refused(row, reply)
        return Asked(self.endpoint.model, identity, self.form)

    async def _entry(self) -> Json:
        """Raises StageError that says how to serve a model that is asked for by its digest."""
        try:
            return await self.endpoint.entry()
        except StageError as error:
            if self.config.model is None and "has no model" in str(error):
                raise error.retold(
                    f"{error}. Serve this model under that name, which is the beginning of its digest, and "
                    "run again: `touchstone serve --on-demand 2` knows each that was made here by it (vLLM: "
                    "--served-model-name, llama.cpp: --alias); or set generate.model to its name there"
                ) from error
            raise

    def _request(self, row: Row) -> Json:
        config, ids = self.config, self.prompts[row["id"]]
        drawn = {"temperature": 0, "top_p": 1, **NO_EXTRAS}
        if config.decoding == "sample":
            seed = sampling.generator_of(config.seed, row["id"]).getrandbits(31)
            drawn |= {"temperature": config.temperature, "top_p": config.top_p, "seed": seed}
            drawn |= {"top_k": config.top_k} if config.top_k else {}
        return {
            "model": self.endpoint.model,
            "prompt": ids if self.form == "tokens" else self.template.prompt(row),
            "max_tokens": int(min(config.max_new_tokens, self.context - len(ids))),
            **drawn,
        }

    async def _response(self, row: Row) -> Json:
        reply = await self._sent(self._request(row))
        if reply.status != 200:
            raise self._refused(row, reply)
        return self._read(row, reply.body)

    def _read(self, row: Row, body: Any) -> Json:
        choices = body.get("choices") if isinstance(body, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        text = choice.get("text") if isinstance(choice, dict) else None
        if not isinstance(text, str):
            raise StageError(
                f"row {row['id']}: what answers at {self.endpoint.url}/completions gives no text "
                f"({str(body)[:100]}). Does it have OpenAI's completions, and not its chats alone?"
            )
        usage = body.get("usage") if isinstance(body.get("usage"), dict) else {}
        self._require_same_prompt(row, usage.get("prompt_tokens"))
        reason, written = str(choice.get("finish_reason")).casefold(), usage.get("completion_tokens")
        if reason != "length" and reason not in WHOLE:
            raise StageError(f"row {row['id']}: the response ended for the reason {reason!r}. Run again")
        known = type(written) is int
        return {
            "response": self.template.without_closing(text),
            "tokens": written if known else len(self.template.completion_ids(text)),
            "cut": reason == "length",
        }

    def _require_same_prompt(self, row: Row, read: Any) -> None:
        """Raises StageError where the server has read another prompt than the template makes."""
        sent = len(self.prompts[row["id"]])
        if read == sent or (read is None and self.form == "tokens"):
            return
        told = "does not say how many tokens it read" if read is None else f"read {read} tokens"
        raise StageError(
            f"row {row['id']}: the prompt has {sent} tokens, and the server at {self.endpoint.url} {told}: "
            "it was cut, another tokenizer reads it, or a beginning token was added. Serve the model with "
            "its own tokenizer, by a server that takes a prompt's tokens (vLLM, llama.cpp)"
        )

    async def _sent(self, request: Json) -> Reply:
        """The first reply that is no passing trouble. Raises StageError when asking on is of no use."""
        for failures in range(1, self.config.attempts + 1):
            reply = await self.endpoint.server.post("/completions", request)
            if reply.status == 200 or reply.refused:
                return reply
            if not reply.passing:
                raise self.endpoint.fatal(reply)
            if failures < self.config.attempts:
                await asyncio.sleep(max(retry_delay(failures), reply.wait or 0.0))
        raise self.endpoint.gone(reply.error)

    def _refused(self, row: Row, reply: Reply) -> StageError:
        return StageError(
            f"row {row['id']}: the server at {self.endpoint.url} refuses the prompt: {reply.error}. Is its "
            "context long enough for the prompt and generate.max_new_tokens?"
        )
