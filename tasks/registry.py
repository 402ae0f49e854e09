"""Model versions and their aliases: `candidate` is the newest, `champion` the one to use."""

import json
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tasks.tracking import Tracking

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


def still_registered(tracking: Tracking, output: Path) -> bool:
    """Whether the version that a promote stage registered is still in the registry."""
    promotion = json.loads((output / PROMOTION).read_text(encoding="utf-8"))
    try:
        tracking.client.get_model_version(promotion["name"], str(promotion["version"]))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True
