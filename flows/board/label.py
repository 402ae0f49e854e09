"""The tab Label: responses that people grade from 0 to 5, blind to the judge, a key a label."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any, Self

import gradio as gr

from flows.board.context import Board
from flows.board.errors import handler
from flows.board.html import escaped, frame
from flows.board.models import models_of_runs, versions
from flows.board.refresh import WIDE, choices, when_shown
from flows.judging.labelling import (
    Judged,
    Target,
    drawn_rows,
    open_labels,
    person,
    read_target,
    target_of,
    told,
)
from tasks.errors import UsageError
from tasks.judge.labels.document import document
from tasks.judge.labels.queue import LabelQueue
from tasks.judge.labels.scale import ANCHORS
from tasks.judge.protocol.responses import ResponseRow
from tasks.record.tracking import Tracking

ROWS = 40  # that are asked about where nothing is said, as `touchstone label` has it
KEYS = """
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable=true]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const key = document.getElementById("label-key-" + event.key.toLowerCase());
  if (key && key.offsetParent !== null && !key.disabled) { event.preventDefault(); key.click(); }
});
"""
SKIP, BACK = "s", "b"


@dataclass
class Labelling:
    """One person's labelling of one model's responses; every label is in MLflow the moment it is given."""

    tracking: Tracking
    target: Target
    judged: Judged
    queue: LabelQueue
    by: str
    shown: int = 0
    """How many rows were shown: a key that is pressed before the page shows the next one means nothing."""
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def begin(cls, tracking: Tracking, model: str | None, rows: int | None, by: str) -> Self:
        """Of a model by its name, as `touchstone label` draws rows.

        Raises UsageError for no rows, when there is no such model, or it has no scores to draw rows by.
        """
        if not model:
            raise UsageError("choose the model whose responses are labelled")
        if not rows or rows < 1:
            found = "nothing" if rows is None else rows
            raise UsageError(f"Rows in all: expected 1 or more, found {found}")
        by = person(by.strip())
        target = target_of(tracking, model)
        judged = read_target(tracking, target)
        labels = open_labels(tracking, target, judged, None)
        drawn = drawn_rows(labels, judged, rows)
        queue = LabelQueue(drawn, labels.given_by(by), labels.saver(drawn, by))
        return cls(tracking, target, judged, queue, by)

    def press(self, key: str, seen: int) -> None:
        """Do what a key means for the row that was seen: label it, skip it, or go back."""
        with self.lock:
            if seen != self.shown or self.queue.row is None:
                return
            acts: dict[str, Callable[[], None]] = {SKIP: self.queue.skip, BACK: self.queue.back}
            acts.get(key, lambda: self.queue.label(int(key)))()
            self.shown += 1

    def agreement(self) -> str:
        """What everybody's labels so far make of the scores, as HTML."""
        outcome = {"place": "board", "of": self.target.name, "given": self.queue.done, "by": self.by}
        return frame(document(outcome | {"labels": told(self.tracking, self.target, self.judged)}))


def label_tab(board: Board) -> None:
    """Build the tab."""
    held, seen = gr.State(None), gr.Number(0, precision=0, visible=False)
    with gr.Row():
        model = gr.Dropdown([], label="Whose responses", min_width=WIDE, elem_id="label-model")
        rows = gr.Number(ROWS, label="Rows in all", precision=0, elem_id="label-rows")
        by = gr.Textbox(person(None), label="Who labels", max_length=250, min_width=WIDE, elem_id="label-by")
    start = gr.Button("Start", variant="primary", elem_id="label-start")
    gr.HTML(js_on_load=KEYS, visible="hidden")
    row = gr.HTML(elem_id="label-row")
    with gr.Column(visible=False, elem_id="label-keys") as keys:
        buttons: dict[str, gr.Button] = {
            str(value): gr.Button(f"{value}  {meaning}", size="sm", elem_id=f"label-key-{value}")
            for value, meaning in ANCHORS.items()
        }
        with gr.Row():
            buttons[SKIP] = gr.Button("Skip (s)", size="sm", elem_id=f"label-key-{SKIP}")
            buttons[BACK] = gr.Button("Back (b)", size="sm", elem_id=f"label-key-{BACK}")
    told_so_far = gr.Button("What the labels say so far", size="sm")
    agreement = gr.HTML(elem_id="agreement")

    def look() -> dict[str, Any]:
        return choices([*versions(board.tracking), *models_of_runs(board.tracking)])

    def user(request: gr.Request) -> Any:
        return request.username or gr.skip()

    def begin(name: str | None, count: int | None, who: str) -> tuple[Any, ...]:
        labelling = Labelling.begin(board.tracking, name, count, who)
        return labelling, *_asked(labelling)

    def press(key: str, labelling: Labelling, shown_last: int) -> tuple[Any, ...]:
        labelling.press(key, shown_last)
        return labelling, *_asked(labelling)

    def tell(labelling: Labelling | None) -> str:
        if labelling is None:
            raise UsageError("choose whose responses, and start")
        return labelling.agreement()

    when_shown(look, model)
    gr.on(fn=user, outputs=by, show_progress="hidden")  # when the page is opened
    pane = [held, seen, row, keys]
    start.click(handler(begin), [model, rows, by], pane)
    told_so_far.click(handler(tell), held, agreement)
    for key, button in buttons.items():
        button.click(handler(partial(press, key)), [held, seen], pane, show_progress="hidden")


def _asked(labelling: Labelling) -> tuple[int, str, dict[str, Any]]:
    """Which showing this is, the row that is asked about, and whether there are keys for it."""
    queue = labelling.queue
    done = f"{queue.done:,} of {len(queue.rows):,} labelled by {labelling.by}"
    if queue.row is None:
        skipped = len(queue.rows) - queue.done
        end = f"{skipped:,} rows were skipped; start again to see them" if skipped else "all are labelled"
        told_last = f"<p class='progress'>{escaped(done)}</p><p>{end}</p>"
        return labelling.shown, told_last, gr.update(visible=False)
    now = "" if queue.present is None else f", now {queue.present}"
    head = f"<p class='progress'>{escaped(f'{queue.place + 1} of {len(queue.rows)}{now} · {done}')}</p>"
    return labelling.shown, head + row_html(queue.row), gr.update(visible=True)


def row_html(row: ResponseRow) -> str:
    """All that a label is about, and nothing of what a judge gave."""
    parts = [(turn.role, turn.content) for turn in row.before]
    parts += [("instruction", row.instruction)]
    parts += [("input", row.input)] if row.input.strip() else []
    parts += [("reference", row.reference), ("response", row.response or "(nothing)")]
    return "".join(
        f'<section class="part part-{"response" if name == "response" else "asked"}">'
        f"<h4>{escaped(name)}</h4><p>{escaped(text)}</p></section>"
        for name, text in parts
    )
