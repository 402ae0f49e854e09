"""How `touchstone run --dry-run` tells what a run would do."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.profiles.profile import Profile


def tell_plan(profile: "Profile", refresh: list[str], json_: bool) -> None:
    """Print which stages are cached and which run, with the time, memory and disk to expect."""
    from flows.plan import plan, sum_lines
    from flows.process.console import console, print_json, print_result
    from tasks.record.tracking import open_tracking

    console.wait("looking up the stages")
    found = plan(open_tracking(), profile, refresh)
    if json_:
        print_json(found)
    else:
        _show(found)
        print_result("\n".join(sum_lines(found)))


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for step in found["stages"]:
        state = Text("cached", "dim") if step["cached"] else Text("runs", "yellow")
        table.add_row(Text(step["name"]), state, Text(_took(step)), Text(step["reason"], "dim"))
    Console(highlight=False).print(table)


def _took(step: dict[str, Any]) -> str:
    from tasks.show.text import duration

    if step["cached"]:
        return ""
    if step["seconds"] is None:
        return "not known"
    other = "" if step["same_settings"] else " with other settings"
    return f"{duration(step['seconds'])} last time{other}"
