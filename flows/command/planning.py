"""How `touchstone run --dry-run` tells what a run would do."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.profiles.profile import Profile


def tell_plan(profile: "Profile", refresh: list[str], json_: bool) -> None:
    """Print which stages are cached and which run, with the time, memory and disk to expect."""
    from flows.judging.reward_models import with_digests
    from flows.plan import plan
    from flows.process.console import console, print_json, print_result
    from tasks.record.tracking import open_tracking

    console.wait("looking up the stages")
    found = plan(open_tracking(), with_digests(profile.with_commits()), refresh)
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


def sum_lines(found: dict[str, Any]) -> list[str]:
    """Time, memory and disk of what would run."""
    from tasks.show.text import duration, short, size

    running = [step for step in found["stages"] if not step["cached"]]
    if not running:
        return ["Every stage is cached: the run only finds what there is."]
    return [
        f"{len(running)} of {len(found['stages'])} stages run.",
        f"Time: {_known(duration(found['seconds']), found['seconds_not_known'], running)}",
        "Memory: not known"
        if found["memory_bytes"] is None
        else f"Memory: at least {size(found['memory_bytes'])} for the weights, gradients and moments of "
        f"{short(found['parameters'])} parameters; activations come on top",
        f"Disk: {_known(size(found['disk_bytes']), found['disk_not_known'], running)}; "
        f"{size(found['disk_free'])} are free",
    ]


def _known(total: str, unknown: list[str], running: list[dict[str, Any]]) -> str:
    if len(unknown) == len(running):
        return "not known"
    return f"about {total}" + (f", and what {', '.join(unknown)} take" if unknown else "")
