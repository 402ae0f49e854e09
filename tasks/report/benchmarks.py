"""Benchmarks on the card: each model's accuracy beside chance, and later models against earlier ones."""

from collections.abc import Iterator

from tasks.benchmark.document import card_section
from tasks.machine.json_files import Json
from tasks.report.hues import MODELS
from tasks.report.seeds import is_over_seeds
from tasks.show.document import Section, Text

OF_FIRST = "Of the first seed's models; those of the others are on the cards of their own runs."


def section(report: Json) -> Iterator[Section]:
    """Nothing for models that were not asked."""
    if found := report.get("benchmarks"):
        own = card_section(found, MODELS)
        first = [Text(OF_FIRST, "muted")] if is_over_seeds(report) else []
        yield Section(own.title, [*first, *own.blocks])
