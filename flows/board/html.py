"""What the board shows as HTML: documents in frames of their own, and texts that nobody vouches for."""

from html import escape

from tasks.machine.secrets import redacted
from tasks.show.document import Document
from tasks.show.html import as_html
from tasks.show.text import visible


def frame(document: Document) -> str:
    """A document's page for `gr.HTML`, in a frame in which nothing runs."""
    page = escape(as_html(document), quote=True)
    return f'<iframe class="document" sandbox="" title="{escaped(document.title)}" srcdoc="{page}"></iframe>'


def escaped(text: str) -> str:
    """A text as HTML shows it: its markup does nothing, and its control characters are visible."""
    return escape(visible(redacted(text)), quote=True)
