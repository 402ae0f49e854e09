"""Test rows that a model was trained on: rows of another data set, by way of its earlier trainings.

The rows stage lets no test row ask what a training row of the same data set asks. A champion that is scored
on new rows, and a candidate whose base is a model of the registry, were trained on rows of another one.
"""

from collections.abc import Iterator
from pathlib import Path

from tasks.errors import StageError
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of, names_of_inputs
from tasks.registry.resolve import intact
from tasks.registry.versions import MODEL, version_of
from tasks.rows import load_split, prompt_groups
from tasks.rows.canonical import learned_rows

TRAINED_FROM = ("model", "base", "tuned")  # names of inputs that are models
BASE_VERSION = "touchstone.base.version"  # tag of a base stage's run: the registered version that it took


def rows_learned(tracking: Tracking, model: Reference) -> Iterator[Reference]:
    """The outputs of the rows stage that a model, and whatever it was trained from, was trained on.

    Raises StageError when one of them, or what leads to it, is not in MLflow any more.
    """
    waiting, seen = [model], set()
    while waiting:
        reference = waiting.pop()
        if reference.digest in seen:
            continue
        seen.add(reference.digest)
        run = tracking.client.get_run(reference.run_id)
        names = names_of_inputs(run)
        if "rows" in names:
            yield input_of(tracking, run, "rows")
        waiting += [input_of(tracking, run, name) for name in TRAINED_FROM if name in names]
        if label := run.data.tags.get(BASE_VERSION):
            waiting.append(_registered(tracking, label))


def _registered(tracking: Tracking, label: str) -> Reference:
    """The model of a version by its label, as `touchstone-quickstart/3`."""
    name, _, number = label.rpartition("/")
    version = version_of(tracking, name, int(number))
    if version is None or MODEL not in version.tags:
        raise StageError(f"{label}, which it was trained from, is not in the registry any more")
    return Reference.model_validate_json(version.tags[MODEL])


def leaked_rows(tracking: Tracking, model: Reference, tested: Path, rows: str) -> frozenset[int]:
    """Ids of the test rows in `tested`, of that digest, that ask what a row asks that `model` learned.

    Raises StageError when what it learned is not in MLflow any more, or was altered.
    """
    test, leaked = load_split(tested, "test"), set()
    others = {found.digest: found for found in rows_learned(tracking, model) if found.digest != rows}
    for other in others.values():
        learned = [
            row
            for row in learned_rows(fetch(tracking, intact(tracking, other)) / OUTPUT)
            if test and ("label" in row) == ("label" in test[0])
        ]
        groups = prompt_groups([*learned, *test])[len(learned) :]
        leaked |= {row["id"] for row, first in zip(test, groups, strict=True) if first < len(learned)}
    return frozenset(leaked)
