"""What `touchstone clean` would remove, and how much it frees; nothing is changed by looking."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import LoggedModel, Run, ViewType
from mlflow.entities.model_registry import ModelVersion

from flows.cleaning.caches import Cache, find_caches
from flows.cleaning.reach import KIND, STAGE, Rule, is_ours, reasons, unused_versions
from flows.dispatch.history import PROFILE, size_of
from tasks.errors import RefusedError, UsageError
from tasks.record.run_lifecycle import reap_orphaned_runs
from tasks.record.tracking import Tracking, local_folder
from tasks.registry.champions import history
from tasks.registry.versions import registered_models, versions_of

AT_ONCE = 1000  # runs in one answer of MLflow
CLEANED = "touchstone.cleaned"  # tag of a run whose removal has begun


@dataclass(frozen=True)
class Doomed:
    """A run that nothing which stays was made from."""

    run_id: str
    what: str
    """The stage, or the kind of a run that stages are children of."""
    name: str
    began: float
    """Seconds since 1970."""
    folder: Path | None
    """Its artifacts; None where they are on a server."""
    bytes: int


@dataclass(frozen=True)
class DoomedVersion:
    """A version of a registered model that is nobody's choice, with the files that MLflow keeps of it."""

    name: str
    version: int
    model_id: str | None
    """Of what MLflow logged; None of what lies elsewhere, which stays."""
    folder: Path | None
    """Its files; None where they are on a server."""
    bytes: int


@dataclass(frozen=True)
class Plan:
    """What goes, and why the rest stays."""

    runs: list[Doomed]
    versions: list[DoomedVersion]
    caches: list[Cache]
    stays: Counter[str]
    """How many runs stay, by reason."""
    on_server: bool
    """Whether artifacts are on an MLflow server, which frees them by its own garbage collection."""
    rule: Rule
    profile: str | None
    """What was asked for."""

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in (*self.runs, *self.versions, *self.caches))

    @property
    def count(self) -> int:
        return len(self.runs) + len(self.versions) + sum(one.count for one in self.caches)

    def as_of(self, now: "Plan") -> "Plan":
        """What goes by this plan and still does by another, which was made later."""
        runs = {one.run_id for one in now.runs}
        versions = {(one.name, one.version) for one in now.versions}
        return replace(
            self,
            runs=[one for one in self.runs if one.run_id in runs],
            versions=[one for one in self.versions if (one.name, one.version) in versions],
        )

    @property
    def is_empty(self) -> bool:
        return not (self.runs or self.versions or self.caches)


def make_plan(tracking: Tracking, rule: Rule, profile: str | None = None) -> Plan:
    """Look at every run and every cache.

    Raises RefusedError while something runs: it may be about to use what it has found; UsageError for a
    profile of which there is no run.
    """
    require_rest(tracking)
    runs = list(_all_runs(tracking))
    if profile is not None:
        _require_runs_of(profile, runs)
    staying, unused = _versions(tracking, rule, profile)
    kept = reasons([run for run in runs if run.info.lifecycle_stage == "active"], staying, rule, profile)
    going = [run for run in runs if _goes(run, kept)]
    doomed = [_doomed(run) for run in going]
    stays = Counter(kept[run.info.run_id] for run in runs if run.info.run_id in kept and is_ours(run))
    caches = [] if profile else find_caches(tracking.work, rule.since.timestamp())
    versions = [_doomed_version(tracking, one) for one in unused]
    on_server = any(one.folder is None for one in doomed)
    return Plan(doomed, versions, caches, stays, on_server, rule, profile)


def _require_runs_of(profile: str, runs: Sequence[Run]) -> None:
    known = sorted({run.data.tags[PROFILE] for run in runs if PROFILE in run.data.tags})
    if profile not in known:
        there = f"there are runs of {', '.join(known)}" if known else "no profile was run here"
        raise UsageError(f"--profile {profile!r}: it has no runs; {there}")


