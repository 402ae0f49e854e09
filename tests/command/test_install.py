"""What is installed: every package is locked with its hashes, and every file of ours is in the wheel."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

from deployments.lock import BASE, HEAD, LOCKS, WITH_TORCH, pins
from tests.commands import CHECKOUT

PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]


def locked(name):
    """The requirements of a lock, with those of the base lock, by name."""
    texts = [(CHECKOUT / lock).read_text(encoding="utf-8") for lock in dict.fromkeys((BASE, name))]
    found = [Requirement(pin) for text in texts for pin in pins(text)]
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate()
    }


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_what_the_project_asks_for(lock):
    """Otherwise installing would resolve the rest, and take what is newest that day."""
    asked = [*PROJECT["dependencies"]]
    for extra in LOCKS[lock]:
        asked += PROJECT["optional-dependencies"][extra]
    asked = [Requirement(line) for line in asked if not WITH_TORCH.match(line)]
    pinned = locked(lock)
    missing = [
        str(requirement)
        for requirement in asked
        if not (pin := pinned.get(canonicalize_name(requirement.name)))
        or not requirement.specifier.contains(next(iter(pin.specifier)).version)
    ]
    assert missing == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_entry_of_a_lock_is_exact_and_has_hashes(lock):
    text = (CHECKOUT / lock).read_text(encoding="utf-8")
    entries = pins(text)
    assert HEAD + "\n".join(entries.values()) + "\n" == text, "a line that is no entry: run make lock"
    for pin, entry in entries.items():
        assert [each.operator for each in Requirement(pin).specifier] == ["=="], pin
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), pin
        assert not WITH_TORCH.match(pin), pin


def test_torch_is_exact_in_the_project_itself():
    """Its build is the index's to choose, its version is not."""
    torch = next(Requirement(line) for line in PROJECT["dependencies"] if line.startswith("torch"))
    assert [each.operator for each in torch.specifier] == ["=="]


def test_the_locks_do_not_contradict_each_other():
    base = {pin.split("==")[0] for pin in pins((CHECKOUT / BASE).read_text(encoding="utf-8"))}
    for name in set(LOCKS) - {BASE}:
        repeated = base & {pin.split("==")[0] for pin in pins((CHECKOUT / name).read_text(encoding="utf-8"))}
        assert repeated == set(), name


def test_an_installed_package_has_every_file():
    """A checkout finds its files in any case; an image has what the package finds."""
    packages = set(find_packages(str(CHECKOUT), include=SETUPTOOLS["packages"]["find"]["include"]))
    files = [
        path.relative_to(CHECKOUT)
        for room in ("flows", "tasks")
        for path in (CHECKOUT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    globs = SETUPTOOLS["package-data"]["*"]
    missing = [
        str(path)
        for path in files
        if ".".join(path.parent.parts) not in packages
        or (path.suffix != ".py" and not any(path.match(glob) for glob in globs))
    ]
    assert missing == []
