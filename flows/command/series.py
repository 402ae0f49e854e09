"""The command `series`: a ladder of sizes, pretrained alike, and the law that their losses follow."""

from typing import Annotated, Any

import typer

from flows.command.options import (
    Commands,
    Json,
    Mirror,
    Overrides,
    ProfileName,
    Verbose,
    end_unless_completed,
    part_overrides,
    require_sources,
)
from tasks.errors import UsageError

commands = Commands()

TOKENS_PER_PARAMETER = 20.0


@commands.command()
def series(
    profile: ProfileName,
    sizes: Annotated[
        str, typer.Option(metavar="A,B,C,D", help="As in pretrain.size; the largest is held out of the fit")
    ],
    tokens_per_parameter: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="N", help="How long each is trained; 20 where nothing is said"),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option(min=1.0, metavar="F", help="Instead: so many FLOPs each, 6 a parameter and token"),
    ] = None,
    set_: Overrides = None,
    mirror: Mirror = None,
    pools: Annotated[
        bool, typer.Option("--pools", help="The stages on the work pools: training on gpu-pool")
    ] = False,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Pretrain several sizes alike, fit how loss falls with size, and foretell the largest by the others."""
    from flows.process.console import console
    from flows.series.ladder import Ladder
    from flows.server.readiness import begin_servers, prefect_is_ready, verbosely

    if tokens_per_parameter and flops:
        raise UsageError("--tokens-per-parameter and --flops: choose one")
    overrides, on_pools = part_overrides(set_, pools)
    per_parameter = None if flops else tokens_per_parameter or TOKENS_PER_PARAMETER
    given = tuple(size.strip() for size in sizes.split(","))
    ladder = Ladder(profile, tuple(overrides), mirror, given, per_parameter, flops)
    loaded = ladder.check()
    require_sources(loaded)
    verbosely(verbose)
    console.say(f"touchstone series {loaded.name}: {loaded.description}", style="bold")
    begin_servers(pools)
    console.wait("starting Prefect")
    from flows.dispatch.results import run_here
    from flows.series.series import series as series_flow
    from tasks.record.tracking import open_tracking

    open_tracking()
    prefect_is_ready()
    outcome = run_here(series_flow, loaded.name, ladder, on_pools)
    if json_:
        from flows.process.console import print_json

        print_json(outcome)
    else:
        _show(outcome)
    end_unless_completed(outcome)


def _show(outcome: dict[str, Any]) -> None:
    from rich.console import Console

    from flows.process.console import print_result
    from tasks.series.document import document
    from tasks.show.terminal import show

    show(document(outcome), Console(highlight=False))
    print_result(f"Series: {outcome['page']}")
