"""An export as a document."""

from tasks.machine.json_files import Json
from tasks.report.exports import blocks
from tasks.show.document import Document, Section


def as_document(exported: Json) -> Document:
    """From what stands in `export.json`."""
    return Document(
        kind="export",
        title=exported["name"],
        subtitle=f"as {exported['format']}",
        sections=[Section("What was written, and how it was checked", list(blocks(exported)))],
    )
