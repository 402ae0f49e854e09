"""The card on sources that were mixed: what was asked for, what was read, and the loss on each."""

from collections.abc import Iterator, Sequence

from tasks.machine.json_files import Json
from tasks.show.document import Block, Text, table_of
from tasks.show.text import percent


def source_blocks(sources: Sequence[Json]) -> Iterator[Block]:
    """A table of the sources of a pretraining (`SourceRead`), and how to read it."""
    yield Text(
        "Sources: shares are of the tokens that were trained on; epochs, how many times a source was read. "
        "The same share of each is held out, whatever its weight.",
        "muted",
    )
    yield table_of([_row(own) for own in sources])


def _row(own: Json) -> dict[str, str]:
    row = {
        "source": own["source"],
        "documents": f"{own['documents']:,}",
        "tokens": f"{own['tokens']:,}",
        "share asked": percent(own["share"]),
    }
    if own["decay_share"] is not None:
        row["share asked in the decay"] = percent(own["decay_share"])
    row |= {"share read": percent(own["share_read"]), "epochs": f"{own['epochs']:.2f}"}
    if "validation_loss" in own:
        row["validation loss"] = f"{own['validation_loss']:.3f}"
    return row
