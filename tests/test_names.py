"""A failed test is read by its name: it says what is protected, its subject first, on one line."""

import ast

from tests.commands import CHECKOUT

LONGEST = 60  # characters


def test_names_have_at_most_sixty_characters():
    found = []
    for path in sorted((CHECKOUT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.append((node.name, path.relative_to(CHECKOUT)))
    assert [f"{path}: {name}" for name, path in found if len(name) > LONGEST] == []
