"""How often the sealed rows of a test set were opened, on whatever machine: tags of the registered model.

    touchstone.test_set.BUDGET            what the budget was begun with: scorer, rows, a sketch of them
    touchstone.openings.BUDGET.QUESTION   one opening: its number, its level, when and by whom

A budget is of a scorer and the rows, by their content. Rows that are mostly those of a budget that was begun
go on with it: one row added to a test set makes no new one.

An opening is of a question, which is a hash of all that decides its answer. The same question asked again (by
a promotion that was killed and is taken up again) is answered as before and spends nothing.

MLflow has no lock that two machines share, and needs none here. Whoever opens writes a tag of its own first
and counts the tags afterwards, its own among them. So whoever wrote the n-th tag counts n at least, and gets
the n-th level or a lower one: two that open at once may spend less than they could, and never more.
"""

import hashlib
import heapq
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from tasks.record.manifest import canonical_json
from tasks.record.tracking import Tracking
from tasks.registry.champions import UTC, current_user
from tasks.registry.versions import tags_of_model
from tasks.statistics.spending import level_of

TEST_SET, OPENINGS = "touchstone.test_set.", "touchstone.openings."
NAMED = 16  # hexadecimal digits of a hash in the name of a tag
SKETCHED, DIGITS = (
    256,
    8,
)  # rows of a sketch, and hexadecimal digits of each: 2,048 of a tag's 5,000 characters
SHARED = 0.5  # of the rows, that must have been in an earlier test set for this to be the same one


@dataclass(frozen=True)
class Opening:
    """One opening of sealed rows; `level` is the one-sided level that it may be answered at."""

    number: int
    level: float


class Budget:
    """What openings of one test set have spent, for the versions of one registered model."""

    def __init__(self, tracking: Tracking, name: str, scorer: str, digests: Iterable[str]) -> None:
        """`digests` are those of the test rows' content; nothing is written before the first opening."""
        self._tracking, self._name = tracking, name
        rows = sorted(set(digests))
        self._begun = {"scorer": scorer, "rows": len(rows), "sketch": _sketch(rows)}
        own = _named([scorer, rows])
        begun = tags_of_model(tracking, name)
        self.id = _continued(begun, self._begun) or own

    @property
    def openings(self) -> int:
        """How often the sealed rows were opened."""
        return sum(tag.startswith(self._prefix) for tag in tags_of_model(self._tracking, self._name))

    def open(self, question: Any) -> Opening:
        """Open the sealed rows for a question, a JSON value that holds all that decides its answer."""
        tag = f"{self._prefix}{_named(question)}"
        tags = tags_of_model(self._tracking, self._name)
        known = json.loads(tags.get(tag, "{}"))
        if "level" in known:
            return Opening(known["number"], known["level"])
        opened = {"at": time.strftime(UTC, time.gmtime()), "by": current_user()}
        if f"{TEST_SET}{self.id}" not in tags:
            self._write(f"{TEST_SET}{self.id}", self._begun)
        self._write(tag, opened)
        number = self.openings
        opening = Opening(number, level_of(number))
        self._write(tag, opened | asdict(opening))
        return opening

    @property
    def _prefix(self) -> str:
        return f"{OPENINGS}{self.id}."

    def _write(self, tag: str, value: Any) -> None:
        """Set a tag; MLflow refuses one that another machine has begun to set, which is then set anew."""
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        try:
            self._tracking.client.set_registered_model_tag(self._name, tag, text)
        except MlflowException:
            if tag not in tags_of_model(self._tracking, self._name):
                raise
            self._tracking.client.set_registered_model_tag(self._name, tag, text)


def _named(value: Any) -> str:
    return hashlib.sha256(canonical_json(value)).hexdigest()[:NAMED]


def _sketch(digests: list[str]) -> str:
    """The smallest digests of those in order, cut short; two sets' tell what they share (Broder, 1997)."""
    return "".join(digest[:DIGITS] for digest in digests[:SKETCHED])


def _continued(tags: dict[str, str], begun: dict[str, Any]) -> str | None:
    """The budget of the scorer that was begun with most of these rows, if any; the first of several."""
    found = []
    for tag, text in tags.items():
        if tag.startswith(TEST_SET):
            earlier = json.loads(text)
            share = _share_in(begun, earlier)
            if earlier["scorer"] == begun["scorer"] and share >= SHARED:
                found.append((-share, tag.removeprefix(TEST_SET)))
    return min(found)[1] if found else None


def _share_in(new: dict[str, Any], earlier: dict[str, Any]) -> float:
    """The share of the new rows that are among the earlier ones; exact for sets no larger than a sketch."""
    ours, theirs = (_members(one["sketch"]) for one in (new, earlier))
    whole = max(len(ours), len(theirs)) < SKETCHED
    smallest = ours | theirs if whole else heapq.nsmallest(SKETCHED, ours | theirs)
    alike = sum(one in ours and one in theirs for one in smallest) / len(smallest)
    both = alike * (new["rows"] + earlier["rows"]) / (1 + alike)
    return both / new["rows"]


def _members(sketch: str) -> set[str]:
    return {sketch[place : place + DIGITS] for place in range(0, len(sketch), DIGITS)}
