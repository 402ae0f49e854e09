"""Where the `touchstone` command begins: it heeds signals before it imports what takes time."""

from flows.interrupts import interrupts


def main() -> None:
    """Run the command; it ends with SystemExit."""
    interrupts.listen()
    try:
        from flows.cli import main as run_command

        run_command()
    finally:
        interrupts.at_once = True
