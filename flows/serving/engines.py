"""The engines that a model is served by: chosen, configured, started, and ended with the body."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers.utils.import_utils import is_serve_available

from flows.process.console import console
from flows.server.servers import Process, answers, free_port, logs_folder
from tasks.errors import StageError, UsageError
from tasks.machine.addresses import LOOPBACK
from tasks.machine.home import home
from tasks.machine.kept_files import KeptFiles
from tasks.models.architectures import context_of
from tasks.serve.front import Engine, Front
from tasks.serve.llama_cpp import PARALLEL, llama_cpp
from tasks.serve.models import LocalModel, gguf_of, whole_folder

LOADED_WITHIN = 900.0  # seconds that a large model may take until it answers
EngineName = Literal["llamacpp", "transformers", "vllm"]
LLAMA = {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0}
"""What OpenAI's protocol does not know is off: by default llama.cpp draws from 40 tokens."""


@dataclass(frozen=True)
class EngineOptions:
    """How a model is served."""

    engine: EngineName = "llamacpp"
    quantize: str | None = None
    parallel: int | None = None
    context: int | None = None

    def reject_unused(self, model: LocalModel) -> None:
        """Raise UsageError for options that the engine does not have."""
        if self.engine != "llamacpp":
            if self.quantize:
                raise UsageError(
                    f"--quantize is of --engine llamacpp; {self.engine} serves the model as it is"
                )
            if model.is_gguf:
                raise UsageError(
                    f"{model.path.name} is served by --engine llamacpp; {self.engine} reads folders"
                )
        if self.engine == "transformers" and (self.parallel or self.context):
            raise UsageError(
                "--parallel and --context are not of --engine transformers, which sets no limits"
            )


@contextmanager
def serving(model: LocalModel, options: EngineOptions) -> Iterator[Front]:
    """The front of an engine that has the model, for as long as the body runs."""
    options.reject_unused(model)
    if options.engine == "llamacpp":
        parallel = options.parallel or PARALLEL
        with gguf_of(model, options.quantize, kept("gguf")) as path:
            exact = not model.is_gguf and path.stem.endswith("f32")
            with llama_cpp(
                path, model.name, context=options.context, parallel=parallel, exact=exact
            ) as server:
                template = None if model.is_gguf else model.template
                engine = Engine(server.address, server.headers, LLAMA)
                yield Front(model.name, engine, template, server.context)
        return
    with whole_folder(model, kept("folders")) as folder:
        if options.engine == "vllm":
            yield from _vllm(model, folder, options)
        else:
            yield from _transformers(model, folder)


def kept(name: str) -> KeptFiles:
    """What engines read, written once for a model: its GGUF files, its whole folders."""
    return KeptFiles(home() / "mlruns" / "work" / "shared" / name, lambda told: console.say(f"  {told}"))


def vllm_command(folder: Path, name: str, port: int, options: EngineOptions, context: int) -> list[str]:
    """What starts vLLM on loopback. Raises StageError when it is not installed."""
    program = shutil.which("vllm")
    if program is None:
        raise StageError(
            "--engine vllm: the command vllm is not on the PATH. Install it (pip install vllm; it needs a "
            "GPU), or use --engine llamacpp"
        )
    command = [program, "serve", str(folder), "--served-model-name", name]
    command += ["--host", LOOPBACK[1], "--port", str(port), "--generation-config", "vllm"]
    command += ["--max-model-len", str(context)]
    return command + (["--max-num-seqs", str(options.parallel)] if options.parallel else [])


def transformers_command(folder: Path, port: int) -> list[str]:
    """What starts Transformers' server on loopback. Raises StageError when its extra is missing."""
    if not is_serve_available():
        raise StageError(
            "--engine transformers: its server is not installed. Install it with: "
            "pip install 'transformers[serving]'"
        )
    program = str(Path(sys.executable).with_name("transformers"))
    return [program, "serve", str(folder), "--host", LOOPBACK[1], "--port", str(port)]


def _vllm(model: LocalModel, folder: Path, options: EngineOptions) -> Iterator[Front]:
    own = int(min(context_of(folder), 2**31 - 1))
    if (context := options.context or own) > own:
        raise UsageError(f"the model's context is {own} tokens; {context} were asked for. Ask for fewer")
    port, inner = free_port(), secrets.token_urlsafe(32)
    command = vllm_command(folder, model.name, port, options, context)
    with _running("vllm", command, port, {"VLLM_API_KEY": inner}) as address:
        engine = Engine(address, {"Authorization": f"Bearer {inner}"})
        yield Front(model.name, engine, model.template, context)


def _transformers(model: LocalModel, folder: Path) -> Iterator[Front]:
    port = free_port()
    with _running("transformers", transformers_command(folder, port), port, {}) as address:
        yield Front(model.name, Engine(address))


@contextmanager
def _running(name: str, command: Sequence[str], port: int, more: dict[str, str]) -> Iterator[str]:
    """The address of a server in a process of its own, once it answers."""
    address = f"http://{LOOPBACK[1]}:{port}"
    process = Process(name, command, {**os.environ, **more}, logs_folder() / f"{name}-{port}.log")
    process.start()
    try:
        process.wait_until(lambda: answers(f"{address}/health"), LOADED_WITHIN)
        yield address
    finally:
        process.stop()
