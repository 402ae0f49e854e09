"""The tab Chat: one model, or two side by side, whose answers are voted on."""

import atexit
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import gradio as gr

from flows.board.chat_session import ChatSession, settings_of
from flows.board.context import Board
from flows.board.errors import handler
from flows.board.html import escaped, frame
from flows.board.models import Listed, exported_files, models_of_runs, open_chosen, versions
from flows.board.refresh import WIDE, choices, when_shown
from flows.judging.labelling import person
from flows.serving.ready import ReadyModels
from tasks.data.reading import Message
from tasks.judge.votes.document import document
from tasks.judge.votes.rows import preference_rows
from tasks.judge.votes.store import Choice, save_vote, votes
from tasks.machine.json_files import as_text
from tasks.serve.chat_models import ChatSettings, Token

IN_MEMORY = 4  # models at once, of all who have the page open
ALONE = ("none", "")  # in the place of a second model
NOTHING = "(nothing)"  # in the place of an empty answer, as at labelling
FRAME = 0.05  # seconds between two looks at answers that are being written
VOTES: dict[Choice, str] = {
    "a": "A is better",
    "b": "B is better",
    "tie": "Both are as good",
    "neither": "Neither is any good",
}
DOWNLOAD = """(rows) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows], {type: "application/json"}));
  link.download = "preferences.json";
  link.click();
  URL.revokeObjectURL(link.href);
}"""


def chat_tab(board: Board) -> None:
    """Build the tab."""
    ready = ReadyModels(partial(open_chosen, board.tracking), IN_MEMORY)
    atexit.register(ready.close)
    session = gr.State(ChatSession())
    with gr.Row():
        first = gr.Dropdown([], label="Model", min_width=WIDE, elem_id="chat-a")
        second = gr.Dropdown([ALONE], value="", label="Beside it", min_width=WIDE, elem_id="chat-b")
        blind = gr.Checkbox(value=True, label="Hide the names of two until the vote", elem_id="chat-blind")
    with gr.Accordion("System message and sampling", open=False):
        system = gr.Textbox("", label="System message", lines=2, elem_id="chat-system")
        with gr.Row():
            sampling = _sampling()
    with gr.Row():
        logs = [_log("A", visible=True), _log("B", visible=False)]
    notes = gr.HTML(elem_id="chat-notes")
    with gr.Row(visible=False, elem_id="votes") as ballot:
        buttons = {choice: gr.Button(words, size="sm") for choice, words in VOTES.items()}
    text = gr.Textbox(
        "",
        show_label=False,
        placeholder="Say something",
        submit_btn=True,
        stop_btn=True,
        elem_id="chat-text",
    )
    anew = gr.Button("Begin anew", size="sm")
    with gr.Accordion("The last prompt, token by token", open=False):
        tokens = gr.HTML(elem_id="chat-tokens")
    with gr.Accordion("Votes of everybody", open=False):
        tally = gr.HTML(elem_id="tally")
        download = gr.Button("Download the rows of preference")
        rows = gr.Textbox(visible=False)

    def look() -> tuple[Any, ...]:
        found = [*versions(board.tracking), *models_of_runs(board.tracking), *exported_files(board.tracking)]
        return choices(found), choices([Listed(*ALONE), *found]), _tally(board)

    def begin() -> tuple[Any, ...]:
        return ChatSession(), *_shown(ChatSession())

    def say(
        held: ChatSession,
        said: str,
        model: str | None,
        other: str | None,
        is_blind: bool,
        system_text: str,
        *values: object,
    ) -> Iterator[tuple[Any, ...]]:
        chosen_settings = dict(zip(ChatSettings.model_fields, values, strict=True))
        settings = settings_of(chosen_settings | {"top_k": chosen_settings["top_k"] or None})
        if not held.names:
            chosen = [name for name in (model, other) if name]
            held = ChatSession.begin(chosen, blind=is_blind, system=system_text)
        latest = 0.0
        for answers in held.say(said, settings, ready):
            if time.monotonic() - latest >= FRAME:
                latest = time.monotonic()
                yield held, *_shown(held, said, answers), gr.skip()
        yield held, *_shown(held), ""

    def voting(choice: Choice) -> Callable[..., tuple[Any, ...]]:
        def vote(held: ChatSession, request: gr.Request) -> tuple[Any, ...]:
            save = partial(save_vote, board.tracking, by=person(request.username))
            held.vote(choice, save)
            return held, *_shown(held), _tally(board)

        return vote

    panes = [session, *logs, notes, ballot, tokens]
    when_shown(look, [first, second, tally])
    asked = text.submit(
        handler(say),
        [session, text, first, second, blind, system, *sampling],
        [*panes, text],
        show_progress="minimal",
    )
    text.stop(None, cancels=[asked])
    other = [first.input, second.input, blind.input, system.input, anew.click]
    gr.on(other, handler(begin), outputs=panes, cancels=[asked])
    for choice, button in buttons.items():
        button.click(handler(voting(choice)), session, [*panes, tally])
    download.click(handler(partial(_rows, board)), outputs=rows).then(None, rows, js=DOWNLOAD)


