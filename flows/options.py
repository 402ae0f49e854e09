"""What several commands have in common: their options, and how a refusal ends them."""

from typing import Annotated, Any

import typer

from tasks.errors import RefusedError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else")]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show Prefect's log lines, and tracebacks of defects")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a setting; may be repeated")
]
Refresh = Annotated[
    list[str] | None,
    typer.Option(metavar="STAGE", help="Do a stage again, by its name, or all of them; may be repeated"),
]
Scorers = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        metavar="SCORER",
        help="ollama:MODEL, openai:MODEL, hf:MODEL, or metric:chrf, bleu, rouge-l, exact; several judges: "
        "their mean",
    ),
]
Pull = Annotated[bool, typer.Option("--pull", help="Let Ollama fetch a judge that it does not have")]
DespiteAudit = Annotated[
    bool, typer.Option("--despite-audit", help="Count a judge's scores though it failed its audit")
]


def judge_settings(scorers: list[str] | None, pull: bool = False, despite_audit: bool = False) -> list[str]:
    """The overrides that the options on judges stand for."""
    found = []
    if scorers:
        found.append(f"judge.scorer={scorers[0] if len(scorers) == 1 else '[' + ', '.join(scorers) + ']'}")
    if pull:
        found.append("judge.pull=true")
    if despite_audit:
        found.append("judge.despite_audit=true")
    return found


def end_when_refused(outcome: dict[str, Any]) -> None:
    """End the command with the status of a refusal, and its reason, when that is what came of it."""
    from flows.console import console

    if outcome["status"] == "refused":
        console.say(f"error: {outcome['error']}", style="red")
        raise typer.Exit(RefusedError.exit_status)
