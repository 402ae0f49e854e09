"""The rooms of the house import downward only, and no module outgrows them."""

import ast
import re
from collections import defaultdict
from graphlib import TopologicalSorter
from itertools import chain

import pytest

from tests.commands import CHECKOUT

HOUSES = ("tasks", "flows")
LINES = 400  # of a module; more are two modules
FILES = sorted(chain.from_iterable((CHECKOUT / house).rglob("*.py") for house in HOUSES))


def _name_of(path):
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_name_of(path): path for path in FILES}


def _room_of(module):
    """The folder of a module; one that lies at the top of its house is a room of its own."""
    is_room = MODULES[module].name == "__init__.py" or module.count(".") == 1
    return module if is_room else module.rpartition(".")[0]


def _imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def arrows():
    """Which rooms each room imports, imports within functions and for types alone included."""
    found = defaultdict(set)
    for module, path in MODULES.items():
        for other in _imported(path):
            if other in MODULES and other not in HOUSES and module not in HOUSES:
                found[_room_of(module)].add(_room_of(other))
    return {room: others - {room} for room, others in found.items()}


def test_rooms_import_one_another_in_no_circle():
    tuple(TopologicalSorter(arrows()).static_order())  # raises CycleError, which names it


def test_stages_know_nothing_of_who_chains_them():
    assert not [
        f"{room} imports {other}"
        for room, others in arrows().items()
        for other in others
        if room.startswith("tasks") and other.startswith("flows")
    ]


@pytest.mark.parametrize("house", HOUSES)
def test_nothing_lies_loose(house):
    allowed = {
        "tasks": {"__init__", "errors"},
        "flows": {"__init__", "compat", "conclusion", "pipeline", "plan", "preflight", "seeds", "stages"},
    }
    assert {path.stem for path in (CHECKOUT / house).glob("*.py")} == allowed[house]


def test_no_module_is_two():
    assert not {
        name: lines
        for name, path in MODULES.items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LINES
    }


def test_every_room_says_what_it_is_for():
    assert not [
        name
        for name, path in MODULES.items()
        if path.name == "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]


def test_rooms_are_listed_and_each_imports_only_those_above_it():
    page = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `((?:tasks|flows)[\w.]*)` \|", page, re.MULTILINE)
    found = arrows()
    assert sorted(listed) == sorted(found.keys() | set(chain.from_iterable(found.values())))
    upward = {
        room: wrong
        for place, room in enumerate(listed)
        if (wrong := found.get(room, set()) - set(listed[:place]))
    }
    assert not upward
