"""The tab Watch: a run, while it runs and afterwards, whoever started it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gradio as gr
from mlflow.entities import Run

from flows.board.context import Board
from flows.board.errors import StoreAwayError, explained, handler
from flows.board.html import escaped
from flows.board.launch import continue_run, wait_for_run
from flows.board.run_state import (
    Line,
    StageState,
    curves_of,
    messages_of,
    name_of,
    newest_runs,
    samples_of,
    seconds_of,
    stage_states,
    state_of,
    title_of,
)
from flows.dispatch.history import STATES
from flows.dispatch.names import SHOWN
from flows.process.progress import clock_time, times
from flows.server.live_runs import cancel_run
from tasks.errors import UsageError
from tasks.record.run_lifecycle import ERROR, reap_orphaned_runs
from tasks.report.training import SHARES
from tasks.show.document import Chart, Curve, Hue
from tasks.show.html import chart_html
from tasks.show.text import capital, duration

EVERY = 2.0  # seconds between two looks
NEWEST = "@latest"
OF_NEWEST = ("of the newest training", NEWEST)
SIGNS = {
    "waiting": "○",
    "running": "◐",
    "done": "●",
    "cached": "●",
    "failed": "✕",
    "interrupted": "■",
    "not run": "○",
}
PARTS = ("run", "others", "stages", "quantity", "curves", "samples", "messages", "stop", "resume")
ASKED, CHOSEN = "asked", "chosen"  # beside the parts: what a page was drawn for, and the run that it shows
HUES: Sequence[Hue] = ("slate", "amber", "teal", "violet")
OTHERS = len(HUES) - 1  # runs that may be laid over the chosen one
VALIDATION = "validation"
SPLITS = {"train": "training"}  # as the report card calls it


def watch_tab(board: Board) -> None:
    """Build the tab."""
    seen = gr.State({})
    with gr.Row():
        run = gr.Dropdown(
            [("the newest run", NEWEST)],
            value=NEWEST,
            label="Run",
            info="followed until it ends",
            scale=2,
            min_width=280,
        )
        others = gr.Dropdown(
            [],
            multiselect=True,
            max_choices=OTHERS,
            label="Over it",
            info=f"curves of up to {OTHERS} other runs",
            scale=2,
            min_width=280,
        )
        with gr.Column(scale=1, min_width=200):
            stop = gr.Button("Stop", variant="stop", interactive=False)
            resume = gr.Button("Continue", interactive=False)
    outcome = gr.HTML(elem_classes="outcome")
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            stages = gr.HTML("<p>Looking for runs ...</p>", elem_classes="stages")
        with gr.Column(scale=3, min_width=320):
            quantity = gr.Dropdown([OF_NEWEST], value=NEWEST, label="Curve")
            curves = gr.HTML(elem_classes="curves")
    with gr.Row():
        samples = _text_box("What it writes, newest first")
        messages = _text_box("Messages, newest first")
    shown_now = [run, others, stages, quantity, curves, samples, messages, stop, resume]
    timer = gr.Timer(EVERY)
    gr.on(
        [timer.tick, run.change, others.change, quantity.change],
        partial(_look, board),
        [seen, run, others, quantity],
        [seen, *shown_now],
        show_progress="hidden",
        trigger_mode="always_last",
    )
    stop.click(handler(partial(_stop, board)), seen, outcome)
    resume.click(handler(partial(_resume, board)), seen, outcome)


def _text_box(label: str) -> gr.Textbox:
    return gr.Textbox(
        label=label, lines=12, max_lines=12, interactive=False, min_width=320, elem_classes="written"
    )


Seen = dict[str, Any]
"""What a page shows already, by the names of its parts, and of which run: it is not drawn anew."""


def _look(board: Board, seen: Seen, run: str, others: list[str], quantity: str) -> list[Any]:
    """What has become of the run; what hinders the look is told in the place of the stages."""
    try:
        found = _now(board, seen, run, others or [], quantity)
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        found = {ASKED: None}
        if not isinstance(told, StoreAwayError):
            found["stages"] = f'<p class="wrong">{escaped(str(told))}</p>'
    changed = {name: value for name, value in found.items() if seen.get(name) != value}
    chosen = {"run": run, "others": others or [], "quantity": quantity}
    return [
        seen | changed,
        *(_drawn(name, changed[name], chosen) if name in changed else gr.skip() for name in PARTS),
    ]


def _drawn(name: str, value: Any, chosen: Mapping[str, str | list[str]]) -> Any:
    """What a part becomes; what was chosen in a list that no longer has it is chosen no longer.

    Else what is chosen is left alone: a person may choose while the look is on its way.
    """
    if name in chosen:
        had, offered = chosen[name], {each for _, each in value}
        if isinstance(had, list):
            kept = [one for one in had if one in offered]
            return gr.update(choices=value) if kept == had else gr.update(choices=value, value=kept)
        return gr.update(choices=value) if had in offered else gr.update(choices=value, value=NEWEST)
    if name in ("stop", "resume"):
        return gr.update(interactive=value)
    return value


def _now(board: Board, seen: Seen, run: str, others: list[str], quantity: str) -> Seen:
    """The parts that may differ from what a page shows; of runs that have ended only the messages do."""
    tracking = board.tracking
    reap_orphaned_runs(tracking)  # what was killed is told as that
    runs = newest_runs(tracking)
    asked = run, others, quantity, [(one.info.run_id, one.info.status) for one in runs]
    choices = [(title_of(one), one.info.run_id) for one in runs]
    found = {"run": [("the newest run", NEWEST), *choices], "others": choices, ASKED: asked}
    chosen = _chosen(runs, run)
    if chosen is None and runs:
        gr.Warning(f"Run {escaped(run[:SHOWN])} was removed, or is no longer listed: the newest is shown")
        chosen = runs[0]
    if chosen is None:
        return found | {"stages": "<p>Nothing was run yet.</p>"}
    drawn = [chosen, *(one for one in runs if one.info.run_id in others and one is not chosen)]
    if seen.get(ASKED) == asked and all(one.info.status != "RUNNING" for one in drawn):
        return found | {"messages": messages_of(tracking, chosen)}  # the command tells its card yet
    states = stage_states(tracking, chosen)
    lines = curves_of(tracking, chosen, states)
    newest = _of_newest_training(lines)
    for one in drawn[1:]:
        lines += curves_of(tracking, one, stage_states(tracking, one))
    quantities = list(dict.fromkeys(f"{line.stage}: {line.quantity}" for line in lines))
    picked = quantity if quantity in quantities else newest
    is_running = chosen.info.status == "RUNNING"
    return found | {
        CHOSEN: chosen.info.run_id,
        "stages": _stages(chosen, states),
        "quantity": [OF_NEWEST, *((each, each) for each in quantities)],
        "curves": _curves(lines, picked),
        "samples": samples_of(tracking, states),
        "messages": messages_of(tracking, chosen),
        "stop": is_running,
        "resume": not is_running and chosen.info.status != "FINISHED",
    }


def _chosen(runs: Sequence[Run], name: str) -> Run | None:
    return next((run for run in runs if name in (NEWEST, run.info.run_id)), None)


def _of_newest_training(lines: Sequence[Line]) -> str | None:
    """The first quantity of a run's last training, which is its loss."""
    return next((f"{line.stage}: {line.quantity}" for line in lines if line.stage == lines[-1].stage), None)


