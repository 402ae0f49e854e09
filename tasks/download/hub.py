"""Rows that become a JSON Lines file: made on this machine, or those of a Hugging Face data set."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tasks.config import MAKERS, Source
from tasks.errors import StageError, UsageError
from tasks.machine.proxies import require_way_to_hub


def json_lines(rows: Iterable[Any], name: str) -> Iterator[bytes]:
    """Each row as a line of JSON, its characters as they are; raises StageError for a row that is none."""
    for number, row in enumerate(rows, start=1):
        try:
            line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_json_date)
        except (TypeError, ValueError) as error:
            raise StageError(
                f"{name}: row {number} cannot be written as JSON: {error}. Use a data set of plain values."
            ) from error
        yield f"{line}\n".encode()


def written_lines(file: Path) -> Iterator[bytes]:
    """The lines of a JSON Lines file, without blank ones."""
    with file.open("rb") as lines:
        for line in lines:
            if line.strip():
                yield line.rstrip(b"\r\n") + b"\n"


def _json_date(value: Any) -> str:
    if isinstance(value, date):  # and datetime
        return value.isoformat()
    raise TypeError(f"a value of type {type(value).__name__} has no JSON form")


def made_rows(source: Source) -> Sequence[Mapping[str, Any]]:
    """The rows of the maker that the source names. Raises StageError when it has not so many."""
    try:
        return resolve_name(MAKERS[source.made].entry)(source.count, source.seed)
    except ValueError as error:
        raise StageError(f"{source.name}: {error}. Ask for fewer rows with count.") from error


def dataset_rows(source: Source) -> Iterator[Any]:
    """The rows of one split; when only some are wanted, no more is downloaded than those need.

    A label that the data set numbers is given by its name, and null where the row has none, unless
    `source.labels` asks for the numbers. Raises StageError that names the data set and the endpoint asked.
    """
    import datasets
    from huggingface_hub.constants import ENDPOINT

    if Path(source.dataset).exists():  # which `load_dataset` would prefer, whatever the Hub has
        raise UsageError(
            f"source {source.name!r}: the data set {source.dataset} is a path of this machine too. "
            "Name it as a path, or run elsewhere."
        )
    require_way_to_hub()
    try:
        rows = datasets.load_dataset(
            source.dataset,
            source.subset,
            split=source.split,
            revision=source.revision,
            streaming=source.rows is not None,
            token=False,  # a stored token would go to whatever HF_ENDPOINT names
        )
        labels = _labels_of(rows) if source.labels == "names" else {}
        for row in rows:
            yield row | {name: _label(names, row[name]) for name, names in labels.items()}
    except Exception as error:  # of datasets, huggingface_hub, httpx, pyarrow: each has its own
        wanted = f"subset {source.subset or 'default'}, split {source.split}, {source.revision or 'main'}"
        raise StageError(
            f"the data set {source.dataset} ({wanted}) could not be downloaded from {ENDPOINT}: "
            f"{type(error).__name__}: {error}. Check its name and the network, set HF_ENDPOINT to a mirror, "
            f"or put its rows into {source.name}, one JSON object a line, and pass --mirror with its folder; "
            "one that needs a login is not asked for."
        ) from error


def _labels_of(rows: Any) -> dict[str, list[str]]:
    """The names of the labels in each column that holds such."""
    from datasets import ClassLabel

    features = getattr(rows, "features", None) or {}  # a stream may not know them
    inner = {name: getattr(kind, "feature", kind) for name, kind in features.items()}  # of a list
    return {name: kind.names for name, kind in inner.items() if isinstance(kind, ClassLabel)}


def _label(names: list[str], number: Any) -> Any:
    if isinstance(number, list):
        return [_label(names, one) for one in number]
    return None if number is None or number < 0 else names[number]  # -1: a test split that hides its labels
