"""The tab Results: runs and registered models as tables, report cards, comparisons, and the champion."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from flows.board.commands import BoardCommand
from flows.board.context import Board
from flows.board.errors import handler
from flows.board.html import escaped, frame
from flows.board.models import models_of_runs, versions
from flows.board.refresh import WIDE, choices, when_shown
from flows.board.tables import RUN_COLUMNS, VERSION_COLUMNS, Column, Row, run_rows, version_rows
from flows.dispatch.cards import load_report
from tasks.errors import UsageError
from tasks.judge.compare.document import document as comparison_document
from tasks.machine.json_files import Json
from tasks.pretrain.losses_document import document as losses_document
from tasks.registry.champions import override, rollback
from tasks.registry.document import move_text
from tasks.report.document import as_document
from tasks.show.document import Document

NO_RUN = "Choose a run in the table: its report card is shown here."


def results_tab(board: Board) -> None:
    """Build the tab."""
    with gr.Tabs():
        with gr.Tab("Runs"):
            _runs(board)
        with gr.Tab("Registered models"):
            _models(board)
        with gr.Tab("Compare"):
            _compare(board)


def _runs(board: Board) -> None:
    table = _table(RUN_COLUMNS, "The newest runs; choose one to see its report card")
    card = gr.HTML(f"<p>{NO_RUN}</p>", elem_id="card")

    def show(event: gr.SelectData) -> str:
        return card_of(str(event.row_value[0]))

    when_shown(partial(run_rows, board.tracking), table)
    table.select(handler(show), outputs=card)


def _models(board: Board) -> None:
    table = _table(VERSION_COLUMNS, "Every version of every registered model")
    with gr.Row():
        version = gr.Dropdown([], label="Version", min_width=WIDE, elem_id="version")
        reason = gr.Textbox(
            "", label="Reason", info="It is kept with the version", max_length=2000, min_width=WIDE
        )
    with gr.Row():
        promote = gr.Button("Make it the champion", variant="primary")
        back = gr.Button("Roll back to the champion before")
    told = gr.HTML(elem_id="moved")

    def look() -> tuple[list[Row], dict[str, Any]]:
        return version_rows(board.tracking), choices(versions(board.tracking))

    def moved(act: Any, name: str | None, why: str) -> tuple[Any, ...]:
        said = act(board, name, why)
        return (escaped(said), *look(), "")

    when_shown(look, [table, version])
    outputs = [told, table, version, reason]
    promote.click(handler(partial(moved, promoted)), [version, reason], outputs, show_progress_on=told)
    back.click(handler(partial(moved, rolled_back)), [version, reason], outputs, show_progress_on=told)


def _compare(board: Board) -> None:
    gr.Markdown(
        "Two models' responses to the same test rows, row by row: those that differ most stand first. "
        "Positive differences mean that A is better."
    )
    with gr.Row():
        a, b = (
            gr.Dropdown([], label=name, min_width=WIDE, elem_id=f"compare-{name.lower()}") for name in "AB"
        )
    button = gr.Button("Compare", variant="primary")
    told = gr.HTML(elem_id="comparison")

    def look() -> tuple[dict[str, Any], dict[str, Any]]:
        listed = choices([*versions(board.tracking), *models_of_runs(board.tracking)])
        return listed, listed

    when_shown(look, [a, b])
    button.click(handler(partial(compared, board)), [a, b], told)


def _table(columns: Sequence[Column], label: str) -> gr.Dataframe:
    return gr.Dataframe(
        headers=[column.name for column in columns],
        datatype=[column.kind for column in columns],
        column_count=len(columns),
        column_widths=[column.width for column in columns],
        type="array",
        interactive=False,
        label=label,
        wrap=False,
        max_height=420,
        show_search="search",
        pinned_columns=1,
        buttons=[],
    )


def card_of(run: str) -> str:
    """The report card of a run, with the labels that people gave until now. Raises UsageError without one."""
    loaded = load_report(run)
    since = f"<p><strong>Since then: {escaped(loaded.now)}</strong></p>" if loaded.now else ""
    return since + frame(as_document(loaded.report, loaded.cost))


def promoted(board: Board, name: str | None, why: str) -> str:
    """Make a version the champion; what was done, in words. Raises UsageError without a reason."""
    if not name:
        raise UsageError("choose the version that is to be the champion")
    if not why.strip():
        raise UsageError(f"say why {name} is to be the champion; the reason is kept with it")
    model, _, number = name.rpartition("/")
    return move_text(override(board.tracking, model, int(number), why))


def rolled_back(board: Board, name: str | None, why: str) -> str:
    """Give the champion's place of a version's model back; what was done, in words.

    Raises UsageError when there is no champion to go back to.
    """
    if not name:
        raise UsageError("choose any version of the model whose champion is rolled back")
    return move_text(rollback(board.tracking, name.rpartition("/")[0], why))


def compared(board: Board, a: str | None, b: str | None) -> Iterator[str]:
    """What is told while two models are compared, then the comparison.

    Raises UsageError for one that is missing, and for the same one twice.
    """
    if not a or not b:
        raise UsageError("choose two models to compare")
    if a == b:
        raise UsageError(f"{a} is compared with itself; choose another one as B")
    with BoardCommand(board, "compare", "--json", "--", a, b) as command:
        yield "<p>comparing ...</p>"
        for line in command.lines():
            yield f"<p>{escaped(line)}</p>"
        outcome = command.outcome()
    refused = f"<p><strong>{escaped(outcome['error'])}</strong></p>" if "error" in outcome else ""
    yield refused + frame(comparison(outcome))


def comparison(outcome: Json) -> Document:
    """What `touchstone compare` told, as it tells it: of models that were only pretrained, their losses."""
    return comparison_document(outcome) if "differences" in outcome else losses_document(outcome)
