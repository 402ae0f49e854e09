"""Promotions of small models, registered quickly unless a test asks for the real thing."""

import json
from itertools import count

import pytest

from tasks.config import PromoteConfig
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute
from tasks.record.work import Work
from tasks.registry.log_model import Logged
from tasks.registry.promote import stage as room
from tests.registry.promote.promoting import LINEAGE, PROMOTE, SCORER, made, mean_of

NAMES = (f"test-promote-{number}" for number in count())  # the store is shared: each test has its own model


@pytest.fixture(autouse=True)
def _logged_quickly(request, tracking, monkeypatch):
    """A version is registered of a folder with two small files, unless a test is marked `logs_models`."""

    def log_model(run, *_):
        folder = tracking.root / "logged" / run.run_id
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("flavors: none")
        (folder / "weights").write_text(run.run_id)
        return Logged(folder.as_uri(), None)

    if request.node.get_closest_marker("logs_models") is None:
        monkeypatch.setattr(room, "log_model", log_model)


@pytest.fixture
def promoted(tracking):
    """Promote a model with these scores into this test's registered model; gives the promotion.

    Of 30 rows 24 are sealed, and the gate has the 6 that it needs.
    """
    name, seeds = next(NAMES), count()

    def promote(
        scores=None,
        mean=...,
        scorer=SCORER,
        rows=30,
        judge=None,
        failed=None,
        origin=None,
        inputs=None,
        **config,
    ):
        inputs = inputs or {
            "model": made(tracking, "model", [next(seeds), failed]),
            "rows": made(tracking, "rows", rows),
            "scores": made(
                tracking, "scores", [scorer, mean_of(scores) if mean is ... else mean, scores, judge]
            ),
            **(origin or {}),
        }
        promote.name, promote.inputs = name, inputs
        promote.told = []
        promote.work = Work(PROMOTE, PromoteConfig(name=name, **config), inputs)
        reference = execute(tracking, promote.work, lineage=LINEAGE, phase=promote.told.append)
        promote.reference = reference
        return json.loads((fetch(tracking, reference) / OUTPUT / "promotion.json").read_text())

    promote.name = name
    return promote
