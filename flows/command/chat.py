"""`touchstone chat`: talking to a model in the terminal."""

import sys
from contextlib import ExitStack
from typing import Annotated

import typer

from flows.command.options import Commands
from flows.command.serve import NamedModel

commands = Commands()


@commands.command()
def chat(
    model: NamedModel,
    against: Annotated[
        str | None, typer.Option(metavar="OTHER", help="Another model, whose answers stand beside")
    ] = None,
) -> None:
    """Talk to a model; with lines piped into it, an answer a line and nothing else."""
    from flows.serving.local import find_local_model

    found = [find_local_model(name) for name in (model, against) if name is not None]
    for one in found:
        one.require_causal("chat")
    from rich.console import Console

    from flows.process.console import console
    from flows.process.interrupts import interrupts
    from flows.serving.chat import Chat, piped
    from tasks.serve.chat_models import open_chat

    person = sys.stdin.isatty() and sys.stdout.isatty()
    with ExitStack() as stack:
        if person:
            console.wait("loading the model")
        models = [open_chat(one, stack) for one in found]
        console.close()
        if person:
            import readline  # noqa: F401 - the arrow keys, in `input`

            console.say(f"{' and '.join(one.name for one in models)}; /help tells what there is", "dim")
        talk = Chat(models, Console(highlight=False), console.rich, person=person)
        with interrupts.ctrl_c_raises():
            status = talk.run(input if person else piped)
    if status:
        sys.exit(status)
