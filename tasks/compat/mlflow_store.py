"""Rows of deleted runs in MLflow's database.

MLflow removes them by `mlflow gc` alone, which also empties the bin: every experiment and every model that
somebody deleted and may want to restore.
"""

from collections.abc import Iterable


def keeps_rows(uri: str) -> bool:
    """Whether a tracking address is a database's, and no server's."""
    return not uri.startswith(("http://", "https://"))


def forget_runs(uri: str, run_ids: Iterable[str]) -> None:
    """Remove runs that are deleted, with their parameters, metrics and tags. Raises MlflowException."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(uri, "artifacts")  # a folder for new experiments, of which none is made
    try:
        for run_id in run_ids:
            store._hard_delete_run(run_id)
    finally:
        store.engine.dispose()
