"""Model versions and their aliases: `candidate` is the newest that may win, `champion` the one to use."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import mlflow.artifacts
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from tasks.errors import UsageError
from tasks.machine.digests import sha256_of
from tasks.machine.locks import holding
from tasks.record.manifest import digest_of, files_under
from tasks.record.tracking import Tracking, local_folder
from tasks.registry.promotion import Promotion

CANDIDATE, CHAMPION = "candidate", "champion"

# Tags of a version, set when it is created.
KEY = "touchstone.key"  # of the stage that registered it
FILES = "touchstone.files"  # what `registered_files` told of it then, as JSON
MODEL = "touchstone.model"  # the output that it is, as the JSON of a Reference
INPUT = "touchstone.sha256."  # before the name of an input: its digest. MLflow's page sorts tags by name
UNDER = "touchstone.under"  # of adapters alone: the model that they were trained on, likewise
SCORES = "touchstone.scores"  # of a version: the scores that it was promoted by

KIND = "touchstone.kind"  # of a version that writes no text: what it is
DECISION = "touchstone.decision"  # tag of a version: why it is champion or not; the numbers are below it
PREFLIGHT = f"{DECISION}.preflight"
DECIDED = "touchstone.promotion"  # tag of a version: all that was decided, as JSON, before it takes effect


@contextmanager
def one_at_a_time(tracking: Tracking, name: str) -> Iterator[None]:
    """Let no other process of this machine decide on, or move, the champion of the registered model."""
    lock = f"registry-{digest_of(name.encode())[:16]}.lock"  # a name may hold what no file's may
    with holding(tracking.work / lock):
        yield


def champion_of(tracking: Tracking, name: str) -> ModelVersion | None:
    """The version that holds the champion alias, or None when the model or the alias does not exist."""
    return version_by_alias(tracking, name, CHAMPION)


def version_by_alias(tracking: Tracking, name: str, alias: str) -> ModelVersion | None:
    """The version that holds the alias, or None when the model or the alias does not exist."""
    try:
        return tracking.client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def version_of(tracking: Tracking, name: str, number: int) -> ModelVersion | None:
    """The version of that number, or None when there is none."""
    try:
        return tracking.client.get_model_version(name, str(number))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def tags_of_model(tracking: Tracking, name: str) -> dict[str, str]:
    """The tags of the registered model itself; none of one that does not exist."""
    try:
        return tracking.client.get_registered_model(name).tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def number_of(version: ModelVersion | None) -> int | None:
    return None if version is None else int(version.version)


def registered_models(tracking: Tracking) -> list[RegisteredModel]:
    """Every registered model with at least one version, by name."""
    found, token = [], None
    while True:
        page = tracking.client.search_registered_models(page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted((model for model in found if model.latest_versions), key=lambda model: model.name)


def versions_of(tracking: Tracking, name: str) -> list[ModelVersion]:
    """The versions of a registered model in their order; none when there is no such model."""
    quote = '"' if "'" in name else "'"
    found, token = [], None
    while True:
        page = tracking.client.search_model_versions(f"name={quote}{name}{quote}", page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda version: int(version.version))


def require_model(tracking: Tracking, name: str | None) -> str:
    """The name of a registered model: the only one where none is named.

    Raises UsageError naming those that there are.
    """
    names = [model.name for model in registered_models(tracking)]
    if not names:
        raise UsageError("no model is registered yet; `touchstone run quickstart` registers one")
    if name is None:
        if len(names) > 1:
            raise UsageError(
                f"there are {len(names)} registered models: {', '.join(names)}. Say which, as --model NAME"
            )
        return names[0]
    if name not in names:
        raise UsageError(f"there is no registered model {name!r}; there are {', '.join(names)}")
    return name


def require_version(tracking: Tracking, name: str, number: int) -> ModelVersion:
    """The version of that number. Raises UsageError naming those that there are."""
    if found := version_of(tracking, name, number):
        return found
    known = ", ".join(str(version.version) for version in versions_of(tracking, name)) or "none"
    raise UsageError(
        f"{name} has no version {number}; there are: {known} (`touchstone models` tells of each)"
    )


def create_if_missing(tracking: Tracking, name: str, description: str) -> None:
    """Create the registered model, unless it is there (another process may be creating it too)."""
    try:
        tracking.client.create_registered_model(name, description=description)
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


def fault_in_files(version: ModelVersion) -> str | None:
    """What is wrong with the files of a version, or None.

    Of a version that another tool registered, or that is kept on a server, only that there are files.
    """
    expected = json.loads(version.tags.get(FILES, "{}"))
    if local_folder(version.source) is None:
        there = mlflow.artifacts.list_artifacts(artifact_uri=version.source)
        return None if there else f"{version.source} is empty"
    found = registered_files(version.source)  # and what MLflow adds when it loads the model by its name
    if not found:
        return f"{version.source} is gone"
    for name, digest in expected.items():
        if name not in found:
            return f"{name} is missing in {version.source}"
        if found[name] != digest:
            return f"{name} in {version.source} was altered: its SHA-256 is no longer {digest}"
    return None


def still_registered(tracking: Tracking, output: Path) -> bool:
    """Whether the version that a promote stage registered is in the registry, its files unaltered."""
    promotion = Promotion.read(output)
    return is_registered(tracking, promotion.name, promotion.version, promotion.files)


def is_registered(tracking: Tracking, name: str, number: int, files: Mapping[str, str]) -> bool:
    """Whether there is such a version, with these files as `registered_files` told of them."""
    found = version_of(tracking, name, number)
    return found is not None and files.items() <= registered_files(found.source).items()


def is_dead(tracking: Tracking, run_id: str) -> bool:
    """Whether an attempt ended without an output; one of another machine may still be running."""
    try:
        return tracking.client.get_run(run_id).info.status in ("FAILED", "KILLED")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # removed by `mlflow gc`
            return False
        raise
