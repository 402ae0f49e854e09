"""The commands about servers and workers: `up`, `deploy`, `worker`."""

import os
from typing import Annotated

import typer

from flows.command.options import Commands, Json, Verbose, host_option
from tasks.errors import UsageError

commands = Commands()

Schedules = list[str] | None


@commands.command()
def up(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where the servers listen; 0.0.0.0 for other machines too")
    ] = "127.0.0.1",
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="Prefect's")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="MLflow's")] = 5000,
    public: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Another name that this machine, or a proxy before it, is called by; may be repeated",
        ),
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="TOUCHSTONE_POSTGRES",
            help="Keep both in PostgreSQL: postgresql://USER:PASSWORD@HOST:PORT/NAME",
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Start Prefect, MLflow and a worker for each pool on this machine, until Ctrl-C."""
    from flows.process.console import console
    from flows.server.readiness import begin_up, verbosely
    from flows.server.servers import Place

    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        if os.environ.pop(name, None):
            console.say(f"{name} is set, and not used: these servers are new ones", style="yellow")
    verbosely(verbose)
    names = tuple(host_option("--public", name) for name in public or ())
    place = Place(
        host_option("--host", host, "; ports are told with --prefect-port and --mlflow-port"),
        prefect_port,
        mlflow_port,
        postgres,
        names,
    )
    with begin_up(place) as secret:
        from flows.server.up import up as keep_up

        try:
            keep_up(place, secret)
        except KeyboardInterrupt:
            console.say("everything is down")


@commands.command()
def deploy(
    activate: Annotated[
        Schedules, typer.Option(metavar="SCHEDULE", help="Let a schedule run; may be repeated")
    ] = None,
    deactivate: Annotated[
        Schedules, typer.Option(metavar="SCHEDULE", help="Let a schedule sleep; may be repeated")
    ] = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Bring work pools, deployments and automations to the Prefect server; doing it again changes nothing."""
    from rich.console import Console

    from flows.server.readiness import require_prefect, verbosely

    verbosely(verbose)
    require_prefect()
    from flows.server.deploy import deploy as bring
    from flows.server.deploy import schedules_told

    done = bring(activate=activate or (), deactivate=deactivate or ())
    if json_:
        from flows.process.console import print_json

        print_json(done)
        return
    out = Console(highlight=False)
    for name, what in done.items():
        style = "dim" if what == "unchanged" else None
        out.print(f"  {what:<10} {name}", style=style, markup=False, soft_wrap=True)
    for line in schedules_told():
        out.print(f"  {line}", markup=False, soft_wrap=True)


@commands.command()
def worker(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="cpu-pool or gpu-pool")],
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Flows at once; default: as prefect.yaml says of the pool"),
    ] = None,
) -> None:
    """Start a worker on this machine for a pool of the Prefect server; MLflow must be a server too."""
    from flows.server.readiness import require_servers
    from flows.server.servers import worker_command, worker_environment

    require_servers()
    from flows.server.deployment_file import load_deployments

    pools = {spec.name: spec.worker_limit for spec in load_deployments().definitions.pools}
    if pool not in pools:
        raise UsageError(f"there is no work pool {pool}; there are {', '.join(pools)}")
    command = worker_command(pool, limit or pools[pool])
    os.execve(command[0], command, worker_environment())
