"""A model for Ollama: a GGUF file with a Modelfile, and the model in a server where one runs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx

from tasks.config import ExportConfig
from tasks.errors import StageError
from tasks.export import gguf
from tasks.export.go_templates import go_template
from tasks.export.source import ExportSource, Written
from tasks.judge.backends.ollama import base_url
from tasks.machine.digests import sha256_of
from tasks.machine.json_files import Json, JsonFile
from tasks.machine.proxies import takes_proxy
from tasks.models.architectures import longest
from tasks.report.exports import FILES

MODELFILE = "Modelfile"
QUICK, SLOW = 10.0, 1800.0  # seconds: to connect, and for a server to load a file
LONGEST = 8192  # tokens of context that a server is told to keep room for


@dataclass(frozen=True, kw_only=True)
class OllamaModel(JsonFile):
    """What a server is told of the model, and how many tokens its prompts have."""

    FILE: ClassVar[str] = "ollama.json"

    file: str
    """The GGUF file in `files/`."""
    template: str
    system: str | None
    parameters: Json
    prompts: list[Json]
    """Each `messages` with the number of `tokens` that the model was trained on for them."""


def write(source: ExportSource) -> Written:
    """The GGUF file as `gguf` writes and checks it, a Modelfile, and `ollama.json` beside the files.

    Raises StageError for a model without a template that Ollama can render.
    """
    if source.template is None:
        raise StageError(
            "the model has no chat template, which Ollama needs for its prompts: it was pretrained alone. "
            "Fine-tune it, or export it as gguf"
        )
    go = go_template(source.template)
    written = gguf.write(source)
    context = int(min(longest(source.load()), LONGEST))
    row = {"instruction": "What is the capital of France?"}
    before = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "Paris."},
    ]
    rows = [row, {"instruction": "Und von Österreich?", "messages": before}]
    model = OllamaModel(
        file=gguf.gguf_path(source, source.config.kinds[0]).name,
        template=go.template,
        system=go.system,
        parameters={"stop": go.stop, "num_ctx": context, "repeat_penalty": 1.0},
        prompts=[
            {"messages": source.template.messages(row), "tokens": len(source.template.prompt_ids(row))}
            for row in rows
        ],
    )
    model.write(source.run.out)
    (source.files / MODELFILE).write_text(modelfile(model), encoding="utf-8")
    return written


def modelfile(model: OllamaModel) -> str:
    """What `ollama create NAME -f Modelfile` reads."""
    lines = [f"FROM ./{model.file}", f'TEMPLATE """{model.template}"""']
    if model.system is not None:
        lines.append(f'SYSTEM """{model.system}"""')
    for name, value in model.parameters.items():
        for each in value if isinstance(value, list) else [value]:
            lines.append(f"PARAMETER {name} {json.dumps(each, ensure_ascii=False, allow_nan=False)}")
    return "\n".join(lines) + "\n"


def deliver(config: ExportConfig, output: Path) -> str:
    """Put the model into the server as `config.name`; returns what came of it.

    Where no server answers, that is what is told. Raises StageError when the server refuses the model, or
    makes other prompts than it was trained on.
    """
    model, name = OllamaModel.read(output), config.name or "model"
    url = base_url(config.host)
    timeout = httpx.Timeout(SLOW, connect=QUICK)
    try:
        with httpx.Client(base_url=url, timeout=timeout, trust_env=takes_proxy(url)) as client:
            _upload(client, name, model, output / FILES / model.file)
            counted = [_tokens(client, name, model, prompt) for prompt in model.prompts]
    except (httpx.ConnectError, httpx.ConnectTimeout):
        return (
            f"no Ollama server answers at {url}: the model was not put into one. Start it and run again, or "
            f"`ollama create {name} -f {MODELFILE}` where the files are"
        )
    except httpx.HTTPError as error:
        raise StageError(f"the Ollama server at {url} broke off: {error or type(error).__name__}") from error
    for found, prompt in zip(counted, model.prompts, strict=True):
        if found != prompt["tokens"]:
            raise StageError(
                f"the Ollama server at {url} makes a prompt of {found} tokens where {name} was trained on "
                f"{prompt['tokens']} ({prompt['messages'][-1]['content']!r}): its answers would not be the "
                "model's. Ollama 0.12 or later is needed"
            )
    told = " and ".join(str(count) for count in counted)
    return f"in Ollama at {url} as {name}: its prompts have the {told} tokens that it was trained on"


def _upload(client: httpx.Client, name: str, model: OllamaModel, path: Path) -> None:
    blob = f"sha256:{sha256_of(path)}"
    if client.head(f"/api/blobs/{blob}").status_code != 200:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(path.stat().st_size),
        }
        with path.open("rb") as file:
            _require(client.post(f"/api/blobs/{blob}", content=file, headers=headers), "take the file")
    body = {"model": name, "files": {model.file: blob}, "stream": False} | {
        part: value
        for part, value in asdict(model).items()
        if part in ("template", "system", "parameters") and value
    }
    _require(client.post("/api/create", json=body), "create the model")


def _tokens(client: httpx.Client, name: str, model: OllamaModel, prompt: Json) -> int | None:
    """How many tokens the server makes of a conversation."""
    options = {"num_predict": 1, "temperature": 0, "num_ctx": model.parameters["num_ctx"]}
    body = {"model": name, "messages": prompt["messages"], "stream": False, "truncate": False}
    answer = _require(client.post("/api/chat", json=body | {"options": options}), "answer")
    return answer.get("prompt_eval_count")


def _require(answer: httpx.Response, what: str) -> Any:
    try:
        body = answer.json() if answer.content else {}
    except ValueError:
        body = {}
    if answer.status_code not in (200, 201) or "error" in body:
        told = body.get("error") or answer.text[:200] or answer.reason_phrase
        raise StageError(f"the Ollama server at {answer.request.url} did not {what}: {told}")
    return body
