"""The command `clean`: old runs and caches go, models and what they come from stay."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command.options import Commands, Json

if TYPE_CHECKING:
    from flows.cleaning.plan import Plan

commands = Commands()


@commands.command()
def clean(
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="What began before then: 12h, 30d, 8w, or a date")
    ] = "30d",
    keep: Annotated[
        int, typer.Option(min=0, metavar="N", help="The newest finished runs of each profile stay")
    ] = 3,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only runs of this profile, and no caches")
    ] = None,
    versions: Annotated[
        bool,
        typer.Option("--versions", help="Also old versions that have no alias and were never champion"),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking")] = False,
    json_: Json = False,
) -> None:
    """Show what old runs and caches hold, and remove it: registered models and what they come from stay."""
    import sys
    from datetime import datetime

    from flows.cleaning.plan import make_plan
    from flows.cleaning.reach import Rule
    from flows.cleaning.removing import remove
    from flows.dispatch.history import parse_since
    from flows.process.console import console, print_json
    from tasks.record.tracking import open_tracking
    from tasks.show.text import size

    rule = Rule(parse_since(older_than, datetime.now().astimezone(), "--older-than"), keep, not versions)
    tracking = open_tracking()
    console.wait("looking at the runs")
    plan = make_plan(tracking, rule, profile)
    console.close()
    told: dict[str, Any] = {"status": "completed", "removed": False, **as_json(plan)}
    if not json_:
        _show(plan, versions)
    asks = not yes and not json_ and sys.stdin.isatty()
    if plan.is_empty or not (yes or (asks and typer.confirm(f"Remove this, and free {size(plan.bytes)}?"))):
        if not (plan.is_empty or asks or json_):
            console.say("Nothing was removed: --yes removes it")
        if json_:
            print_json(told)
        return
    console.begin("clean")
    left = remove(tracking, plan, lambda done, total: console.progress("clean", done, total, "removed", ""))
    console.close()
    if json_:
        print_json(told | {"removed": True, "left": left})
        return
    for line in left:
        console.say(line, style="yellow")
    console.say(f"Freed {size(plan.bytes)}")


def as_json(plan: "Plan") -> dict[str, Any]:
    runs = [
        {"run_id": one.run_id, "what": one.what, "name": one.name, "bytes": one.bytes} for one in plan.runs
    ]
    caches = [{"what": one.what, "count": one.count, "bytes": one.bytes} for one in plan.caches]
    versions = [{"name": one.name, "version": one.version, "bytes": one.bytes} for one in plan.versions]
    return {
        "bytes": plan.bytes,
        "runs": runs,
        "versions": versions,
        "caches": caches,
        "stays": dict(plan.stays),
    }


def _show(plan: "Plan", versions: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from flows.cleaning.plan import counted
    from flows.cleaning.reach import REGISTERED
    from tasks.show.text import size, visible

    out = Console(highlight=False)
    if plan.is_empty:
        out.print("There is nothing to remove.")
    else:
        table = Table("what goes", "how many", "frees", box=SIMPLE_HEAD, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for what, count, total in counted(plan.runs):
            table.add_row(visible(f"runs: {what}"), str(count), size(total))
        if plan.versions:
            total = sum(one.bytes for one in plan.versions)
            table.add_row("versions of models", str(len(plan.versions)), size(total))
        for cache in plan.caches:
            table.add_row(visible(cache.what), str(cache.count), size(cache.bytes))
        table.add_section()
        table.add_row("in all", str(plan.count), size(plan.bytes))
        out.print(table)
        if plan.on_server:
            out.print("What an MLflow server keeps is not counted here.")
    if stays := sum(plan.stays.values()):
        why = ", ".join(f"{count} {reason}" for reason, count in plan.stays.most_common())
        out.print(visible(f"{stays} runs stay: {why}."), markup=False)
    if plan.stays[REGISTERED] and not versions:
        out.print("Runs that registered a model stay; --versions lets old versions go that nobody uses.")
