"""Take the pictures of the README and of the board: `python docs/screenshots.py`.

The quickstart is run in a home of its own; servers of Prefect and MLflow are then started on it, looked at
with a Chromium without a window, and stopped again. It needs Playwright (`pip install ".[docs]"`).
"""

import argparse
import base64
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

DOCS = Path(__file__).parent
WIDTH, HEIGHT = 1400, 900
BOARD = {"width": 1280, "height": 1000}
SETTLED = 6000  # milliseconds until a page of the UIs has drawn its graphs
ASSISTANT = "[data-component-id='mlflow.assistant.chat_panel.close']"  # MLflow's panel that is closed
FLOW_RUN = "touchstone.prefect_flow_run_id"
PROFILE = "quickstart"
TAKES = 300_000  # milliseconds that an export, or a model that is loaded, may take
COMMAND = Path(sys.executable).with_name("touchstone")


def main() -> None:
    """Run the quickstart where it was not run yet, and write the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="keep the runs in this folder, and show those that it has")
    parser.add_argument("--run", help="MLflow run of a pipeline in that folder; by default the newest")
    parser.add_argument("--browser", default="/usr/bin/chromium", help="path of a Chromium")
    parser.add_argument("--board", action="store_true", help="take the pictures of the board alone")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the pictures")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as everything:
        home = arguments.home or Path(everything.enter_context(tempfile.TemporaryDirectory()))
        home = home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "deployments").exists():
            (home / "deployments").symlink_to(DOCS.parent / "deployments")
        os.environ["TOUCHSTONE_HOME"] = str(home)
        if not (home / "mlruns" / "mlflow.db").exists():
            subprocess.run([str(COMMAND), "run", PROFILE], check=True)
        if not arguments.board:
            photograph(everything, home, arguments.run, arguments.browser, arguments.out)
        photograph_board(everything, arguments.browser, arguments.out)


def photograph(
    everything: contextlib.ExitStack, home: Path, run_id: str | None, browser: str, out: Path
) -> None:
    """Start the servers on a home, and photograph a pipeline's run in both, and its report card."""
    from playwright.sync_api import sync_playwright

    from flows.dispatch.cards import load_report
    from flows.dispatch.names import resolve_name
    from flows.server.access import USER, new_secret
    from tasks.record.tracking import open_tracking

    run = resolve_name(open_tracking(), run_id).run
    card, secret = load_report(run.info.run_id).page, new_secret()
    prefect, mlflow = everything.enter_context(servers(home, secret))
    pages = {
        "prefect.png": f"{prefect}/runs/flow-run/{run.data.tags[FLOW_RUN]}",
        "mlflow.png": f"{mlflow}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}",
        "report-card.png": card,
    }
    token = base64.b64encode(f"{USER}:{secret}".encode()).decode()
    with sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        context = chromium.new_context(
            viewport={"width": WIDTH, "height": HEIGHT},
            http_credentials={"username": USER, "password": secret},
        )
        context.add_init_script(f"localStorage.setItem('prefect-password', '{token}')")
        for name, address in pages.items():
            page = context.new_page()
            page.goto(address)
            page.wait_for_timeout(SETTLED)
            for panel in page.locator(ASSISTANT).all():
                panel.click()
                page.wait_for_timeout(1000)
            page.screenshot(path=str(out / name))
            print(out / name)
            page.close()
        chromium.close()


def photograph_board(everything: contextlib.ExitStack, browser: str, out: Path) -> None:
    """Start the board on the home, and photograph its tabs."""
    from playwright.sync_api import sync_playwright

    from flows.server.servers import Process, answers, free_port

    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(COMMAND), "board", "--port", str(port)]
    with tempfile.TemporaryDirectory() as logs, sync_playwright() as player:
        board = Process("board", command, os.environ, Path(logs, "board.log"))
        board.start()
        everything.callback(board.stop)
        board.wait_until(lambda: answers(address))
        chromium = player.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for name, show in BOARD_PICTURES.items():
            page = chromium.new_page(viewport=BOARD)
            page.set_default_timeout(TAKES)
            page.goto(address)
            page.get_by_role("tab", name=name, exact=True).click()
            show(page)
            page.wait_for_timeout(SETTLED)
            path = out / f"board-{name.lower()}.png"
            page.screenshot(path=str(path))
            print(path)
            page.close()
        chromium.close()


