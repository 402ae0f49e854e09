"""`touchstone synthesize`: rows that a language model makes, in a file of the user's."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.command.options import Columns, Commands, Json, Overrides, Pull, Refresh, Verbose, parse_columns
from tasks.errors import UsageError

commands = Commands()

STAGES = ("download", "responses", "audit", "synthesize")
SUFFIX = ".jsonl"


@commands.command()
def synthesize(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="questions, answers, rewordings or preferences")
    ],
    source: Annotated[
        str,
        typer.Argument(
            metavar="FROM",
            help="A folder, a file, an address or hf:NAME: of questions the corpus, else rows with questions",
        ),
    ],
    by: Annotated[
        list[str],
        typer.Option("--by", metavar="MODEL", help="ollama:MODEL or openai:MODEL; of preferences also two"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Where to: .jsonl")],
    count: Annotated[
        int | None,
        typer.Option(
            "-n", "--count", min=1, metavar="N", help="Rows that are asked for; the filters keep fewer"
        ),
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option("--prompt", metavar="FILE", help="Your prompt, with {passage} or {question}"),
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            metavar="ROWS", help="For questions: rows of people's, which no made row may ask once more"
        ),
    ] = None,
    column: Columns = None,
    set_: Overrides = None,
    pull: Pull = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE if it is there")] = False,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Let a language model make rows, and filter them; a killed command continues where it stopped."""
    from flows.command.judging import source_of
    from flows.generating.written import require_place
    from flows.profiles.load import load_settings
    from flows.server.readiness import stages_to_refresh, verbosely
    from tasks.config import SynthesizeConfig
    from tasks.synthesize.prompts import prompt_of

    if output.suffix.lower() != SUFFIX:
        raise UsageError(f"-o {output}: expected a name that ends with {SUFFIX}")
    require_place(output, force=force)
    asked: dict[str, Any] = {"kind": kind, "by": by[0] if len(by) == 1 else by, "pull": pull}
    asked |= {"count": count} if count else {}
    asked |= {"prompt": str(prompt)} if prompt else {}
    if given is not None:
        asked["given"] = source_of(given).model_dump()
    config = load_settings(SynthesizeConfig, "synthesize", asked, set_ or ())
    if config.given and not config.asks_passages:
        raise UsageError(f"--given goes with questions; of {kind}, FROM is the rows")
    if config.asks_passages and config.needs_given and not config.given:
        raise UsageError(
            f"{config.grounded_by} has to be audited first, on rows with right answers: give them by --given"
        )
    prompt_of(config)
    source_, columns = source_of(source), parse_columns(column)
    stages = stages_to_refresh(refresh or (), list(STAGES))
    verbosely(verbose)
    from flows.judging.judged import found_outcome
    from flows.synthesizing.stages import made

    outcome = None if stages else found_outcome(made, source_, config, columns)
    if outcome is None:
        outcome = _made(source_, config, columns, stages)
    rows = _read(outcome["rows"])
    if rows:
        _write(output, rows, force=force)
    told = {name: value for name, value in outcome.items() if name != "rows"}
    _tell(told | {"output": str(output) if rows else None}, json_)


def _made(*asked: Any) -> dict[str, Any]:
    from flows.process.console import console
    from flows.server.readiness import begin_prefect, prefect_is_ready

    begin_prefect()
    console.wait("starting Prefect")
    from flows.dispatch.results import run_here
    from flows.synthesizing.synthesizing import synthesizing

    prefect_is_ready()
    return run_here(synthesizing, *asked)


def _read(reference: dict[str, Any]) -> list[dict[str, Any]]:
    from tasks.machine.json_files import read_lines
    from tasks.record.outputs import OUTPUT, fetch
    from tasks.record.tracking import open_tracking
    from tasks.record.work import Reference
    from tasks.rows.synthetic import MADE, ROWS

    folder = fetch(open_tracking(), Reference.model_validate(reference)) / OUTPUT
    return read_lines(folder / MADE / ROWS)


def _write(output: Path, rows: list[dict[str, Any]], *, force: bool) -> None:
    from flows.generating.written import write_responses

    write_responses(output, rows, force=force)


def _tell(outcome: dict[str, Any], json_: bool) -> None:
    from flows.command.options import end_unless_completed
    from flows.process.console import console, print_json, print_result

    if json_:
        print_json(outcome)
    else:
        from rich.console import Console

        from tasks.show.terminal import show
        from tasks.synthesize.document import document, in_short

        console.close()
        show(document(outcome["synthesis"]), Console(highlight=False))
        if outcome["output"]:
            print_result(f"{outcome['output']}: {in_short(outcome['synthesis'])}")
    end_unless_completed(outcome)
