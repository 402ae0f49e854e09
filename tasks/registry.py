"""Model versions and their aliases: `candidate` is the newest, `champion` the one to use."""

import json
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.manifest import files_under, sha256_of
from tasks.tracking import Tracking, local_folder

CANDIDATE, CHAMPION = "candidate", "champion"
PROMOTION = "promotion.json"


def champion_of(tracking: Tracking, name: str) -> ModelVersion | None:
    """The version that holds the champion alias, or None when the model or the alias does not exist."""
    try:
        return tracking.client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def create_if_missing(tracking: Tracking, name: str) -> None:
    """Create the registered model, unless it is there (another process may be creating it too)."""
    try:
        tracking.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def registered_files(source: str) -> dict[str, str]:
    """SHA-256 of every file of a registered model that is kept on this machine, by name; else nothing.

    MLflow's own `MLmodel` carries times, so only its presence is noted.
    """
    folder = local_folder(source)
    return {
        name: "present" if name == "MLmodel" else sha256_of(folder / name)
        for name in (files_under(folder) if folder else ())
    }


def still_registered(tracking: Tracking, output: Path) -> bool:
    """Whether the version that a promote stage registered is in the registry, its files unaltered."""
    promotion = json.loads((output / PROMOTION).read_text(encoding="utf-8"))
    try:
        found = tracking.client.get_model_version(promotion["name"], str(promotion["version"]))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    there = registered_files(found.source)  # and what MLflow adds when it loads the model by its name
    return promotion["files"].items() <= there.items()
