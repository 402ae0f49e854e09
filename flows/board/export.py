"""The tab Export: a model as files that other programs read, what their numbers cost, and the files."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import gradio as gr

from flows.board.commands import BoardCommand
from flows.board.context import Board
from flows.board.errors import handler
from flows.board.html import escaped, frame
from flows.board.models import Listed, models_of_runs, versions
from flows.board.refresh import WIDE, choices, when_shown
from flows.exporting.made import files_of, made_export, made_exports
from tasks.config.exporting import FORMATS, K_KINDS, PLAIN_KINDS
from tasks.errors import UsageError
from tasks.export.document import as_document
from tasks.show.text import size


def export_tab(board: Board) -> None:
    """Build the tab."""
    with gr.Row():
        model = gr.Dropdown([], label="Model", min_width=WIDE, elem_id="export-model")
        to = gr.Radio(
            [(f"{name}: {form.description}", name) for name, form in FORMATS.items()],
            value=next(iter(FORMATS)),
            label="As",
            min_width=WIDE,
            elem_id="export-format",
        )
    kinds = gr.CheckboxGroup(
        [*PLAIN_KINDS, *K_KINDS],
        label="Kinds of numbers, a file each; none: f32",
        info=f"From {K_KINDS[0]} on they need llama.cpp's llama-quantize",
        visible=False,
        elem_id="export-kinds",
    )
    button = gr.Button("Export", variant="primary", elem_id="export-start")
    told = gr.HTML(elem_id="export-told")
    made = gr.Dropdown([], label="Exports that were made", min_width=WIDE, elem_id="exports")
    page = gr.HTML(elem_id="export-page")
    files = gr.File(
        label="Files", file_count="multiple", interactive=False, visible=False, elem_id="export-files"
    )

    def look() -> tuple[dict[str, Any], dict[str, Any]]:
        return choices([*versions(board.tracking), *models_of_runs(board.tracking)]), choices(listed(board))

    def write(name: str | None, form: str, numbers: list[str]) -> Iterator[tuple[Any, ...]]:
        with BoardCommand(board, *arguments(name, form, numbers)) as command:
            yield "<p>exporting ...</p>", gr.skip()
            for line in command.lines():
                yield f"<p>{escaped(line)}</p>", gr.skip()
            outcome = command.outcome()["export"]
        delivered = "".join(f"<p>{escaped(line)}</p>" for line in outcome["delivered"])
        yield delivered, {**choices(listed(board)), "value": outcome["run_id"]}

    def show(run_id: str | None) -> tuple[str, Any]:
        return shown_export(board, run_id) if run_id else ("", gr.update(value=None, visible=False))

    when_shown(look, [model, made])
    to.change(lambda form: gr.update(visible=FORMATS[form].quantizes), to, kinds, show_progress="hidden")
    button.click(handler(write), [model, to, kinds], [told, made], show_progress="minimal")
    made.change(handler(show), made, [page, files])


def arguments(name: str | None, form: str, numbers: list[str]) -> list[str]:
    """The command's. Raises UsageError without a model."""
    if not name:
        raise UsageError("choose the model to export")
    kinds = [part for kind in numbers if FORMATS[form].quantizes for part in ("--quantize", kind)]
    return ["export", "--to", form, *kinds, "--json", "--", name]


def listed(board: Board) -> list[Listed]:
    """The exports that were made, the newest first, with their sizes."""
    return [
        Listed(
            f"{export.title}, {size(export.bytes)}, {datetime.fromtimestamp(export.made):%Y-%m-%d %H:%M}",
            export.run_id,
        )
        for export in made_exports(board.tracking)
    ]


def shown_export(board: Board, run_id: str) -> tuple[str, dict[str, Any]]:
    """What is known of an export, with what its numbers cost; and its files, which are read where they are.

    Raises UsageError when there is no such export, StageError when its files are altered.
    """
    export = made_export(board.tracking, run_id)
    paths = list(files_of(board.tracking, export).values())
    gr.set_static_paths(paths)  # else Gradio would copy them first
    document = as_document(export.summary.as_json())
    return frame(document), gr.update(value=[str(path) for path in paths], visible=True)
