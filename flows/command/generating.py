"""`touchstone generate`: a file of rows with the responses of one model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command.options import Columns, Commands, Json, Overrides, Refresh, Verbose, parse_columns
from tasks.errors import UsageError

commands = Commands()

STAGES = ("download", "responses", "base", "generate")
OUT_OF_RESPONSES = ("id", "messages", "instruction", "input", "output", "category", "source")
"""Fields of a row that come before its response in the file."""


@commands.command()
def generate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="NAME, NAME@champion, NAME/3, a run that registered one, or a folder of Hugging Face",
        ),
    ],
    rows: Annotated[
        str,
        typer.Argument(metavar="ROWS", help="A file, an address or hf:NAME: instructions, prompts, chats"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to: .jsonl or .csv")],
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tokens after which a response is cut")
    ] = None,
    column: Columns = None,
    set_: Overrides = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it is there")] = False,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write the responses of a model to rows of yours; a killed command continues where it stopped."""
    from flows.command.judging import source_of
    from flows.generating.written import require_place, write_responses
    from flows.profiles.load import load_settings
    from flows.server.readiness import stages_to_refresh, verbosely
    from tasks.config import GenerateConfig

    require_place(output, force=force)
    settings = [f"generate.max_new_tokens={max_new_tokens}"] if max_new_tokens else []
    config = load_settings(GenerateConfig, "generate", {}, [*settings, *(set_ or ())])
    source, columns = source_of(rows), parse_columns(column)
    stages = stages_to_refresh(refresh or (), list(STAGES))
    verbosely(verbose)
    from flows.generating.inputs import find_model_input

    found = find_model_input(model)
    if "template" not in config.model_fields_set:
        if found.template is None:
            raise UsageError(
                f"{found.name} carries no chat template, and was not fine-tuned here: say how it is asked, "
                "for example --set generate.template=plain"
            )
        config = config.model_copy(update={"template": found.template})
    from flows.generating.stages import generated
    from flows.judging.judged import found_outcome

    asked = (found, source, columns, config)
    outcome = None if stages else found_outcome(generated, *asked)
    if outcome is None:
        outcome = _made(asked, stages)
    responses = _read(outcome["responses"])
    write_responses(output, [_ordered(one) for one in responses], force=force)
    told = {name: value for name, value in outcome.items() if name != "responses"}
    _tell(told | {"output": str(output)}, json_)


def _made(asked: tuple[Any, ...], stages: list[str]) -> dict[str, Any]:
    from flows.process.console import console
    from flows.server.readiness import begin_prefect, prefect_is_ready

    begin_prefect()
    console.wait("starting Prefect")
    from flows.dispatch.results import run_here
    from flows.generating.generating import generating

    prefect_is_ready()
    return run_here(generating, *asked, stages)


def _read(reference: dict[str, Any]) -> list[dict[str, Any]]:
    from tasks.record.outputs import OUTPUT, fetch
    from tasks.record.tracking import open_tracking
    from tasks.record.work import Reference
    from tasks.rows.responses import read_responses

    folder = fetch(open_tracking(), Reference.model_validate(reference)) / OUTPUT
    return read_responses(folder)


def _ordered(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what is empty for it, and the prompt, which is long, at the end."""
    kept = {name: row[name] for name in OUT_OF_RESPONSES if row.get(name, "") != ""}
    rest = {name: value for name, value in row.items() if name not in OUT_OF_RESPONSES and name != "prompt"}
    return {**kept, **rest, "prompt": row["prompt"]}


def _tell(outcome: dict[str, Any], json_: bool) -> None:
    from flows.process.console import console, print_json, print_result

    if json_:
        print_json(outcome)
        return
    console.close()
    summary = outcome["summary"]
    print_result(
        f"{outcome['output']}: {summary['rows']:,} responses of {outcome['model']}, "
        f"{summary['mean_tokens']:.1f} tokens on average, {summary['cut']:,} cut, {summary['empty']:,} empty"
    )
