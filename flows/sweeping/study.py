"""A sweep's trials in Optuna's storage: what was tried is there after a kill, and is not tried again.

A sweep is known by what it is of: the profile, what is tried, how, and by what trials are compared. The same
command finds the same study. Of a study one process asks for trials at a time; those that it was waiting for
when it was killed are marked as failed and their settings are asked for once more, so that training goes on.
"""

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flows.profiles.profile import Profile
from flows.sweeping.objectives import Objective
from flows.sweeping.space import Settings, Space
from tasks.config import Sampler, SweepTrial
from tasks.errors import RefusedError, UsageError, causes
from tasks.machine.home import without_password
from tasks.machine.locks import Timeout, holding
from tasks.record.manifest import canonical_json
from tasks.record.run_lifecycle import lock_path, machine_of
from tasks.record.tracking import Tracking
from tasks.sweep.importance import distribution, parameter

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna import Trial as OptunaTrial
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState

SQLITE, POSTGRES = "sqlite", ("postgresql", "postgres")
FILE = "sweeps.db"  # in mlruns/
DIGITS = 12  # of the digest in a study's name
AT_RANDOM = 5  # trials that TPE draws before it looks at what came of them
BEFORE_PRUNING = 3  # trials that came to their end
MACHINE, ENDED = "machine", "ended"  # attributes of a trial: who makes it, and how it ended


def require_optuna() -> None:
    """Raises UsageError where the extra is missing."""
    if find_spec("optuna") is None:
        raise UsageError('a sweep needs Optuna: pip install "touchstone[sweep]"')


@dataclass(frozen=True)
class StudyDefinition:
    """What a sweep is of: with other trials of it, it goes on."""

    profile: Profile
    space: Space
    sampler: Sampler
    objective: Objective
    prune: bool = False

    @property
    def name(self) -> str:
        """Of the study: the profile's, and a digest of all that is asked."""
        told = {
            "profile": self.profile.model_dump(mode="json", exclude={"description"}),
            "space": [one.model_dump(mode="json") for one in self.space],
            "sampler": self.sampler,
            "by": self.objective.by,
            "prune": self.prune,
        }
        return f"{self.profile.name}-{hashlib.sha256(canonical_json(told)).hexdigest()[:DIGITS]}"


@contextmanager
def opened(
    definition: StudyDefinition, tracking: Tracking, storage: str | None, at_once: int = 1
) -> Iterator["Study"]:
    """The study, which this process alone adds to while the body runs; `at_once` trials are made together.

    Raises UsageError for a storage that is none or cannot be opened, RefusedError while another process makes
    trials of the same study.
    """
    address = storage_address(storage) if storage else f"sqlite:///{tracking.root / FILE}"
    name = definition.name
    try:
        with holding(lock_path(tracking, f"sweep-{name}"), timeout=0):
            with holding(lock_path(tracking, "sweeps")):  # of a storage that has no tables yet
                storage, study = _load(definition, address)
            try:
                yield Study(definition, study, machine_of(tracking), at_once)
            finally:
                storage.remove_session()
                storage.engine.dispose()  # a server would wait for its connections
    except Timeout:
        raise RefusedError(
            f"another process makes trials of this sweep ({name}). Wait until it has ended, or stop it "
            "there; the same command then goes on from its trials"
        ) from None


def storage_address(storage: str) -> str:
    """The address as SQLAlchemy takes it. Raises UsageError for one that is none, or lacks its driver."""
    told = without_password(storage)
    parts = urlsplit(storage)
    scheme, _, driver = parts.scheme.partition("+")
    if scheme == SQLITE and not driver and parts.path.strip("/"):
        return storage
    if scheme not in POSTGRES or driver not in ("", "psycopg2") or not parts.hostname:
        raise UsageError(
            f"--storage {told}: expected sqlite:////FOLDER/FILE.db, or postgresql://USER:PASSWORD@HOST/NAME"
        )
    if find_spec("psycopg2") is None:
        raise UsageError('--storage needs a driver for PostgreSQL: pip install "touchstone[postgres]"')
    return parts._replace(scheme="postgresql+psycopg2").geturl()


def _load(definition: StudyDefinition, address: str) -> "tuple[RDBStorage, OptunaStudy]":
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = _storage(address)
        study = optuna.create_study(
            storage=storage,
            study_name=definition.name,
            direction=definition.objective.measure.direction,
            load_if_exists=True,
        )
        return storage, study
    except (optuna.exceptions.OptunaError, SQLAlchemyError, OSError, RuntimeError) as error:
        told = next((one for one in causes(error) if isinstance(one, SQLAlchemyError)), error)
        first = without_password(str(told).strip().partition("\n")[0])
        raise UsageError(
            f"--storage {without_password(address)}: {first}. A database that can be written to is needed"
        ) from error


def _storage(address: str) -> "RDBStorage":
    from optuna.storages import RDBStorage

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Alembic, about its own configuration
        return RDBStorage(address)


