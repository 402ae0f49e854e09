"""MLflow's runs: logging a model needs an active run, and leaving one ends it."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
from mlflow import MlflowClient


@contextmanager
def active(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Make a run that is going on the active one, for what asks for it; it goes on afterwards."""
    with mlflow.start_run(run_id=run_id):
        yield
    client.update_run(run_id, status="RUNNING")  # leaving the block above has ended it