def _curves(lines: Sequence[Line], quantity: str | None) -> str:
    """The curves of one quantity: of one run training and validation, of several validation where it is."""
    own = [line for line in lines if f"{line.stage}: {line.quantity}" == quantity]
    if not own:
        return "<p>No curve yet.</p>"
    runs = list(dict.fromkeys(line.run for line in own))
    title = capital(own[0].quantity)
    if len(runs) > 1:
        splits = {line.split for line in own}
        split = VALIDATION if VALIDATION in splits else next(iter(splits))
        own = [line for line in own if line.split == split]
        title += f", {split}"
    names = [line.run if len(runs) > 1 else SPLITS.get(line.split, line.split) for line in own]
    drawn = [
        Curve(name, hue, line.points, line.measured)
        for name, hue, line in zip(names, HUES, own, strict=False)
    ]
    return chart_html(Chart(title, "steps", drawn, is_share=own[0].quantity in SHARES))


def _stages(run: Run, states: Sequence[StageState]) -> str:
    """A run's state in a line, and its stages in a list."""
    told = f"{capital(state_of(run))}, {duration(seconds_of(run))}"
    error = run.data.tags.get(ERROR, "")
    rows = "".join(map(_stage, states))
    is_told = any(state.error and state.error in error for state in states)  # by the stage that it is of
    wrong = f'<p class="wrong">{escaped(error)}</p>' if error and not is_told else ""
    return f"<h3>{escaped(name_of(run))}</h3><p>{escaped(told)}</p>{wrong}<ol>{rows}</ol>"


def _stage(stage: StageState) -> str:
    bar = note = ""
    took = "" if stage.seconds is None else duration(stage.seconds)
    if told := stage.progress:
        took = times(told.gone, told.left) if stage.state == "running" else f"{clock_time(told.gone)} gone"
        note = ", ".join(filter(None, (told.count, told.doing or told.note)))
        if told.share is not None:
            bar = f'<progress value="{told.share:.4f}" max="1"></progress>'
    elif stage.state in ("cached", "waiting", "not run"):
        took = stage.state
    name = f'<b>{escaped(stage.label)}</b> <span class="took">{escaped(took)}</span>'
    more = f'<div class="note">{escaped(note)}</div>' if note else ""
    wrong = f'<div class="wrong">{escaped(stage.error)}</div>' if stage.error else ""
    kind = stage.state.replace(" ", "-")
    sign = f'<i title="{stage.state}">{SIGNS[stage.state]}</i>'
    return f'<li class="{kind}">{sign}<div>{name}{bar}{more}{wrong}</div></li>'


def _shown_run(board: Board, seen: Seen) -> Run:
    """The run that the page shows: by now another may be the newest."""
    if CHOSEN not in seen:
        raise UsageError("there is no run yet")
    return board.tracking.client.get_run(seen[CHOSEN])


def _stop(board: Board, seen: Seen) -> str:
    """Stop the run as `touchstone cancel` does."""
    run = _shown_run(board, seen)
    state = STATES[cancel_run(board.tracking, run)]
    return f"<p>Run {escaped(name_of(run))} is {state}; it can be continued.</p>"


def _resume(board: Board, seen: Seen) -> str:
    """Run its settings again: what is done is found."""
    run = _shown_run(board, seen)
    started = continue_run(board, run)
    again = wait_for_run(board, started)
    if again is None:
        return f"<p>Process {started.process} has not begun its run yet.</p>"
    return f"<p>Run {escaped(name_of(again))} continues {escaped(name_of(run))}.</p>"
