"""The labels stage: what people have said of some responses so far, as an output that others are made from.

Labels are kept in MLflow and become more. What uses them is given them as they were when it was made, and
holds their digest in its key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tasks.config import LabelsConfig
from tasks.errors import StageError
from tasks.judge.labels.scale import points_of
from tasks.judge.labels.store import snapshot
from tasks.judge.protocol.responses import read_rows
from tasks.machine.json_files import read_json, write_json
from tasks.record.manifest import canonical_json, digest_of
from tasks.record.stage import StageRun
from tasks.record.tracking import Tracking, open_tracking

LABELS = "labels.json"


@dataclass(frozen=True)
class Labels:
    """The labels of one file of responses."""

    seed: int
    """Of the rows that were drawn: two sets of one seed were drawn together."""
    drawn_from: int
    given: Mapping[int, Mapping[str, int]]
    """By row, what each person gave."""
    chances: Mapping[int, float]
    """By row, with which chance it came to be labelled."""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Self:
        return cls(
            seed=found["design"]["seed"],
            drawn_from=found["design"]["rows"],
            given={own["id"]: {one["by"]: one["label"] for one in own["given"]} for own in found["labels"]},
            chances={own["id"]: own["chance"] for own in found["labels"]},
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The labels of a labels stage's output."""
        return cls.of(read_json(folder / LABELS))

    def points(self, row: int) -> float | None:
        """What people give a row, from 0 to 100, the mean of several; None where nobody did."""
        own = self.given.get(row)
        return points_of(list(own.values())) if own else None


def labels(config: LabelsConfig, run: StageRun, *, responses: Path) -> None:
    """Write `labels.json`: every label of the responses, by whom and when, and each row's chance.

    Raises StageError when the labels are others than those in the stage's key, or of other rows.
    """
    found = snapshot(run.tracking, config.of)
    if found is None or digest_of_labels(found) != run.fingerprints["labels"]:
        raise StageError("labels were given while they were being read. Run again")
    known = {row.id for row in read_rows(responses)}
    if strangers := [own["id"] for own in found["labels"] if own["id"] not in known]:
        raise StageError(f"row {strangers[0]} has a label and is none of the responses")
    write_json(run.out / LABELS, found)
    run.log_metrics({"labelled": len(found["labels"])})
    run.progress(len(found["labels"]), len(found["labels"]), "rows", "labelled by people")


def digest_of_labels(found: Mapping[str, Any]) -> str:
    return digest_of(canonical_json(found))


def labels_of(tracking: Tracking, responses: str) -> Labels | None:
    """People's labels of the responses with this digest, as they are now; None where there are none."""
    found = snapshot(tracking, responses)
    return Labels.of(found) if found else None


def fingerprints(config: LabelsConfig) -> dict[str, str]:
    """What of the labels enters the key of their stage."""
    return labels_fingerprint(open_tracking(), config.of)


def labels_fingerprint(tracking: Tracking, responses: str) -> dict[str, str]:
    """The digest of the labels as they are now, or that there are none."""
    found = snapshot(tracking, responses)
    return {"labels": digest_of_labels(found) if found else "none"}
