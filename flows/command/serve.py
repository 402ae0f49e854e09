"""`touchstone serve`: a model behind OpenAI's protocol."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command.options import Commands, host_option
from tasks.errors import UsageError

if TYPE_CHECKING:
    from tasks.serve.models import LocalModel

commands = Commands()

NamedModel = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="NAME, NAME@champion, NAME/3, a run (RUN:base for its base), a folder, or a .gguf file",
    ),
]
NamedModels = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="NAME, NAME@champion, NAME/3, a run (RUN:base for its base), a folder, or a .gguf file",
    ),
]
ENGINES = ("llamacpp", "transformers", "vllm")


@commands.command()
def serve(
    models: NamedModels = None,
    on_demand: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Whatever was made here, opened when it is asked for, by its name or the first 12 digits of "
            "its digest; N at once",
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where it listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT")] = 8080,
    api_key_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The variable that holds the key that clients must bring"),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="ENGINE", help=f"{', '.join(ENGINES)}; the last two are for a GPU")
    ] = "llamacpp",
    quantize: Annotated[
        str | None, typer.Option(metavar="KIND", help="Weights in fewer bits, as q8_0 or q4_0")
    ] = None,
    parallel: Annotated[int | None, typer.Option(min=1, metavar="N", help="Requests at once")] = None,
    context: Annotated[
        int | None, typer.Option(min=1, metavar="TOKENS", help="Of a request with its answer")
    ] = None,
) -> None:
    """Serve models by OpenAI's protocol on this machine, until Ctrl-C."""
    if not models and not on_demand:
        raise UsageError("say which MODEL is served, or --on-demand N for whatever was made here")
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine!r} is none; expected {', '.join(ENGINES)}")
    found = _models_to_serve(models or ())
    from contextlib import ExitStack, closing

    from flows.process.console import console, print_result
    from flows.process.interrupts import interrupts
    from flows.serving.engines import EngineOptions, serving
    from flows.serving.on_demand import on_demand as opened_on_demand
    from flows.serving.serve import Listener, instructions, key_in, listening, wait
    from tasks.export.gguf_file import KINDS
    from tasks.serve.fronts import Fronts

    if quantize is not None and quantize not in KINDS:
        raise UsageError(f"--quantize {quantize!r} cannot be written here; expected {', '.join(KINDS)}")
    at_host = host_option("--host", host, "; the port is told with --port")
    place = Listener(at_host, port, key := key_in(api_key_env))
    options = EngineOptions(engine, quantize, parallel, context)
    with place.open() as at, ExitStack() as engines:
        console.wait("loading the model")
        fronts = [engines.enter_context(serving(model, options)) for model in found]
        source = opened_on_demand(options, on_demand) if on_demand else None
        served = engines.enter_context(closing(Fronts(fronts, source, key)))
        with listening(served, place, at) as thread:
            console.close()
            print_result(instructions(fronts, place, api_key_env, on_demand))
            with suppress(KeyboardInterrupt):
                wait(thread)
    console.say("no longer served")
    sys.exit(interrupts.status)


def _models_to_serve(names: Sequence[str]) -> "list[LocalModel]":
    """The models that can be served. Raises UsageError for another, and for two of one name."""
    from flows.serving.local import find_local_model

    found: dict[str, LocalModel] = {}
    for name in names:
        model = find_local_model(name)
        model.require_text(f"Its labels: touchstone chat {name}. Served: mlflow models serve")
        model.require_causal("serve")
        if model.name in found:
            raise UsageError(f"two models are called {model.name}: clients could not tell them apart")
        found[model.name] = model
    return list(found.values())
