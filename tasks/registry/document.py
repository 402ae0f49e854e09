"""The registered models as a document, and a move of a champion in words."""

from collections.abc import Sequence
from typing import Any

from tasks.registry.champions import Move
from tasks.show.document import Block, Cell, Document, Group, Keep, Section, table_of

TENURES = 5  # champions that are shown, the newest first


def document(models: Sequence[dict[str, Any]]) -> Document:
    """Every model with its versions: scores, and why each is champion or not."""
    return Document(
        kind="models",
        title="Registered models",
        notes=[] if models else ["No model is registered yet; `touchstone run quickstart` registers one."],
        sections=[Section(model["name"], _model(model)) for model in models],
    )


def _model(model: dict[str, Any]) -> list[Block]:
    rows = [_version(version, model["champion"]) for version in model["versions"]]
    tenures = [
        {
            "champion": f"version {tenure['version']}",
            "since": tenure["at"],
            "by": tenure["by"],
            "how": tenure["how"],
            "why": tenure["why"],
        }
        for tenure in reversed(model["champions"])
    ]
    history = table_of(tenures, keep=Keep(terminal=TENURES))
    versions = table_of(rows, empty="no version is registered")
    return [versions, *([Group("Champions, the newest first", [history])] if tenures else [])]


def _version(version: dict[str, Any], champion: int | None) -> dict[str, Cell]:
    tone = "strong" if version["version"] == champion else ""
    cells = {
        "version": str(version["version"]),
        "aliases": ", ".join(version["aliases"]),
        "mean": _points(version["mean"]),
        "sealed": _points(version["sealed_mean"]),
        "scorer": version["scorer"] or "",
        "decision": decision_text(version),
    }
    return {name: Cell(text, tone=tone) for name, text in cells.items()}


def _points(mean: float | None) -> str:
    return "" if mean is None else f"{mean:.1f}"


def decision_text(version: dict[str, Any]) -> str:
    """Why a version is champion or not, and what people did with it since."""
    parts = [version["decision"] or "registered by another tool"]
    parts += [f"champion by override: {version['override']}"] if version["override"] else []
    parts += [f"rolled back: {version['rolled_back']}"] if version["rolled_back"] else []
    return "; ".join(parts)


def move_text(move: Move) -> str:
    """`gpt2: version 2 is the champion now (it was version 3): users complain`."""
    before = "there was none" if move.previous is None else f"it was version {move.previous}"
    return f"{move.name}: version {move.version} is the champion now ({before}): {move.because}"
