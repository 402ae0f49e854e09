"""`touchstone benchmark`: models asked tasks of lm-eval and questions of one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command.options import (
    Columns,
    Commands,
    Json,
    Overrides,
    Refresh,
    Verbose,
    end_with_documents,
    parse_columns,
)
from tasks.errors import UsageError

if TYPE_CHECKING:
    from flows.generating.inputs import ModelInput
    from tasks.show.document import Document

commands = Commands()

STAGES = ("download", "suite", "base", "benchmark")


@commands.command()
def benchmark(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="NAME, NAME@champion, NAME/3, a run, RUN:base, or a folder of Hugging Face; of several, "
            "each is compared with those before it",
        ),
    ],
    tasks: Annotated[
        str | None, typer.Option(metavar="TASK,...", help="Tasks of lm-eval: arc_easy,piqa,blimp")
    ] = None,
    questions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROWS", help="A file, an address or hf:NAME of multiple-choice rows; may be repeated"
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Rows of each task that are asked; default: all")
    ] = None,
    shots: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Answered examples before each question")
    ] = None,
    column: Columns = None,
    mirror: Annotated[
        str | None, typer.Option(metavar="DIR_OR_URL", help="Where TASK/SPLIT.jsonl is looked for first")
    ] = None,
    set_: Overrides = None,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ask models the tasks of a benchmark: accuracy beside chance, and bits per byte of the right answers."""
    from flows.profiles.load import load_settings
    from flows.server.readiness import stages_to_refresh, verbosely
    from tasks.benchmark.catalogue import with_revisions
    from tasks.config import BenchmarkConfig, source_from_text
    from tasks.download.stage import fingerprints

    given = {
        "tasks": [name.strip() for name in (tasks or "").split(",") if name.strip()],
        "questions": {"sources": [source_from_text(text) for text in questions]} if questions else None,
        "limit": limit,
        "shots": shots,
        "columns": parse_columns(column),
        "mirror": mirror,
    }
    raw = {name: value for name, value in given.items() if value}
    if shots is not None:
        raw["shots"] = shots
    config = load_settings(BenchmarkConfig, "benchmark", raw, set_ or ())
    stages = stages_to_refresh(refresh or (), list(STAGES))
    verbosely(verbose)
    if config.questions:
        fingerprints(config.questions)  # a file that is missing
    from flows.generating.inputs import find_model_input

    found = [find_model_input(text) for text in models]
    if twice := sorted({one.name for one in found if [each.name for each in found].count(one.name) > 1}):
        raise UsageError(f"two of the models are called {twice[0]}; name each once, folders by other names")
    asked = (found, with_revisions(config))
    from flows.benchmarking.stages import benchmarked
    from flows.judging.judged import found_outcome

    outcome = None if stages else found_outcome(benchmarked, *asked)
    if outcome is None:
        outcome = _made(asked, stages)
    end_with_documents(outcome, _documents, json_)


def _made(asked: "tuple[list[ModelInput], Any]", stages: list[str]) -> dict[str, Any]:
    from flows.process.console import console
    from flows.server.readiness import begin_prefect, prefect_is_ready

    begin_prefect()
    console.wait("starting Prefect")
    from flows.benchmarking.benchmarking import benchmarking
    from flows.dispatch.results import run_here

    prefect_is_ready()
    name = ", ".join(Path(model.name).name for model in asked[0])
    return run_here(benchmarking, name, *asked, stages)


def _documents(told: dict[str, Any]) -> "list[Document]":
    from tasks.benchmark.document import document

    if "models" not in told:
        return []
    models = {one["model"]: one["tasks"] for one in told["models"]}
    return [document(models, told["differences"])]
