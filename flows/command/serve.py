"""`touchstone serve`: a model behind OpenAI's protocol."""

import sys
from contextlib import suppress
from typing import Annotated

import typer

from flows.command.options import Commands, host_option
from tasks.errors import UsageError

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
    from contextlib import ExitStack, closing

    from flows.process.console import console, print_result
    from flows.process.interrupts import interrupts
    from flows.serving.engines import EngineOptions, serving
    from flows.serving.local import find_local_model
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
        fronts = []
        for model in models or ():
            found = find_local_model(model)
            found.require_text(f"Its labels: touchstone chat {model}. Served: mlflow models serve")
            found.require_causal("serve")
            if found.name in [front.name for front in fronts]:
                raise UsageError(f"two models are called {found.name}: clients could not tell them apart")
            fronts.append(engines.enter_context(serving(found, options)))
        source = opened_on_demand(options, on_demand) if on_demand else None
        served = engines.enter_context(closing(Fronts(fronts, source, key)))
        with listening(served, place, at) as thread:
            console.close()
            print_result(instructions(fronts, place, api_key_env, on_demand))
            with suppress(KeyboardInterrupt):
                wait(thread)
    console.say("no longer served")
    sys.exit(interrupts.status)