def _versions(
    tracking: Tracking, rule: Rule, profile: str | None
) -> tuple[list[ModelVersion], list[ModelVersion]]:
    """Those that stay, and those that go; of one profile alone, all stay.

    A version whose files another one has stays with that: MLflow copies versions without their files.
    """
    staying, going = [], []
    for model in registered_models(tracking):
        own = versions_of(tracking, model.name)
        aliases = map(int, tracking.client.get_registered_model(model.name).aliases.values())
        used = {tenure.version for tenure in history(tracking, model.name)} | set(aliases)
        unused = [] if profile else unused_versions(own, used, rule)
        numbers = {one.version for one in unused}
        staying += [one for one in own if one.version not in numbers]
        going += unused
    needed = {_files_of(tracking, one) for one in staying} if going else set()
    shared = [one for one in going if _files_of(tracking, one) in needed]
    return [*staying, *shared], [one for one in going if one not in shared]


def _files_of(tracking: Tracking, version: ModelVersion) -> str:
    """Where the files of a version are, also of a copy."""
    return tracking.client.get_model_version_download_uri(version.name, str(version.version))


def _doomed_version(tracking: Tracking, version: ModelVersion) -> DoomedVersion:
    logged = _logged_model(tracking, version)
    folder = local_folder(logged.artifact_location) if logged else None
    return DoomedVersion(
        version.name,
        int(version.version),
        logged.model_id if logged else None,
        folder,
        size_of(folder) if folder else 0,
    )


def _logged_model(tracking: Tracking, version: ModelVersion) -> LoggedModel | None:
    """What the run of a version logged it as: the registry of a database does not keep that."""
    of_run = f"source_run_id = '{version.run_id}'"
    found = tracking.client.search_logged_models([tracking.experiment_id], of_run)
    return next((one for one in found if one.artifact_location == version.source), None)


def require_rest(tracking: Tracking) -> None:
    """Raises RefusedError while a run of this experiment runs, here or on another machine."""
    reap_orphaned_runs(tracking)
    running = tracking.client.search_runs(
        [tracking.experiment_id], "attributes.status = 'RUNNING'", max_results=AT_ONCE
    )
    if ours := [run for run in running if is_ours(run)]:
        whole = next((run for run in ours if KIND in run.data.tags), ours[0]).info  # its stages run under it
        raise RefusedError(
            f"{whole.run_name} ({whole.run_id[:8]}) is running; what it has found must not go. Clean "
            f"when all runs have ended, or end this one: touchstone cancel {whole.run_id[:8]}"
        )


def _all_runs(tracking: Tracking) -> Iterator[Run]:
    """Newest first, also those whose removal was begun."""
    token = None
    while True:
        page = tracking.client.search_runs(
            [tracking.experiment_id],
            run_view_type=ViewType.ALL,
            order_by=["attributes.start_time DESC"],
            max_results=AT_ONCE,
            page_token=token,
        )
        yield from page
        if not (token := page.token):
            return


def _goes(run: Run, kept: dict[str, str]) -> bool:
    if run.info.lifecycle_stage == "active":
        return run.info.run_id not in kept
    return CLEANED in run.data.tags  # what a person deleted in MLflow is MLflow's to restore


def _doomed(run: Run) -> Doomed:
    tags = run.data.tags
    folder = local_folder(run.info.artifact_uri)
    return Doomed(
        run_id=run.info.run_id,
        what=tags.get(STAGE) or tags.get(KIND, ""),
        name=run.info.run_name or "",
        began=run.info.start_time / 1000,
        folder=folder,
        bytes=size_of(folder) if folder else 0,
    )


def counted(runs: Sequence[Doomed]) -> list[tuple[str, int, int]]:
    """Of each kind of run: how many, and their bytes; the largest first."""
    number: Counter[str] = Counter(one.what for one in runs)
    total: Counter[str] = Counter()
    for one in runs:
        total[one.what] += one.bytes
    return sorted(
        ((what, count, total[what]) for what, count in number.items()), key=lambda row: (-row[2], row[0])
    )