def show_start(page: "Page") -> None:
    """A profile with a setting that was changed; the whole of it is taller than the others."""
    page.set_viewport_size({**BOARD, "height": 1300})
    page.get_by_label("Profile").first.click()
    page.get_by_role("option", name=PROFILE, exact=True).click()
    page.get_by_role("button", name="tokenize").click()
    page.get_by_label("vocab_size", exact=True).fill("4096")
    page.get_by_text("--set tokenize.vocab_size=4096").wait_for()


def show_watch(page: "Page") -> None:
    """The newest run."""
    page.get_by_text("Finished, ").wait_for()


def show_results(page: "Page") -> None:
    """The newest run's card."""
    page.get_by_role("gridcell", name=PROFILE, exact=True).first.click()
    page.frame_locator("#card iframe").get_by_role("heading").first.wait_for()


def show_chat(page: "Page") -> None:
    """Two models that answer the same, before the vote."""
    choose(page, "chat-a", ": base")
    choose(page, "chat-b", ": fine-tuned")
    page.wait_for_timeout(SETTLED)  # a choice begins anew
    page.locator("#chat-text textarea").fill("Which number is larger? 12 or 71")
    page.locator("#chat-text textarea").press("Enter")
    page.locator("#votes").wait_for()


def show_label(page: "Page") -> None:
    """The first row of the fine-tuned model."""
    choose(page, "label-model", ": fine-tuned")
    page.locator("#label-by").get_by_role("textbox").fill("ann")
    page.locator("#label-start").click()
    page.get_by_text("labelled by ann").wait_for()


def show_export(page: "Page") -> None:
    """A model as a file of 8-bit numbers, and what these cost."""
    choose(page, "export-model", f"touchstone-{PROFILE}/1")  # of a version test rows are known
    page.get_by_label("gguf: a file").check()
    page.get_by_label("q8_0", exact=True).check()
    page.locator("#export-start").click()
    page.frame_locator("#export-page iframe").get_by_text("minus the original").wait_for()


def choose(page: "Page", box: str, name: str) -> None:
    """Choose the first that is called so of a list."""
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=name).first.click()


BOARD_PICTURES: dict[str, Callable[["Page"], None]] = {
    "Start": show_start,
    "Watch": show_watch,
    "Results": show_results,
    "Chat": show_chat,
    "Label": show_label,
    "Export": show_export,
}
"""By the names of the tabs; each a picture board-TAB.png."""


@contextlib.contextmanager
def servers(home: Path, secret: str) -> Iterator[tuple[str, str]]:
    """The addresses of a Prefect and an MLflow server on loopback, which end with the block."""
    from flows.server.servers import Place, answers, free_port, mlflow_server, prefect_server

    place = Place(prefect_port=free_port(), mlflow_port=free_port())
    root = home / "mlruns"
    store = f"sqlite:///{root / 'mlflow.db'}"
    started = [
        prefect_server(place, root / "work" / "logs" / "prefect.log", secret),
        mlflow_server(place, root / "work" / "logs" / "mlflow.log", secret, store, root / "artifacts"),
    ]
    health = [f"{place.prefect}/api/health", f"{place.mlflow}/health"]
    try:
        for process in started:
            process.start()
        for process, address in zip(started, health, strict=True):
            process.wait_until(lambda address=address: answers(address))
        yield place.prefect, place.mlflow
    finally:
        for process in started:
            process.stop()


if __name__ == "__main__":
    main()
