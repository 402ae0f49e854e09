"""No library's warning reaches a terminal: each is mended where it comes from, or this fails."""

import logging
import threading
import warnings
from functools import partial

import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.dispatch import stage_flows
from flows.pipeline import pipeline
from flows.process.console import console
from flows.profiles.load import load_profile

OURS = ("tasks", "flows")
UNSHOWN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # by Python itself


@pytest.fixture
def complaints(monkeypatch, capfd):
    """What libraries say while a test runs: warnings, log lines, and what they write to the terminal."""
    logged = []
    handle = logging.Logger.handle

    def listen(logger, record):
        if record.levelno >= logging.WARNING and not record.name.startswith(OURS):
            logged.append(f"{record.name}: {record.getMessage()}")
        handle(logger, record)

    monkeypatch.setattr(logging.Logger, "handle", listen)
    monkeypatch.setattr(console.rich, "quiet", True)  # what is left on standard error is none of ours
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        for category in UNSHOWN:
            warnings.simplefilter("ignore", category)

        def told():
            written = capfd.readouterr()
            return [
                *(f"{each.filename}:{each.lineno}: {each.message}" for each in warned),
                *logged,
                *(written.out + written.err).splitlines(),
            ]

        yield told


@pytest.fixture
def prefect(prefect_server):
    with temporary_settings({PREFECT_API_URL: prefect_server}):
        yield


def test_the_stages_of_quickstart_end_without_a_warning(complaints, prefect, make_workplace, monkeypatch):
    workplace = make_workplace("warned")
    monkeypatch.setenv("TOUCHSTONE_HOME", str(workplace.folder))
    monkeypatch.chdir(workplace.folder)
    monkeypatch.setattr(stage_flows.ProgressArtifact, "EVERY", 0.0)  # every progress is one in Prefect
    outcome = pipeline(load_profile("tiny.yaml", [], None))
    assert outcome["status"] == "completed"
    assert "finetune" in [stage["name"] for stage in outcome["stages"]]
    assert complaints() == []


def test_progress_told_by_a_thread_of_its_own_belongs_to_the_run(complaints, prefect, monkeypatch):
    """As a tokenizer tells it, which reads its texts in a thread that Prefect did not start."""
    monkeypatch.setattr(stage_flows.ProgressArtifact, "EVERY", 0.0)
    sent = []
    create = stage_flows.create_progress_artifact
    monkeypatch.setattr(
        stage_flows,
        "create_progress_artifact",
        lambda *told, **more: sent.append(create(*told, **more)) or sent[0],
    )

    @flow
    def learns():
        tell = stage_flows.ProgressArtifact("tokenize")
        thread = threading.Thread(target=partial(tell, 1, 2, "bytes", "training the tokenizer"))
        thread.start()
        thread.join()

    learns()
    assert len(sent) == 1
    assert complaints() == []