def _sampling() -> list[gr.components.Component]:
    """A component for each of the settings of a chat, in their order, with what is possible."""
    default = ChatSettings()
    return [
        gr.Slider(0, 2, default.temperature, step=0.05, label="Temperature; 0: the likeliest token"),
        gr.Slider(0.01, 1, default.top_p, step=0.01, label="Top p"),
        gr.Number(0, label="Top k; 0: all tokens", precision=0),
        gr.Slider(1, 2, default.repetition_penalty, step=0.01, label="Repetition penalty"),
        gr.Number(default.max_tokens, label="Tokens at most", precision=0, elem_id="chat-most"),
        gr.Number(default.seed, label="Seed", precision=0),
    ]


def _log(side: str, visible: bool) -> gr.HTML:
    """What was said to one model and by it. Gradio's own log renders the HTML that a model writes."""
    return gr.HTML(
        visible=visible,
        autoscroll=True,
        min_height=320,
        max_height=420,
        container=True,
        padding=True,
        elem_classes="log",
        elem_id=f"log-{side.lower()}",
    )


def _shown(session: ChatSession, text: str = "", answers: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Both logs, the notes, the ballot and the tokens; `answers` to `text` are those being written."""
    logs = [gr.update(value="", visible=place == 0) for place in range(2)]
    for place, title in enumerate(session.titles):
        turns = session.turns[place]
        if answers is not None:
            turns = [*turns, _turn("user", text), _turn("assistant", answers[place] or "...")]
        logs[place] = gr.update(value=log_html(title, turns), visible=True)
    named = zip(session.titles, session.notes, strict=False)
    notes = "".join(f"<p>{escaped(f'{title}: {note}')}</p>" for title, note in named if note)
    tokens = "<p>shown after the vote</p>" if session.blind else tokens_html(session)
    return *logs, notes, gr.update(visible=session.exchange is not None), tokens


def log_html(title: str, turns: Sequence[Message]) -> str:
    """A conversation under its title; texts are shown as they are."""
    said = [
        f'<p class="turn {escaped(turn["role"])}">{escaped(turn["content"] or NOTHING)}</p>' for turn in turns
    ]
    return f"<h4>{escaped(title)}</h4>{''.join(said)}"


def _turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def tokens_html(session: ChatSession) -> str:
    """The last prompt of each model, a box a token; its number is told where it is pointed at."""
    shown_prompts = [
        f"<p>{escaped(title)}: {len(prompt):,} tokens</p><p class='tokens'>{''.join(map(_token, prompt))}</p>"
        for title, prompt in zip(session.titles, session.tokens, strict=False)
    ]
    return "".join(shown_prompts) or "<p>nothing was said yet</p>"


def _token(token: Token) -> str:
    return f'<span class="token" title="{token.id}">{escaped(token.text)}</span>'


def _tally(board: Board) -> str:
    return frame(document(votes(board.tracking)))


def _rows(board: Board) -> str:
    return as_text(preference_rows(votes(board.tracking)))
