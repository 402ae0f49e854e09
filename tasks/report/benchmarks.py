"""Benchmarks on the card: each model's accuracy beside chance, and later models against earlier ones."""

from collections.abc import Iterator, Sequence

from tasks.benchmark.document import card_section
from tasks.benchmark.outputs import BITS, MEASURE
from tasks.machine.json_files import Json
from tasks.report.hues import MODELS
from tasks.report.seeds import is_over_seeds
from tasks.show.document import Cell, Group, Section, Table, Text, table_of
from tasks.show.text import percent

OF_FIRST = "Of the first seed's models; those of the others are on the cards of their own runs."
OVER_SEEDS = (
    "Means over the seeds. Intervals of 95% cover the rows that could have been asked and the trainings; "
    "differences are paired by row and by seed."
)


def section(report: Json) -> Iterator[Section]:
    """Nothing for models that were not asked.

    Of several seeds it is over all of them; a card that was made before seeds were compared by benchmarks
    says that it is of the first.
    """
    if not (found := report.get("benchmarks")):
        return
    over = report["seeds"].get("benchmarks") if is_over_seeds(report) else None
    own = card_section(over or found, MODELS)
    if over:
        each = Group("Each seed", [_by_seed(over["models"])])
        yield Section(own.title, [Text(OVER_SEEDS, "muted"), *own.blocks, each])
    else:
        first = [Text(OF_FIRST, "muted")] if is_over_seeds(report) else []
        yield Section(own.title, [*first, *own.blocks])


def _by_seed(models: Sequence[Json]) -> Table:
    """A line for each task and model: what each seed came to, and how far the seeds are apart."""
    return table_of(
        [
            {
                "task": own["name"],
                "model": Cell(one["model"], hue=MODELS[one["model"]]),
                "accuracy of each seed": ", ".join(map(percent, own[MEASURE]["by_seed"])),
                "SD between seeds, in points": f"{100 * own[MEASURE]['sd']:.1f}",
                "bits per byte of each seed": ", ".join(f"{bits:.3f}" for bits in own[BITS]["by_seed"]),
                "SD between seeds": f"{own[BITS]['sd']:.3f}",
            }
            for tasks in zip(*(one["tasks"] for one in models), strict=True)
            for one, own in zip(models, tasks, strict=True)
        ]
    )
