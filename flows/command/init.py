"""The command `init`: a profile for files of one's own. It needs neither Prefect nor MLflow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.command.options import Columns, Commands, Json, parse_columns

if TYPE_CHECKING:
    from flows.profiles.own_data import OwnFile

commands = Commands()


@commands.command()
def init(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILES...", help="Text, JSON, JSON Lines, CSV, TSV or Parquet; or folders"),
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The profile to write; by default NAME.yaml here")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the profile; by default after the first file")
    ] = None,
    column: Columns = None,
    json_: Json = False,
) -> None:
    """Look at files of your own, show three rows, and write a profile that trains on them."""
    from flows.process.console import print_json, print_result
    from flows.profiles.load import load_profile
    from flows.profiles.own_data import name_of, profile_of, recognise, write_profile
    from tasks.errors import UsageError

    columns = parse_columns(column)
    found = [one for path in files for one in recognise(path, columns)]
    called = name or (name_of(output) if output else name_of(files[0]))
    path = output or Path(f"{called}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--output {path}: a profile is a YAML file; expected a name that ends in .yaml")
    write_profile(path, profile_of(found, path.parent, called, columns))
    try:
        profile = load_profile(str(path))
    except UsageError:
        path.unlink()  # it is ours, made just now, and would not run
        raise
    stages = profile.stages()
    if json_:
        told = [
            {"path": str(one.path), "kind": one.kind, "format": one.format, "rows": one.rows} for one in found
        ]
        print_json({"status": "completed", "profile": str(path), "files": told, "stages": stages})
        return
    for one in found:
        _show(one)
    print_result(f"\nWrote {path}: {profile.description}")
    print_result(f"Stages: {', '.join(stages)}")
    for line in _warnings(found):
        print_result(line)
    print_result(f"Next:\n  touchstone run {path} --dry-run  what would run\n  touchstone run {path}")


def _show(one: "OwnFile") -> None:
    from flows.process.console import print_result
    from flows.profiles.own_data import WORDS
    from tasks.show.text import one_line, size

    columns = ", ".join(
        name if name == column else f"{name} from {column}" for name, column in one.columns.items()
    )
    unit = "paragraphs" if not columns else "rows"
    layout = f", format {one.format} ({columns})" if columns else ""
    print_result(f"{one.path}: {one.rows:,} {unit}, {size(one.bytes)}: {WORDS[one.kind]}{layout}")
    for number, row in enumerate(one.examples, 1):
        for column, value in row.items():
            text = ", ".join(value) if isinstance(value, list) and column != "messages" else value
            if isinstance(text, str) and text:
                print_result(f"  {number}. {column}: {one_line(text, 90)}")


def _warnings(found: "list[OwnFile]") -> list[str]:
    from flows.profiles.own_data import CORPUS, LEAST_TESTED

    rows = sum(one.rows for one in found if one.kind != CORPUS)
    if 0 < rows < LEAST_TESTED:
        return [
            f"Only {rows} rows: a tenth is kept to test on, and a test that can compare models needs "
            f"{LEAST_TESTED} rows or more"
        ]
    return []
