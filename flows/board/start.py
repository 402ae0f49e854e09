"""The tab Start: a profile, its settings, own files, the checks, and the run."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from flows.board import own_files
from flows.board.context import Board
from flows.board.errors import handler
from flows.board.html import escaped, frame
from flows.board.launch import (
    check_profile,
    command_line,
    offered_profiles,
    require_offered,
    run_arguments,
    start_run,
    uploads_folder,
    wait_for_hand_over,
    wait_for_run,
)
from flows.board.own_files import take_in
from flows.board.run_state import name_of
from flows.board.settings_form import Changed, SettingsForm
from flows.plan import plan, sum_lines
from flows.profiles.form import overrides_of
from flows.profiles.load import load_profile
from flows.profiles.own_data import name_of as name_after
from tasks.preflight.document import document as checks_document
from tasks.show.document import Cell, Document, Section, Text, table_of
from tasks.show.text import duration

FIRST = "quickstart"


def start_tab(board: Board) -> None:
    """Build the tab."""
    changed = gr.State({})
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            profile = gr.Dropdown(
                offered_profiles(board), value=None, label="Profile", info="what is trained, on what, and how"
            )
            about = gr.HTML(elem_classes="about")
            with gr.Accordion("Train on files of your own", open=False):
                own = _own_files()
            settings = gr.Group()
        with gr.Column(scale=2, min_width=320, elem_classes="beside"):
            differs = gr.HTML("<p>Choose a profile.</p>", elem_classes="differs")
            command = gr.Code(
                label="Command", language="shell", interactive=False, wrap_lines=True, lines=1, max_lines=8
            )
            with gr.Accordion("Profile as YAML", open=False):
                text = gr.Code(label="YAML", language="yaml", interactive=False, wrap_lines=True)
            with gr.Row():
                checks = gr.Button("Preflight", min_width=140)
                dry = gr.Button("What would run", min_width=140)
            with gr.Row():
                here = gr.Button("Start here", variant="primary", min_width=140)
                pools = gr.Button("Start on the pools", min_width=140)
            outcome = gr.HTML(elem_classes="outcome")
    with settings:
        SettingsForm(profile, changed, [differs, text, command])
    shown_document = gr.HTML(elem_classes="document-place")

    profile.change(handler(_about), profile, about, show_progress="hidden")
    gr.on(fn=partial(_choices, board), outputs=profile, show_progress="hidden")  # when the page is opened
    chosen = [profile, changed]
    checks.click(handler(partial(_checked, board)), chosen, shown_document)
    dry.click(handler(partial(_planned, board)), chosen, shown_document)
    here.click(handler(partial(_start, board, False)), chosen, outcome)
    pools.click(handler(partial(_start, board, True)), chosen, outcome)
    files, name, set_aside, look = own
    look.click(
        handler(partial(_taken_in, board)),
        [files, name, set_aside],
        [shown_document, profile, files, name],
        show_progress_on=shown_document,
    )


def _own_files() -> tuple[gr.File, gr.Textbox, gr.Checkbox, gr.Button]:
    files = gr.File(
        label="Text, JSON, JSON Lines, CSV, TSV or Parquet",
        file_count="multiple",
        type="filepath",
        height=140,
    )
    name = gr.Textbox(
        label="Name",
        info="of the profile that is written: small letters, digits, dashes; else after the first",
    )
    set_aside = gr.Checkbox(
        False, label="Leave malformed rows out", info="else the run stops at the first of them"
    )
    return files, name, set_aside, gr.Button("Look at them, and write a profile")


def _choices(board: Board) -> Any:
    """What may be chosen now, and what is at first: a file of the command line, or the quickstart."""
    offered = offered_profiles(board)
    first = board.profiles[0] if board.profiles else FIRST
    return gr.update(
        choices=offered, value=next((value for _, value in offered if value == str(first)), None)
    )


def _about(profile: str | None) -> str:
    """What a profile is for, and what it takes."""
    if profile is None:
        return ""
    loaded = load_profile(profile)
    takes = loaded.takes.model_dump() if loaded.takes else {}
    facts = {**takes, "stages": ", ".join(loaded.stages())}
    rows = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in facts.items())
    return f"<p>{escaped(loaded.description)}</p><dl>{rows}</dl>"


def _taken_in(board: Board, files: list[str] | None, name: str, set_aside: bool) -> list[Any]:
    paths = [Path(file) for file in files or ()]
    called = name.strip() or (name_after(paths[0]) if paths else "")
    found = take_in(uploads_folder(board), called, paths, set_aside=set_aside)
    offered = gr.update(choices=offered_profiles(board), value=str(found.profile))
    return [frame(own_files.document(found)), offered, None, ""]


def _checked(board: Board, profile: str | None, changed: Changed) -> str:
    """The checks of a profile, by `touchstone preflight`."""
    outcome = check_profile(board, require_offered(board, profile), overrides_of(changed))
    return frame(checks_document(outcome))


def _planned(board: Board, profile: str | None, changed: Changed) -> str:
    """Which stages are cached and which run, as `touchstone run --dry-run` tells it."""
    loaded = load_profile(require_offered(board, profile), overrides_of(changed))
    found = plan(board.tracking, loaded, ())
    rows = [
        {
            "stage": step["name"],
            "state": Cell("cached", tone="muted") if step["cached"] else Cell("runs", tone="strong"),
            "took last time": "" if step["cached"] or step["seconds"] is None else duration(step["seconds"]),
            "why": step["reason"],
        }
        for step in found["stages"]
    ]
    sums = [Text(line) for line in sum_lines(found)]
    return frame(
        Document(
            "plan", f"What a run of {loaded.name} would do", [Section("Stages", [table_of(rows), *sums])]
        )
    )


def _start(board: Board, pools: bool, profile: str | None, changed: Changed) -> str:
    """Start the run, and tell where it is once it has begun."""
    overrides = overrides_of(changed)
    started = start_run(board, require_offered(board, profile), overrides, pools=pools)
    command = command_line(run_arguments(profile, overrides, pools=pools))
    if pools and (told := wait_for_hand_over(started)):
        where = f"Handed to the work pools: {told}. Watch shows it once a worker begins"
    elif pools:
        where = f"Process {started.process} waits for the work pools"
    elif run := wait_for_run(board, started):
        where = f"Run {name_of(run)} has begun in process {started.process}: Watch shows it"
    else:
        where = f"Process {started.process} has not begun its run yet: Watch shows it as soon as it does"
    return f"<p>{escaped(where)}. It goes on when this page is closed.</p><pre>{escaped(command)}</pre>"
