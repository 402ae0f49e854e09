"""What code each stage runs through, as a hash of syntax trees, without docstrings, comments, annotations.

    python -m tests.stage_code                  accept the code of stages whose version was raised
    python -m tests.stage_code --same REASON    of the others too: they make the same of the same inputs

What is reached is followed by name, from a stage's entry and its settings, through functions, classes and
constants of `tasks`; of a class all of it, of a module what is run when it is imported. `stage_code.json`
keeps each stage's version and hash, and the reason why the last change made no difference.
"""

import argparse
import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flows.stages import STAGES
from tests.commands import CHECKOUT

ADVICE = (
    "Raise its version in flows/stages.py, or say why it makes the same: "
    "python -m tests.stage_code --same REASON"
)
KEPT = Path(__file__).with_suffix(".json")
ROOM = "tasks"
ENTRY = re.compile(rf"({ROOM}(?:\.\w+)+):(\w+)")


class Name(NamedTuple):
    """A name at the top of a module; "" is what the module does when it is imported."""

    module: str
    name: str


class Module(NamedTuple):
    """The top of a module: what its names are, where it has imported others from, and what it does."""

    defined: dict[str, list[ast.AST]]
    imported: dict[str, Name]
    done: list[ast.AST]


class _Bare(ast.NodeTransformer):
    """Takes out what does not run: docstrings and annotations."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
                node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is None:
            return ast.Expr(ast.Name(node.target.id)) if isinstance(node.target, ast.Name) else ast.Pass()
        return ast.Assign([node.target], node.value, lineno=node.lineno)


@cache
def module_of(name: str) -> Module:
    tree = _Bare().visit(ast.parse(_file_of(name).read_text(encoding="utf-8")))
    module = Module({}, {}, [])
    for node in ast.walk(tree):  # imports within functions too
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == ROOM:
            for alias in node.names:
                module.imported[alias.asname or alias.name] = _target(node.module, alias.name)
    for statement in tree.body:
        names = list(_names_of(statement))
        for own in names:
            module.defined.setdefault(own, []).append(statement)
        imports = isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass)
        if not names and not imports and "TYPE_CHECKING" not in ast.unparse(statement):
            module.done.append(statement)
    return module


def _target(module: str, name: str) -> Name:
    """What `from module import name` imports: a module of its own, or a name of that one."""
    inner = f"{module}.{name}"
    return Name(inner, "") if _file_of(inner).exists() else Name(module, name)


def _file_of(module: str) -> Path:
    path = CHECKOUT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _names_of(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def reached(roots: list[Name]) -> dict[Name, str]:
    """Every name that is reached, with its syntax trees."""
    found: dict[Name, str] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name], used = _facts(name)
        waiting += used
    return found


@cache
def _facts(name: Name) -> tuple[str, list[Name]]:
    """The syntax trees of a name, and the names that they use."""
    module = module_of(name.module)
    if name.name in module.imported and name.name not in module.defined:  # imported on, by a package
        return "", [module.imported[name.name]]
    nodes = module.defined.get(name.name, []) if name.name else module.done
    used = [each for node in nodes for each in _used(name.module, node)]
    return "\n".join(map(ast.unparse, nodes)), [Name(name.module, ""), *used]


def _used(where: str, node: ast.AST) -> Iterator[Name]:
    module = module_of(where)
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name):
            target = module.imported.get(part.value.id)
            if target and not target.name:  # an attribute of a module
                yield Name(target.module, part.attr)
        elif isinstance(part, ast.Constant) and isinstance(part.value, str):
            if named := ENTRY.fullmatch(part.value):  # imported once it is needed
                yield Name(*named.groups())
        elif isinstance(part, ast.Name):
            if part.id in module.defined:
                yield Name(where, part.id)
            elif target := module.imported.get(part.id):
                yield target


def roots_of(stage: str) -> list[Name]:
    """What a stage begins with: its entry, and its settings."""
    module, entry = STAGES[stage].entry.split(":")
    config = STAGES[stage].config
    return [Name(module, entry), Name(config.__module__, config.__name__)]


def code_of(stage: str) -> str:
    """The hash of all that a stage runs through."""
    found = reached(roots_of(stage))
    text = "\n".join(f"{name.module}:{name.name}\n{found[name]}" for name in sorted(found))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kept() -> dict[str, dict[str, str | int]]:
    return json.loads(KEPT.read_text(encoding="utf-8"))


def changed() -> list[str]:
    """The stages that run through other code than is kept of their version."""
    known = kept()
    return [
        name
        for name, stage in STAGES.items()
        if known.get(name, {}).get("version") != stage.version or known[name]["code"] != code_of(name)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--same", metavar="REASON", help="why stages of the same version make the same")
    same = parser.parse_args().same
    known = kept() if KEPT.exists() else {}
    for name, stage in STAGES.items():
        code, before = code_of(name), known.get(name, {"version": 0, "code": ""})
        if (before["version"], before["code"]) == (stage.version, code):
            continue
        if before["version"] == stage.version:
            if not same:
                sys.exit(f"{name} runs through other code. {ADVICE}")
            known[name] = {"version": stage.version, "code": code, "same": same}
        else:
            known[name] = {"version": stage.version, "code": code}
    KEPT.write_text(json.dumps({name: known[name] for name in STAGES}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
