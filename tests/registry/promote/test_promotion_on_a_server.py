"""Promotion where an MLflow server keeps the files: moved by hand, rolled back, begun from."""

import pytest

from tasks.config import BaseConfig, PromoteConfig
from tasks.machine.json_files import read_json
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute
from tasks.record.tracking import open_tracking
from tasks.record.work import Stage, Work
from tasks.registry.champions import override, rollback
from tasks.registry.resolve import registered_fingerprints
from tasks.registry.versions import champion_of
from tests.registry.promote.promoting import PROMOTE, SCORER, around, made

NAME = "served"


@pytest.mark.slow
@pytest.mark.logs_models
def test_champion_of_a_server_is_moved_by_hand_and_begun_from(mlflow_server, tmp_path):
    uri, _ = mlflow_server
    tracking = open_tracking(tmp_path / "mlruns", uri)
    for number, mean in enumerate((40, 30)):
        inputs = {
            "model": made(tracking, "model", [number, None]),
            "rows": made(tracking, "rows", 30),
            "scores": made(tracking, "scores", [SCORER, mean, around(mean), None]),
        }
        execute(tracking, Work(PROMOTE, PromoteConfig(name=NAME), inputs))
    assert int(champion_of(tracking, NAME).version) == 1
    assert override(tracking, NAME, 2, "it is kinder").previous == 1

    config = BaseConfig(model=f"models:/{NAME}@champion")
    fingerprints = registered_fingerprints(tracking, config.model)
    base = execute(
        tracking, Work(Stage("base", 1, "tasks.registry.import_model:base"), config, {}, fingerprints)
    )
    summary = read_json(fetch(tracking, base) / OUTPUT / "summary.json")
    assert summary["revision"] == inputs["model"].digest
    assert summary["registered"]["version"] == f"{NAME}/2"

    assert rollback(tracking, NAME).version == 1
