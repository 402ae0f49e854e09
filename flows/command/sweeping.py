"""The command `sweep`: trials of a profile's settings, chosen by validation, and the chosen one whole."""

from typing import TYPE_CHECKING, Annotated, Any, get_args

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

if TYPE_CHECKING:
    from flows.sweeping.space import ProfileSource
    from flows.sweeping.study import StudyDefinition

commands = Commands()

MOST_TRIALS = 1000
AT_ONCE = 4  # trials on the work pools


@commands.command()
def sweep(
    profile: ProfileName,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A.B=VALUES",
            help="A setting and what is tried of it: 1e-4..1e-2:log, 1..8, or 4,8,16; may be repeated",
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=2, max=MOST_TRIALS, metavar="N", help="How many in all; a grid has as many as it has points"
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(metavar="NAME", help="How settings are drawn: grid, random or tpe")
    ] = "tpe",
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER",
            help="What of the last training's validation chooses: validation_loss, bits_per_byte, "
            "validation_score, reward_accuracy, validation_reward; by default what its weights are kept by",
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option("--prune", help="End a trial whose validation curve is worse than half of the others"),
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the trials are kept: postgresql://USER:PASSWORD@HOST/NAME; by default in mlruns/",
        ),
    ] = None,
    set_: Overrides = None,
    mirror: Mirror = None,
    pools: Annotated[
        bool, typer.Option("--pools", help="Trials on the work pools, side by side: training on gpu-pool")
    ] = False,
    at_once: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help=f"With --pools: how many trials there are at once; {AT_ONCE} by default"
        ),
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Try settings of a profile, choose by validation alone, and run what was chosen whole, once."""
    from flows.process.console import console
    from flows.server.readiness import begin_servers, prefect_is_ready, verbosely
    from flows.sweeping.space import ProfileSource, own_point
    from flows.sweeping.study import opened, require_optuna, storage_address

    overrides, on_pools = part_overrides(set_, pools)
    source = ProfileSource(profile, tuple(overrides), mirror)
    definition, points = _define(source, over or [], sampler, by, trials, prune)
    if prune and pools:
        raise UsageError("--prune looks at trainings of this process; leave out --pools, or --prune")
    if at_once and not pools:
        raise UsageError("--at-once is for --pools: here trials follow one another")
    require_optuna()
    if storage:
        storage_address(storage)
    require_sources(definition.profile)
    verbosely(verbose)
    console.say(f"touchstone sweep {definition.profile.name}: {definition.profile.description}", style="bold")
    begin_servers(pools)
    console.wait("starting Prefect")
    from flows.sweeping.search import SweepRun
    from flows.sweeping.sweeping import run_sweep  # after the checks, which need not wait for it
    from tasks.record.tracking import open_tracking

    with opened(definition, open_tracking(), storage, (at_once or AT_ONCE) if pools else 1) as study:
        own = own_point(source, definition.profile, definition.space)
        study.enqueue(points or ([own] if own else []))
        prefect_is_ready()
        outcome = run_sweep(
            SweepRun(source, definition, study, len(points) or trials),
            on_pools,
        )
    if json_:
        from flows.process.console import print_json

        print_json(outcome)
    else:
        _show(outcome)
    end_unless_completed(outcome)


def _define(
    source: "ProfileSource", over: list[str], sampler: str, by: str | None, trials: int | None, prune: bool
) -> "tuple[StudyDefinition, list[dict[str, str]]]":
    """What is to be tried, and of a grid its points. Raises UsageError for what no trial could be made of."""
    from flows.sweeping.objectives import objective_of
    from flows.sweeping.space import check_space, grid_of, parse_space, size_of
    from flows.sweeping.study import StudyDefinition
    from tasks.config import Sampler

    if sampler not in get_args(Sampler):
        raise UsageError(f"--sampler {sampler!r}: expected {', '.join(get_args(Sampler))}")
    space = parse_space(over)
    profile = source.load().with_commits()
    objective = objective_of(profile, by)
    if prune and objective.measure.curve is None:
        raise UsageError(f"--prune: {objective.stage} logs no curve of {objective.by}; leave --prune out")
    check_space(source, profile, objective, space)
    points = grid_of(space) if sampler == "grid" else []
    size = size_of(space)
    if points and trials not in (None, len(points)):
        raise UsageError(f"--trials {trials}: this grid has {len(points)} points; leave --trials out")
    if not points and trials is None:
        raise UsageError("--trials is missing: how many there are to be, for example --trials 12")
    if not points and size is not None and size < trials:
        raise UsageError(
            f"--trials {trials}: there are {size} combinations; --sampler grid tries each of them once"
        )
    return StudyDefinition(profile, space, sampler, objective, prune), points


def _show(outcome: dict[str, Any]) -> None:
    from rich.console import Console

    from flows.process.console import print_result
    from tasks.show.terminal import show
    from tasks.sweep.document import document

    out = Console(highlight=False)
    show(document(outcome), out)
    for name, address in (("Sweep", outcome["page"]), ("Report card", outcome["report"])):
        if address:
            print_result(f"{name}: {address}")
