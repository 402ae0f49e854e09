"""The command `export`: a model as files that other programs read."""

from pathlib import Path
from typing import Annotated

import typer

from flows.command.options import Commands, Json, Overrides, Refresh, Verbose, end_unless_completed
from tasks.config.exporting import FORMATS

commands = Commands()


@commands.command()
def export(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="NAME, NAME@champion or NAME/3 of the registry, a run, @latest, or a folder"
        ),
    ],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=", ".join(FORMATS))] = "folder",
    quantize: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Of GGUF files: q8_0, q4_0, q4_k_m, ...; may be repeated"),
    ] = None,
    output: Annotated[
        str | None, typer.Option(metavar="DIR", help="Copy the files into a new or empty folder")
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Upload them to a model repository of the hub")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the model is called in the files and in Ollama")
    ] = None,
    set_: Overrides = None,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write a model as files that other programs read, and check them by reading them back."""
    from flows.profiles.load import load_settings
    from flows.server.readiness import begin_prefect, prefect_is_ready, stages_to_refresh, verbosely
    from tasks.config import ExportConfig

    given = {"to": to, "quantize": quantize, "output": output, "push": push, "name": name}
    config = load_settings(
        ExportConfig, "export", {key: value for key, value in given.items() if value is not None}, set_ or ()
    )
    stages = stages_to_refresh(refresh or (), ["base", "export"])
    verbosely(verbose)
    from flows.exporting.sources import find_exported
    from flows.process.console import console
    from tasks.export.deliver import require_empty
    from tasks.record.tracking import open_tracking

    if output:
        require_empty(Path(output))
    find_exported(open_tracking(), model)  # a model that there is not
    begin_prefect()
    console.wait("starting Prefect")
    from flows.dispatch.results import run_here
    from flows.exporting.exporting import exporting
    from flows.process.flow_body import load_secrets

    prefect_is_ready()
    load_secrets()
    outcome = run_here(exporting, model, config, stages)
    if json_:
        from flows.process.console import print_json

        print_json(outcome)
    elif outcome["status"] == "completed":
        from rich.console import Console

        from tasks.export.document import as_document
        from tasks.show.terminal import show

        out, told = Console(highlight=False), outcome["export"]
        show(as_document(told), out)
        for line in told["delivered"]:
            out.print(line, markup=False, soft_wrap=True)
        if not config.output:
            out.print(
                f"files in {told['folder']}; --output copies them elsewhere", markup=False, soft_wrap=True
            )
    end_unless_completed(outcome)
