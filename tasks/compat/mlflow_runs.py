"""MLflow's runs: logging a model needs an active run, and leaving one ends it.

It also asks the hub for the licence and the card of the model, by the folder that the model was read from.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient

LICENSE = "LICENSE.txt"


@contextmanager
def active(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Make a run that is going on the active one, for what asks for it; it goes on afterwards."""
    with mlflow.start_run(run_id=run_id):
        yield
    client.update_run(run_id, status="RUNNING")  # leaving the block above has ended it


@contextmanager
def licensed(text: str) -> Iterator[None]:
    """Have `mlflow.transformers.log_model` write this text as the licence of a model that is on no hub.

    MLflow would write that there is none in the repository of the name of the folder, a path of this machine.
    """
    import mlflow.transformers

    def write(_name: str, _card: object, path: Path) -> None:
        (Path(path) / LICENSE).write_text(text, encoding="utf-8")

    ours = {"_write_license_information": write, "_fetch_model_card": lambda _name: None}
    theirs = {name: getattr(mlflow.transformers, name) for name in ours}
    try:
        for name, own in ours.items():
            setattr(mlflow.transformers, name, own)
        yield
    finally:
        for name, original in theirs.items():
            setattr(mlflow.transformers, name, original)
