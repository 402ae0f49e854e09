"""`touchstone board`: a page to start, watch, compare, chat and label."""

import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from flows.command.options import Commands, host_option
from tasks.errors import UsageError
from tasks.machine.addresses import bracketed, reached

commands = Commands()


@commands.command()
def board(
    profiles: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PROFILES]...", help="YAML files of your own to offer beside the profiles"),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where it listens")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT")] = 7860,
    public: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Another name that a proxy before it is called by; may be repeated"
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="Who may in, with the password in TOUCHSTONE_BOARD_PASSWORD; for other machines",
        ),
    ] = None,
) -> None:
    """Serve a page to start, watch, compare, chat with and label models, until Ctrl-C."""
    if find_spec("gradio") is None:
        raise UsageError('the page needs Gradio: pip install "touchstone[board]"')
    place = host_option("--host", host, "; the port is told with --port")
    names = tuple(host_option("--public", name) for name in public or ())
    for profile in profiles or ():
        if profile.suffix not in (".yaml", ".yml") or not profile.is_file():
            raise UsageError(f"{profile}: expected the YAML file of a profile")
    from flows.process.console import console, print_result
    from flows.process.interrupts import interrupts
    from flows.server.servers import Place
    from flows.serving.serve import answering, listening_socket, wait
    from tasks.machine.home import home

    console.wait("opening the page")
    from flows.board.access import login_of, prepare_gradio

    login = login_of(auth, place)
    prepare_gradio(home() / "mlruns")
    with listening_socket(place, port) as at:
        from flows.board.app import served
        from flows.board.context import Board

        found = Board.here(tuple(profile.resolve() for profile in profiles or ()))
        hosts = Place(place, public=names).hosts
        with answering(served(found, login), hosts, at, lifespan="on") as thread:
            console.close()
            print_result(
                f"The board is at http://{bracketed(reached(place))}:{port}; Ctrl-C ends it, and no run"
            )
            with suppress(KeyboardInterrupt):
                wait(thread)
    console.say("the board is closed; what it started goes on")
    sys.exit(interrupts.status)
