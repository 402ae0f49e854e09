"""A model of the registry as what the next training begins with.

An alias is resolved once, before the stage's key is made: the key holds the version and the digest of its
model, and the stage takes that version, whoever holds the alias by then.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities.model_registry import ModelVersion

from tasks.config import REGISTERED, BaseConfig
from tasks.errors import StageError, UsageError
from tasks.record.manifest import sha256_of_tree
from tasks.record.outputs import fault
from tasks.record.tracking import Tracking, open_tracking
from tasks.record.work import Reference
from tasks.registry.versions import (
    MODEL,
    PREFLIGHT,
    UNDER,
    require_model,
    require_version,
    version_by_alias,
    versions_of,
)


@dataclass(frozen=True)
class Registered:
    """A version, and the outputs that its model is read from."""

    name: str
    version: int
    model: Reference
    under: Reference | None
    """Of adapters alone, the model that they were trained on."""
    preflight: str
    """What the version says of the checks before its trainings."""

    @property
    def label(self) -> str:
        """`touchstone-quickstart/3`, as MLflow writes it behind `models:/`."""
        return f"{self.name}/{self.version}"


def resolve(tracking: Tracking, uri: str) -> Registered:
    """The version that `models:/NAME@alias` or `models:/NAME/3` stands for now.

    Raises UsageError when there is no such model, alias or version, or when it was not registered here.
    """
    found = REGISTERED.fullmatch(uri)
    if found is None:
        raise UsageError(
            f"{uri!r} names no registered model; expected models:/NAME@champion or models:/NAME/3"
        )
    name = require_model(tracking, found["name"])
    if found["version"]:
        return _registered(require_version(tracking, name, int(found["version"])))
    version = version_by_alias(tracking, name, found["alias"])
    if version is None:
        known = ", ".join(str(one.version) for one in versions_of(tracking, name))
        raise UsageError(
            f"{uri}: {name} has no {found['alias']} yet. Make one with `touchstone promote VERSION`, or name "
            f"a version, as models:/{name}/{known.rpartition(' ')[2]}; there are: {known}"
        )
    return _registered(version)


def _registered(version: ModelVersion) -> Registered:
    tags = version.tags
    if MODEL not in tags:
        raise UsageError(
            f"models:/{version.name}/{version.version} was registered by another tool or an earlier version "
            "of touchstone: it does not say what its files are. Run its profile again, or export the model "
            "with `mlflow artifacts download` and name its folder as base.model"
        )
    under = tags.get(UNDER)
    return Registered(
        version.name,
        int(version.version),
        Reference.model_validate_json(tags[MODEL]),
        Reference.model_validate_json(under) if under else None,
        tags.get(PREFLIGHT, ""),
    )


def with_version(tracking: Tracking, config: BaseConfig) -> BaseConfig:
    """The configuration with an alias made the version that holds it now: a pipeline resolves it once."""
    if not config.is_registered:
        return config
    return config.model_copy(update={"model": f"models:/{resolve(tracking, config.model).label}"})


def registered_fingerprints(tracking: Tracking, uri: str) -> dict[str, str]:
    """What of a registered model stands in the key of a stage: the version, and the digests of its files."""
    found = resolve(tracking, uri)
    digests = {"registered": found.label, "model": found.model.digest}
    return digests | ({"under": found.under.digest} if found.under else {})


def fingerprints(config: BaseConfig) -> dict[str, str]:
    """Digests of the existing model that a configuration points to, for the key of its stage."""
    if config.is_registered:
        return registered_fingerprints(open_tracking(), config.model)
    return {"model": sha256_of_tree(config.folder)} if config.folder else {}


def as_fingerprinted(tracking: Tracking, uri: str, fingerprints: Mapping[str, str]) -> Registered:
    """The version that stands in the key, whatever the alias names by now.

    Raises StageError when that version is another model since.
    """
    label = fingerprints.get("registered")
    found = resolve(tracking, f"models:/{label}" if label else uri)
    if label and found.model.digest != fingerprints["model"]:
        raise StageError(f"models:/{label} is another model than when this stage was started. Run again")
    return found


def intact(tracking: Tracking, reference: Reference) -> Reference:
    """The output, or the same one of another run: what is made again has the same digest.

    Raises StageError when neither is there unaltered.
    """
    lost = fault(tracking, reference)
    if lost is None:
        return reference
    runs = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`touchstone.digest` = '{reference.digest}' AND attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
    )
    for run in runs:
        other = reference.model_copy(update={"run_id": run.info.run_id, "uri": run.info.artifact_uri})
        if fault(tracking, other) is None:
            return other
    raise StageError(
        f"the output of {reference.stage} that the model is read from cannot be used: {lost}. "
        "Run its profile again to remake it"
    )
