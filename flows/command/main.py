"""Where the `touchstone` command begins: it heeds signals, and shows what it can, before anything else."""

from flows.process.interrupts import interrupts
from flows.process.streams import forgive


def main() -> None:
    """Run the command; it ends with SystemExit."""
    interrupts.listen()
    forgive()
    try:
        from flows.command.cli import main as run_command

        run_command()
    finally:
        interrupts.at_once = True
