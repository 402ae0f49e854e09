"""How far a running stage is, told on its MLflow run, where whoever watches finds it from any machine."""

import logging
import time
from dataclasses import asdict, dataclass
from json import JSONDecodeError, dumps, loads

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from flows.process.progress import StageProgress
from tasks.record.tracking import Tracking, set_tags

log = logging.getLogger(__name__)

PROGRESS = "touchstone.progress"


@dataclass(frozen=True)
class ToldProgress:
    """What a stage has told of itself, and when."""

    done: float
    total: float
    """0 where it is not known."""
    count: str
    """`74/80 steps`."""
    note: str
    doing: str
    """What it does since the last count, where that is not more of the same."""
    gone: float
    """Seconds since it began."""
    left: float | None
    at: float
    """Seconds since 1970."""

    @property
    def share(self) -> float | None:
        """From 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else None


class ProgressTag:
    """Tells how far a stage is on its MLflow run; a store that does not take it is told nothing more."""

    def __init__(self, tracking: Tracking, run_id: str) -> None:
        self._tracking = tracking
        self._run_id = run_id
        self._is_told = self._is_refused = False

    def tell(self, stage: StageProgress) -> None:
        """Tell it as it is now. Call it in a thread that no signal interrupts."""
        if self._is_refused:
            return
        told = ToldProgress(
            done=stage.done,
            total=stage.total,
            count=stage.count,
            note=stage.note,
            doing=stage.doing,
            gone=round(stage.gone, 1),
            left=None if stage.left is None else round(stage.left, 1),
            at=round(time.time(), 1),
        )
        try:
            set_tags(self._tracking.client, self._run_id, {PROGRESS: dumps(asdict(told), allow_nan=False)})
            self._is_told = True
        except MlflowException as error:
            self._refuse(error)

    def remove(self) -> None:
        """The stage is done; of one that ended otherwise the tag says how far it came."""
        if not self._is_told:
            return
        try:
            self._tracking.client.delete_tag(self._run_id, PROGRESS)
        except MlflowException as error:
            self._refuse(error)

    def _refuse(self, error: MlflowException) -> None:
        self._is_refused = True
        log.warning("the progress of MLflow run %s is told there no more: %s", self._run_id, error)


def told_progress(run: Run) -> ToldProgress | None:
    """What a stage's run says of its progress; None where it has told nothing that can be read."""
    try:
        return ToldProgress(**loads(run.data.tags[PROGRESS]))
    except (KeyError, TypeError, JSONDecodeError):
        return None
