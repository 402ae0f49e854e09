"""What the pages say is true: links lead somewhere, commands parse, settings and files exist, code runs."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from markdown.extensions.toc import slugify
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from flows import VERSION
from flows.command.cli import app
from flows.profiles.load import load_profile, profile_names
from tests.commands import CHECKOUT
from tests.docs.generated import DOCS, PAGES

README = CHECKOUT / "README.md"
WRITTEN = sorted(page for page in DOCS.glob("*.md") if page.name not in PAGES)
"""By people; the others are made from the code."""
EVERY = [README, CHECKOUT / "CONTRIBUTING.md", CHECKOUT / "CHANGELOG.md", *sorted(DOCS.glob("*.md"))]
LINES, WORDS = 400, 4_000  # of a page; more are two subjects
README_LINES, README_WORDS = 150, 1_100
BLOCK = re.compile(
    r"^(?P<mark><!-- run -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
PATH = re.compile(r"(?:tests|tasks|flows|deployments|docs)/[\w./*-]*")
ROWS = "instructions: {sources: [{made: skills, count: 60}]}\n"
COMMAND = typer.main.get_command(app)


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def named(pages) -> dict[str, list]:
    """Parameters of a test: the pages, by their names."""
    return {"argvalues": pages, "ids": [page.name for page in pages]}


def blocks(page: Path, *languages: str) -> Iterator[re.Match[str]]:
    return (match for match in BLOCK.finditer(read(page)) if match["language"] in languages)


def lines_of_commands(page: Path) -> Iterator[str]:
    """The lines of a page's blocks of commands; one that ends with a backslash goes on in the next."""
    for match in blocks(page, "", "sh", "bash", "console"):
        yield from filter(None, map(str.strip, match["text"].replace("\\\n", " ").splitlines()))


def spans(page: Path) -> list[str]:
    """What is written as code within the text of a page."""
    return SPAN.findall(BLOCK.sub("", read(page)))


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", read(page)), re.MULTILINE)
    return {slugify(re.sub(r"`|\[|\]\([^)]*\)", "", heading), "-") for heading in headings}


# The site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built pages. A dead link, a missing anchor or a page outside the navigation raises Abort."""
    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(CHECKOUT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


@pytest.mark.xdist_group("site")
def test_the_site_is_built_without_a_warning(site):
    assert {page.stem for page in DOCS.glob("*.md")} == {
        page.stem for page in site.glob("*.html") if page.name != "404.html"
    }


@pytest.mark.parametrize(
    ("page", "more"),
    [
        ("# One\n\n[dead](none.md)\n", {}),
        ("# One\n\n[dead](index.md#none)\n", {}),
        ("# One\n\n![dead](none.png)\n", {}),
        ("# One\n", {"other.md": "# Outside the navigation\n"}),
    ],
)
def test_a_build_that_should_fail_does(tmp_path, page, more):
    for name, text in {"index.md": page, **more}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    places = {"docs_dir": str(tmp_path), "site_dir": str(tmp_path.with_name("built"))}
    config = load_config(str(CHECKOUT / "mkdocs.yml"), nav=["index.md"], extra_css=[], **places)
    with pytest.raises(Abort):
        build(config)


@pytest.mark.xdist_group("site")
def test_pages_ask_no_other_server_for_fonts_scripts_or_pictures(site):
    wanted = re.compile(
        r"<(?:script|img|iframe|link(?=[^>]*stylesheet))[^>]*(?:src|href)=\"?(https?://[^\s\">]*)"
    )
    for page in site.glob("*.html"):
        assert wanted.findall(read(page)) == [], page.name
    assert not re.search(r"url\((['\"]?)https?:", (site / "assets" / "site.css").read_text())


@pytest.mark.parametrize("page", **named(EVERY))
def test_a_link_leads_to_a_file_and_to_a_heading_in_it(page):
    """In the repository too, where no site is built."""
    for link in LINK.findall(BLOCK.sub("", read(page))):
        address = urlsplit(link)
        if address.scheme:
            assert address.scheme == "https", link
            continue
        target = page.parent / address.path if address.path else page
        assert target.exists(), f"{page.name}: {link}"
        if address.fragment:
            assert address.fragment in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", **named(WRITTEN))
def test_a_page_has_one_title_and_can_be_read_at_a_sitting(page):
    text = read(page)
    assert re.match(r"# \S", text), "the first line is the title"
    assert len(re.findall(r"^# ", BLOCK.sub("", text), re.MULTILINE)) == 1
    assert len(text.splitlines()) <= LINES
    assert len(text.split()) <= WORDS


def test_the_readme_is_short():
    assert len(read(README).splitlines()) <= README_LINES
    assert len(read(README).split()) <= README_WORDS


# Commands


def parse(command: str, bare: bool = False) -> typer.Context:
    """What a line says, as `touchstone` reads it; within a text, arguments may be left out.

    Raises TyperException for what the command would refuse.
    """
    _, name, *arguments = shlex.split(command, comments=True)
    whole = typer.Context(COMMAND)
    if name.startswith("-"):
        return COMMAND.make_context("touchstone", [name], resilient_parsing=True)
    assert name in COMMAND.commands, f"there is no command {name}: {command}"
    try:
        return COMMAND.commands[name].make_context(name, arguments, parent=whole)
    except typer.TyperException as error:
        if not (bare and error.format_message().startswith("Missing")):
            raise
    return COMMAND.commands[name].make_context(name, arguments, parent=whole, resilient_parsing=True)


def without_variables(line: str) -> str:
    return re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line)


