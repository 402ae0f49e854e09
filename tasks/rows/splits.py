"""Splits: seeded, with every label's share in each, and no prompt or source of rows in two of them."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tasks.config import RowsConfig
from tasks.data.duplicates import Groups
from tasks.errors import RefusedError, StageError
from tasks.rows.canonical import SPLITS, Row, prompt_groups, prompt_of
from tasks.rows.groups import Alike
from tasks.rows.kinds import kind_of
from tasks.rows.sources import source_groups
from tasks.rows.synthetic import is_synthetic

Places = list[int]
"""Rows, by their place among those that were found."""


class Parted(NamedTuple):
    """Rows by split, and those that balancing left out.

    `alike` are the rows that ask the same or nearly, and those of one source. `moved` counts, for test and
    validation, the rows that left it because their prompt or their source is elsewhere; among them `near`
    those whose prompt is nearly, not exactly, elsewhere, and `source` those of which the source alone is.
    """

    splits: dict[str, list[Row]]
    left_out: list[Row]
    moved: dict[str, int]
    near: dict[str, int]
    source: dict[str, int]
    alike: Alike
    leaking: list[Row]
    """Rows that a model made and that are left out: what they ask is tested."""


def split_rows(found: Sequence[Row], config: RowsConfig, own: Sequence[str] = ()) -> Parted:
    """Splits that share no prompt and no source; of labelled rows each has its share of every label.

    Rows of one source are drawn together. A row of the test or validation split whose prompt stands
    elsewhere, exactly or nearly, or whose source ends in another split, is moved to train.
    Its place is taken by a training row of the same label whose prompt occurs once or, when there is none, by
    rows that have theirs among themselves only, so that the splits keep their sizes as far as can be. What
    balancing leaves out counts as trained on.

    Rows that a model made go to train, after the others were split, unless `config.test_synthetic`; one of a
    group that is tested or validated on is left out.

    `own` names the split of each row where the data's owner split it. Then test and validation lose what is
    also elsewhere, and get nothing in its place, a validation that is not there is drawn from train, and
    train alone is balanced.

    Raises StageError for labels that are too few or have too few rows, RefusedError when leaks leave no row
    to test on.
    """
    labels = [kind.stratum(row) if (kind := kind_of(row)) else "" for row in found]
    _check_labels(labels, config)
    only_trained = (
        set() if config.test_synthetic else {place for place, row in enumerate(found) if is_synthetic(row)}
    )
    if len(only_trained) == len(found):
        raise RefusedError(
            f"all {len(found)} rows were made by a language model, and no model is tested on those. Give "
            "rows that people wrote beside them (instructions), or set rows.test_synthetic=true, which the "
            "card says"
        )
    if own and "train" not in own:
        raise StageError("the files of train hold no row that can be used; rows.splits=drawn draws splits.")
    drawn = [place for place in range(len(found)) if place not in only_trained]
    if config.balance:
        trained = [place for place in drawn if own[place] == "train"] if own else drawn
        kept = set(drawn) - set(trained)
        drawn = sorted(kept.union(_balanced(trained, labels, config.seed)))
    left_out = sorted(set(range(len(found))) - set(drawn) - only_trained)
    if config.shuffle:
        random.Random(config.seed).shuffle(drawn)
    near_groups, sources = prompt_groups(found), source_groups(found)
    together = _together(drawn, sources)
    shares = _own_shares(together, own, config) if own else _shares(together, labels, config)
    splitting = _Splitting(found, labels, shares, left_out, near_groups, sources, keeps_own=bool(own))
    moved, near, source = {}, {}, {}
    for name in ("test", "validation"):
        moved[name], near[name], source[name] = splitting.move_leaks(name)
    if not own:
        splitting.fill_untested()
    splitting.check_tested(moved["test"])
    leaking = splitting.train_on(sorted(only_trained))
    splits = {name: [found[place] for place in splitting.splits[name]] for name in SPLITS}
    alike = Alike(*(_members(found, groups, leaking) for groups in (near_groups, sources)))
    out, leaks = ([found[place] for place in places] for places in (left_out, leaking))
    return Parted(splits, out, moved, near, source, alike, leaks)


def _members(found: Sequence[Row], groups: Sequence[int], without: Places) -> list[list[int]]:
    """The ids of the rows of each group that has more than one."""
    members: dict[int, list[int]] = {}
    gone = set(without)
    for place, (row, group) in enumerate(zip(found, groups, strict=True)):
        if place not in gone:
            members.setdefault(group, []).append(row["id"])
    return [ids for ids in members.values() if len(ids) > 1]


def _together(drawn: Places, sources: Sequence[int]) -> Places:
    """The same places, those of one source behind the first of them."""
    of_source: dict[int, Places] = {}
    for place in drawn:
        of_source.setdefault(sources[place], []).append(place)
    return [place for members in of_source.values() for place in members]


def _check_labels(labels: Sequence[str], config: RowsConfig) -> None:
    counts = Counter(labels)
    if "" in counts:
        if config.balance:
            raise StageError(
                "rows.balance is for labelled texts (text, label), and these rows have no label."
            )
        return
    if len(counts) < 2:
        raise StageError(
            f"all {len(labels)} rows have the label {labels[0]!r}; expected at least two labels."
        )
    rarest, count = min(counts.items(), key=lambda pair: pair[1])
    if count < 2:
        raise StageError(
            f"the label {rarest!r} has {count} row; expected at least 2, to train on and to test on. Give it "
            "more rows, or leave it out of the data."
        )


def _balanced(among: Places, labels: Sequence[str], seed: int) -> Places:
    """As many places of each label as there are of the rarest, of those given."""
    places: dict[str, Places] = {}
    for place in among:
        places.setdefault(labels[place], []).append(place)
    rarest, draw = min(map(len, places.values())), random.Random(seed)
    return [place for each in places.values() for place in draw.sample(each, rarest)]


def _shares(drawn: Places, labels: Sequence[str], config: RowsConfig) -> dict[str, Places]:
    """Of each label the first share is train's, the last validation's, and test has what is in between."""
    counts = Counter(labels[place] for place in drawn)
    bounds = {label: _bounds(count, config) for label, count in counts.items()}
    splits: dict[str, Places] = {name: [] for name in SPLITS}
    seen: Counter[str] = Counter()
    for place in drawn:
        label = labels[place]
        number, (train, test) = seen[label], bounds[label]
        splits["train" if number < train else "test" if number < test else "validation"].append(place)
        seen[label] += 1
    return splits


def _own_shares(drawn: Places, own: Sequence[str], config: RowsConfig) -> dict[str, Places]:
    splits = {name: [place for place in drawn if own[place] == name] for name in SPLITS}
    if not splits["validation"]:
        train = len(splits["train"])
        keep = train - min(round(len(drawn) * config.validation), train - 1)
        splits["train"], splits["validation"] = splits["train"][:keep], splits["train"][keep:]
    return splits


def _bounds(count: int, config: RowsConfig) -> tuple[int, int]:
    """Where train ends and where test does; of two rows or more each has one at least."""
    validation = min(round(count * config.validation), max(count - 2, 0))
    train = min(max(round(count * config.train), 1), max(count - validation - 1, 1))
    return train, count - validation


class _Splitting:
    """Splits in the making."""

    def __init__(
        self,
        found: Sequence[Row],
        labels: Sequence[str],
        splits: dict[str, Places],
        left_out: Places,
        near: Sequence[int],
        sources: Sequence[int],
        *,
        keeps_own: bool,
    ) -> None:
        self.splits = splits
        self._found = found
        self._labels = labels
        self._left_out = left_out
        self._keeps_own = keeps_own
        self._prompts = [prompt_of(row) for row in found]
        self._near = near
        joined = Groups(len(found))
        for groups in (near, sources):
            joined.join(list(enumerate(groups)))
        self._group = joined.smallest().tolist()
        self._size = Counter(self._group)

    def move_leaks(self, name: str) -> tuple[int, int, int]:
        """How many rows left the split, of them for a near duplicate, and for their source alone."""
        elsewhere = [place for other in SPLITS if other != name for place in self.splits[other]]
        elsewhere += self._left_out
        groups = {self._group[place] for place in elsewhere}
        leaks = [place for place in self.splits[name] if self._group[place] in groups]
        asked = {self._near[place] for place in elsewhere} if leaks else set()
        prompts = {self._prompts[place] for place in elsewhere} if leaks else set()
        near = [place for place in leaks if self._prompts[place] not in prompts]
        source = sum(self._near[place] not in asked for place in near)
        self._move(leaks, name, "train")
        if leaks and not self._keeps_own:
            self._replace(name, Counter(self._labels[place] for place in leaks))
        return len(leaks), len(near) - source, source

    def _replace(self, name: str, wanted: Counter[str]) -> None:
        """Move whole groups of a label from train, the smallest first, as long as they are wanted."""
        coming: Places = []
        for members in self._free_groups("train"):
            label = self._labels[members[0]]
            if len(members) <= wanted[label]:
                coming += members
                wanted[label] -= len(members)
        self._move(coming, "train", name)

    def fill_untested(self) -> None:
        """A label that is not tested gets the smallest group of train, if train keeps more, or validation."""
        untested = set(self._labels) - {self._labels[place] for place in self.splits["test"]}
        trained = Counter(self._labels[place] for place in self.splits["train"])
        for source in ("train", "validation") if untested else ():
            for members in self._free_groups(source):
                label = self._labels[members[0]]
                if label in untested and (source != "train" or len(members) * 2 < trained[label]):
                    untested.remove(label)
                    self._move(members, source, "test")

    def _free_groups(self, split: str) -> list[Places]:
        """The groups that stand wholly in a split and have one label; the smallest first, then the last."""
        groups: dict[int, Places] = {}
        for place in reversed(self.splits[split]):
            groups.setdefault(self._group[place], []).append(place)
        whole = [
            members
            for group, members in groups.items()
            if len(members) == self._size[group] and len({self._labels[place] for place in members}) == 1
        ]
        return sorted(whole, key=len)

    def _move(self, places: Places, source: str, target: str) -> None:
        leaving = set(places)
        self.splits[source] = [place for place in self.splits[source] if place not in leaving]
        self.splits[target] = self.splits[target] + places

    def train_on(self, places: Places) -> Places:
        """Add rows to train, but for those that are near what is tested, which are returned."""
        tested = {self._group[place] for name in ("validation", "test") for place in self.splits[name]}
        leaking = [place for place in places if self._group[place] in tested]
        self.splits["train"] = self.splits["train"] + [
            place for place in places if self._group[place] not in tested
        ]
        return leaking

    def check_tested(self, moved: int) -> None:
        """Raises RefusedError when a label, or rows that have none, are not tested."""
        for label, count in Counter(self._labels).items():
            if any(self._labels[place] == label for place in self.splits["test"]):
                continue
            rows = f"of {count} rows" + (f" labelled {label!r}" if label else "")
            why = f": {moved} test rows were moved out, for their prompts are also elsewhere" if moved else ""
            raise RefusedError(
                f"{rows} none is left to test on{why}. "
                + (
                    "The files' own splits are kept; rows.splits=drawn draws others."
                    if self._keeps_own
                    else "Give more distinct rows or a larger test share."
                )
            )
