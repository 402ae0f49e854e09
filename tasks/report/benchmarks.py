"""Benchmarks on the card: each model's accuracy beside chance, and later models against earlier ones."""

from collections.abc import Iterator

from tasks.benchmark.document import card_section
from tasks.machine.json_files import Json
from tasks.report.hues import MODELS
from tasks.show.document import Section


def section(report: Json) -> Iterator[Section]:
    """Nothing for models that were not asked."""
    if found := report.get("benchmarks"):
        yield card_section(found, MODELS)
