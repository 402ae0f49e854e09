"""The models that can be chosen on the board, by names that always stand for the same model.

A champion is listed by its version, so that a vote says which model it was about.
"""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from flows.dispatch.find_model import models_of
from flows.dispatch.names import SHOWN
from flows.dispatch.runs import KIND, PIPELINE
from flows.exporting.made import files_of, made_export, made_exports
from flows.serving.local import find_made_model
from tasks.errors import UsageError
from tasks.record.tracking import Tracking
from tasks.registry.versions import champion_of, number_of, registered_models, versions_of
from tasks.serve.chat_models import ChatModel, open_chat
from tasks.serve.models import LocalModel, local_model

RUNS = 50  # whose models are listed, from the newest on
FILE = "file:"  # begins the name of an exported file: file:RUN/NAME


@dataclass(frozen=True)
class Listed:
    """A model: its name for people, and the one it is found by."""

    title: str
    name: str


def versions(tracking: Tracking) -> list[Listed]:
    """Every version of every registered model, the newest of each first."""
    found = []
    for model in registered_models(tracking):
        champion = number_of(champion_of(tracking, model.name))
        for version in reversed(versions_of(tracking, model.name)):
            name = f"{model.name}/{version.version}"
            is_champion = int(version.version) == champion
            found.append(Listed(f"{name} (champion)" if is_champion else name, name))
    return found


def models_of_runs(tracking: Tracking) -> list[Listed]:
    """The models that each of the newest pipeline runs made, whether they were registered or not."""
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{KIND}` = '{PIPELINE}'",
        order_by=["attributes.start_time DESC"],
        max_results=RUNS,
    )
    return [
        Listed(f"{run.info.run_name} {short}: {model}", f"{short}:{model}")
        for run in runs
        for short in [run.info.run_id[:SHOWN]]
        for model in models_of(run)
    ]


def exported_files(tracking: Tracking) -> list[Listed]:
    """The GGUF files of exports."""
    return [
        Listed(f"{name} (exported)", f"{FILE}{export.run_id}/{name}")
        for export in made_exports(tracking)
        for name in export.gguf_files
    ]


def find_chosen(tracking: Tracking, name: str) -> LocalModel:
    """The model of a choice, as files of this machine; nothing that was not made in this workplace.

    Raises UsageError when there is none, or none that can be talked to, StageError when its files are gone.
    """
    if name.startswith(FILE):
        run_id, _, file = name.removeprefix(FILE).partition("/")
        files = files_of(tracking, made_export(tracking, run_id))
        if file not in files:
            raise UsageError(f"the export of MLflow run {run_id} holds no file {file!r:.60}")
        return local_model(files[file], file)
    found = replace(find_made_model(name), name=name)
    found.require_causal("chat")
    return found


def open_chosen(tracking: Tracking, name: str, stack: ExitStack) -> ChatModel:
    """The model of a choice, ready to answer until the stack is closed."""
    return open_chat(find_chosen(tracking, name), stack)
