"""An export on the card: what was written, how it was checked, and what the numbers of its files cost.

The schema is here and not with its stage, which makes a model card of the report: rooms import downward.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.judge.score.scores_wording import scorer_name
from tasks.machine.json_files import Json, JsonFile
from tasks.show.document import Block, Bullet, Bullets, Cell, Fact, Facts, Keep, Section, Text, table_of
from tasks.show.text import size

FILES = "files"  # the folder of an export's output with what leaves
LISTED = 12  # files told one by one


@dataclass(frozen=True, kw_only=True)
class ExportSummary(JsonFile):
    """One export."""

    FILE: ClassVar[str] = "export.json"

    format: str
    name: str
    files: Mapping[str, Json]
    """By name: `bytes` and `sha256`."""
    checks: Sequence[Json]
    """Each `name` with what was `found`."""
    costs: Sequence[Json]
    """A GGUF file each (tasks/export/costs.py): its responses to the test rows beside the original's."""
    notes: Sequence[str]


def section(report: Json) -> Iterator[Section]:
    """Nothing for a model that was not exported."""
    if exported := report.get("export"):
        yield Section(f"Exported as {exported['format']}", list(blocks(exported)))


def blocks(exported: Json) -> Iterator[Block]:
    """What is known of an export, as it stands in its file."""
    yield from cost_blocks(exported["costs"])
    for note in exported["notes"]:
        yield Text(note, "open")
    yield Bullets(
        [Bullet(f"{check['name']}: {check['found']}") for check in exported["checks"]],
        empty="nothing was checked",
    )
    files = exported["files"]
    facts = [
        Fact(name, f"{size(own['bytes'])}, SHA-256 {own['sha256'][:12]}")
        for name, own in list(files.items())[:LISTED]
    ]
    more = len(files) - len(facts)
    yield Facts(facts + ([Fact("", f"and {more} more files")] if more > 0 else []), keep=Keep(terminal=0))


def cost_blocks(costs: Sequence[Json]) -> Iterator[Block]:
    """What the numbers of the files cost; nothing where no test rows were answered from them."""
    if not costs:
        return
    yield Text(
        f"What the numbers of each file cost: {costs[0]['rows']:,} test rows answered from it, scored by "
        f"{scorer_name(costs[0]['scorer'])} (0 to 100) and paired with the original's responses; intervals "
        "are of 95%."
    )
    yield table_of([_cost_row(cost) for cost in costs])


def _cost_row(cost: Json) -> dict[str, str | Cell]:
    low, high = cost["difference_low"], cost["difference_high"]
    tone = "worse" if high < 0 else "better" if low > 0 else ""
    return {
        "kind": cost["kind"],
        "mean": Cell(f"{cost['mean']:.1f}", f"{cost['low']:.1f} to {cost['high']:.1f}"),
        "minus the original": Cell(f"{cost['difference']:+.2f}", f"{low:+.2f} to {high:+.2f}", tone),
        "equal responses": f"{cost['same']:,} of {cost['rows']:,}",
        "perplexity of references": Cell(
            f"{cost['perplexity']:.3f}", f"of the original {cost['original_perplexity']:.3f}"
        ),
    }