class Study:
    """The trials of a sweep."""

    def __init__(
        self, definition: StudyDefinition, study: "OptunaStudy", machine: str, at_once: int = 1
    ) -> None:
        self._definition = definition
        self._study = study
        self._machine = machine
        self.at_once = at_once
        self._distributions = {one.setting: distribution(one) for one in definition.space}
        self._ask_again()

    @property
    def name(self) -> str:
        return self._study.study_name

    def trials(self) -> list[SweepTrial]:
        """Those that came to an end, in their order; one whose process was killed did not."""
        return [SweepTrial.model_validate(one.user_attrs[ENDED]) for one in self._trials() if _ended(one)]

    def enqueue(self, points: Sequence[Settings]) -> None:
        """Try these first, in this order, those that were not tried yet."""
        known = [self._settings(one) for one in self._trials() if _ended(one) or _is_waiting(one)]
        for point in points:
            if point not in known:
                self._study.enqueue_trial(self._parameters(point))

    def ask(self) -> "Trial":
        """The next settings: those that were enqueued, then what the sampler draws.

        A sampler is made for each trial, by the number of that: a sweep that was killed goes on as it would
        have, where trials are made one after another. TPE takes those that are not done yet for bad ones, so
        that several at once are not all of the same place.
        """
        from optuna.pruners import MedianPruner

        self._study.sampler = self._sampler(len(self._trials()))
        self._study.pruner = MedianPruner(n_startup_trials=BEFORE_PRUNING)
        trial = self._study.ask(self._distributions)
        trial.set_user_attr(MACHINE, self._machine)
        return Trial(self._study, trial, self._texts(trial.params))

    def _ask_again(self) -> None:
        """Mark the trials of processes that are gone as failed, and enqueue their settings.

        The lock of this machine is held: what runs was begun by a dead process, or on another machine. One
        that had ended, and was not told of that, is.
        """
        for one in self._trials():
            if not _is_running(one):
                continue
            if one.user_attrs.get(MACHINE, self._machine) != self._machine:
                raise RefusedError(
                    f"trial {one.number} of this sweep ({self.name}) is being made on another machine. Wait "
                    "until that has ended; where it is gone: optuna tell --storage URL --study-name "
                    f"{self.name} --trial-number {one.number} --state fail"
                )
            if ended := one.user_attrs.get(ENDED):
                _tell(self._study, one.number, SweepTrial.model_validate(ended))
                continue
            waiting = [
                other.system_attrs.get("fixed_params") for other in self._trials() if _is_waiting(other)
            ]
            if len(one.params) == len(self._distributions) and one.params not in waiting:
                self._study.enqueue_trial(one.params)
            self._study.tell(one.number, state=_state("FAIL"))

    def _trials(self) -> list["FrozenTrial"]:
        return self._study.get_trials(deepcopy=False)

    def _sampler(self, number: int) -> "BaseSampler":
        from optuna.samplers import RandomSampler, TPESampler

        seed = int.from_bytes(hashlib.sha256(f"{self.name} {number}".encode()).digest()[:4], "big")
        if self._definition.sampler == "tpe":
            return TPESampler(seed=seed, n_startup_trials=AT_RANDOM, constant_liar=self.at_once > 1)
        return RandomSampler(seed=seed)

    def _texts(self, params: Mapping[str, Any]) -> dict[str, str]:
        return {
            one.setting: one.text(params[one.setting]) if one.is_range else params[one.setting]
            for one in self._definition.space
        }

    def _parameters(self, settings: Settings) -> dict[str, Any]:
        return {one.setting: parameter(one, settings[one.setting]) for one in self._definition.space}

    def _settings(self, trial: "FrozenTrial") -> dict[str, str]:
        return self._texts(trial.params or trial.system_attrs["fixed_params"])


class Trial:
    """One trial that was asked for; it is told how it ended."""

    def __init__(self, study: "OptunaStudy", trial: "OptunaTrial", settings: dict[str, str]) -> None:
        self._study = study
        self._trial = trial
        self.number = trial.number
        self.settings = settings
        self.pruned: str | None = None
        """Why the trial was asked to stop."""

    def watch(self, curve: str, values: Mapping[str, float], step: int) -> bool:
        """Whether half of the other trials were better at that step than this one has been."""
        if curve not in values:
            return False
        self._trial.report(values[curve], step)
        if self._trial.should_prune():
            self.pruned = f"at step {step} it was worse than half of the trials were there"
        return self.pruned is not None

    def tell(self, ended: SweepTrial) -> None:
        self._trial.set_user_attr(ENDED, ended.model_dump(mode="json"))
        _tell(self._study, self.number, ended)


def _tell(study: "OptunaStudy", number: int, ended: SweepTrial) -> None:
    state = _state({"done": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}[ended.state])
    study.tell(number, ended.value if ended.state == "done" else None, state=state)


def _state(name: str) -> "TrialState":
    from optuna.trial import TrialState

    return TrialState[name]


def _ended(trial: "FrozenTrial") -> bool:
    return trial.state.is_finished() and ENDED in trial.user_attrs


def _is_running(trial: "FrozenTrial") -> bool:
    return trial.state == _state("RUNNING")


def _is_waiting(trial: "FrozenTrial") -> bool:
    return trial.state == _state("WAITING")
