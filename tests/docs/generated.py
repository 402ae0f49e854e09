"""The pages that are made from the code: every command with its options, and every setting.

python -m tests.docs.generated          write them into docs/
"""

import re
from collections.abc import Callable, Iterator, Mapping

import typer

from flows.command.cli import app
from flows.profiles.settings_reference import as_markdown, settings_reference
from tests.commands import CHECKOUT

DOCS = CHECKOUT / "docs"
WRITTEN = "<!-- Written by `python -m tests.docs.generated`. -->\n\n"
COMMANDS = """# Commands

Every command of `touchstone`, as `touchstone COMMAND --help` shows it. Results go to standard output,
progress to standard error; `--json` prints one JSON object on standard output and nothing else. What the exit
status means is on the page [Profiles](profiles.md#the-command). `touchstone --version` prints the version;
`touchstone --install-completion` completes commands in your shell.
"""
SETTINGS = """# Settings

Every key of a profile, with its default and meaning, read from the models that validate them. In a profile a
key stands in its section; after `--set` the two are joined by a dot: `--set pretrain.steps=400`.
`touchstone settings` prints the same, `touchstone settings pretrain` one section and
`touchstone settings pretrain.steps` one key. [Profiles](profiles.md) says how sections select stages.
"""


def commands() -> str:
    """The page of all commands."""
    return COMMANDS + "".join(f"\n{part}" for part in _commands())


def settings() -> str:
    """The page of all settings."""
    return f"{SETTINGS}\n{as_markdown(settings_reference())}".rstrip() + "\n"


PAGES: Mapping[str, Callable[[], str]] = {"commands.md": commands, "settings.md": settings}
"""Each page with what makes it."""


def _commands() -> Iterator[str]:
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="touchstone")
    for name, command in sorted(group.commands.items()):
        if not command.hidden:
            own = typer.Context(command, info_name=name, parent=context)
            pieces = re.sub(r"[{}]", "", " ".join(command.collect_usage_pieces(own)))  # of what is required
            usage = f"touchstone {name} {pieces}"
            yield f"## {name}\n\n{command.help}\n\n```\n{usage}\n```\n{_parameters(command, own)}"


def _parameters(command: typer.core.TyperCommand, context: typer.Context) -> str:
    records = (one.get_help_record(context) for one in command.get_params(context) if one.name != "help")
    rows = [
        f"| `{written.removesuffix(' <str>')}` | {_plain(told)} |" for written, told in filter(None, records)
    ]
    return "\n".join(["", "| option | meaning |", "|---|---|", *rows, ""]) if rows else ""


def _plain(text: str) -> str:
    """Help as Markdown shows it: a bracket is no tag, and a bar ends no cell."""
    return text.replace("<", "&lt;").replace("|", "\\|")


def main() -> None:
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