def touchstone_lines(page: Path) -> list[str]:
    own = [without_variables(line) for line in lines_of_commands(page)]
    own += [without_variables(text) for text in spans(page)]
    return [line for line in own if re.match(r"touchstone [a-z-]", line) and "COMMAND" not in line]


@pytest.mark.parametrize("page", **named([page for page in EVERY if page.name != "commands.md"]))
def test_every_command_of_a_page_parses(page):
    for line in touchstone_lines(page):
        context = parse(line, bare=line in spans(page))
        settings_exist(context.params, line)


def settings_exist(params, line):
    """The settings after --set are settings of the profile that is named, or of a profile."""
    profile = params.get("profile")
    if profile in profile_names():
        load_profile(profile, [one for one in params.get("set_") or () if not one.startswith("pools.")])
    elif profile:
        assert profile.endswith(".yaml") or profile.isupper(), line


def test_a_line_that_the_command_refuses_is_found():
    with pytest.raises(typer.TyperException, match="No such option"):
        parse("touchstone run book --sett pretrain.size=124M")
    with pytest.raises(AssertionError, match="there is no command"):
        parse("touchstone fly")


@pytest.mark.parametrize("page", **named(EVERY))
def test_every_target_of_make_and_every_module_exists(page):
    targets = re.findall(r"^([a-z][\w -]*):", read(CHECKOUT / "Makefile"), re.MULTILINE)
    known = {name for line in targets for name in line.split()}
    for line in [*lines_of_commands(page), *spans(page)]:
        if make := re.match(r"make (?:[A-Z]+=\S+ )*([a-z-]+)", line):
            assert make[1] in known, f"{page.name}: {line}"
        if module := re.search(r"python -m (tests[\w.]*)", line):
            assert (CHECKOUT / module[1].replace(".", "/")).with_suffix(".py").exists(), (
                f"{page.name}: {line}"
            )


# Code, settings, files


@pytest.mark.parametrize("page", **named(EVERY))
def test_every_block_of_python_compiles_and_those_marked_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for match in blocks(page, "python"):
        code = compile(match["text"], f"{page.name} (a block of code)", "exec")
        if match["mark"]:
            exec(code, {"__name__": "a page"})


def test_some_code_is_run():
    assert any(match["mark"] for page in EVERY for match in blocks(page, "python"))


def shown_profiles() -> list[str]:
    """Blocks of settings as profiles; of one that shows a key twice, each line is one."""
    found = []
    for match in (match for page in EVERY for match in blocks(page, "yaml")):
        keys = re.findall(r"^(\w+):", match["text"], re.MULTILINE)
        found += [match["text"]] if len(set(keys)) == len(keys) else match["text"].splitlines()
    return found


@pytest.mark.parametrize("text", shown_profiles())
def test_settings_that_are_shown_are_a_profile(tmp_path, text):
    """Regression: criteria were shown in braces, in which YAML takes no bare question mark."""
    path = tmp_path / "shown.yaml"
    path.write_text(text if "instructions:" in text else ROWS + text, encoding="utf-8")
    load_profile(str(path))


@pytest.mark.parametrize("page", **named(EVERY))
def test_every_file_of_ours_that_is_named_exists(page):
    """Not what a benchmark writes, and not what a user makes."""
    for path in {path for text in spans(page) for path in PATH.findall(text)}:
        assert any(CHECKOUT.glob(path.rstrip("/."))) or path.endswith("/.env"), f"{page.name}: {path}"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_made_from_the_code_is_as_the_code_is(name):
    assert read(DOCS / name) == PAGES[name](), "run python -m tests.docs.generated"


# What pages promise of the code


def test_every_pitfall_that_a_test_names_is_told():
    told = {int(number) for number in re.findall(r"^\*\*(\d+)\. ", read(DOCS / "pitfalls.md"), re.MULTILINE)}
    cited = set()
    for path in (CHECKOUT / "tests").rglob("*.py"):
        text = read(path)
        cited |= {int(number) for number in re.findall(r"pitfall_(\d+)_", text)}
        for several in re.findall(r"[Pp]itfalls? ((?:\d+(?:, | and )?)+)", text):
            cited |= {int(number) for number in re.findall(r"\d+", several)}
    assert len(cited) > 30
    assert cited <= told
    assert told == set(range(1, len(told) + 1))


@cache
def texts_of_the_code() -> str:
    """Every text in the code, a value within it as `…`, and what `make` prints."""
    found = [read(CHECKOUT / "Makefile")]
    for path in (path for house in ("flows", "tasks") for path in (CHECKOUT / house).rglob("*.py")):
        for node in ast.walk(ast.parse(read(path))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    "".join(
                        getattr(part, "value", "") if isinstance(part, ast.Constant) else "…"
                        for part in node.values
                    )
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def messages() -> list[str]:
    rows = re.findall(r"^\| `([^`]*)` \|", read(DOCS / "troubleshooting.md"), re.MULTILINE)
    return [row for row in rows if not row.isdecimal()]


def test_messages_are_told():
    assert len(messages()) > 30


@pytest.mark.parametrize("message", messages())
def test_a_message_of_troubleshooting_is_one_of_the_code(message):
    """A part of it may be left out, as `…`."""
    parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
    assert re.search(r"[^\n]*?".join(parts), texts_of_the_code())


# The licence and the version


def test_the_licence_is_the_one_that_the_package_names():
    project = tomllib.loads(read(CHECKOUT / "pyproject.toml"))["project"]
    assert project["license"] == "Apache-2.0"
    (name,) = project["license-files"]
    text = read(CHECKOUT / name)
    assert text.strip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_has_this_version():
    assert f"## [{VERSION}]" in read(CHECKOUT / "CHANGELOG.md")
