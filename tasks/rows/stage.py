"""The rows stage: files in, one form of rows out, split without leaks."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.config import RowsConfig
from tasks.data.reading import Record, RowError, short, type_of
from tasks.data.source_files import source_of, source_places
from tasks.errors import RefusedError, StageError
from tasks.rows.canonical import LEFT_OUT, Row, as_continuation, prompt_of, write_rows
from tasks.rows.counts import RowCounts, write_counts
from tasks.rows.files import DataFile, data_files, records_of, survey
from tasks.rows.formats import Layout, check_columns, layout_of
from tasks.rows.groups import write_groups
from tasks.rows.kinds import kind_named
from tasks.rows.mixing import MIXED_FROM, mix_rows
from tasks.rows.row_kind import RowKind
from tasks.rows.splits import split_rows
from tasks.rows.synthetic import MADE, ROWS, is_synthetic, lineage_in

if TYPE_CHECKING:  # MLflow imports pandas and pyarrow
    from tasks.record.stage import StageRun

PROGRESS_EVERY = 5000  # rows
SHOWN = 1000  # rows of a table in MLflow


def rows(
    config: RowsConfig, run: "StageRun", *, source: Path | None = None, synthetic: Path | None = None
) -> None:
    """Read every file of `source`, and after them the rows that a model made (`synthetic`).

    Writes `train.jsonl`, `validation.jsonl`, `test.jsonl`.

    Splits that the files are already are kept, or drawn (`rows.splits`).

    `rows.json` beside them counts what was read, what each split holds, and what leaked and was moved, near
    duplicates (`near`) and rows whose source stands elsewhere (`source`) among it; `groups.json` says which
    rows ask the same or nearly, or are of one source, which a held-out row names too (`source`).
    Rows that a model made are trained on alone, whether a file of `source` holds them or `synthetic`, unless
    `rows.test_synthetic` says otherwise; those that ask what test or validation rows ask, or are of a source
    of theirs, are left out.

    `set_aside.jsonl` names the malformed rows, if any; `left_out.jsonl` holds what balancing or a mixture of
    sources left out, none of it nearly a row of validation or test. A mixture is of the training rows alone;
    validation rows name the source that they are of (`mixed_from`).

    Raises StageError for files, columns or rows that cannot be used, RefusedError when leaks leave no row to
    test on, and when a model made no row that can be used.
    """
    reading = _Reading(run)
    if source:
        reading.read(source, config)
    if synthetic:
        if not (synthetic / MADE / ROWS).stat().st_size:
            raise RefusedError(
                "of the rows that a model made none has passed the filters. The page of the stage synthesize "
                "shows why; ask another model, or in other words (synthesize.by, synthesize.prompt)"
            )
        reading.read(synthetic / MADE, RowsConfig())
    reading.require_rows()
    run.phase(f"looking for near duplicates among {len(reading.found):,} rows")
    parted = split_rows(reading.found, config, reading.own_splits)
    source_of = _names_of_sources(reading.found, parted.alike.sources)
    made = {name: sum(map(is_synthetic, members)) for name, members in parted.splits.items()}
    mixed = None
    if config.mixture is not None:
        mixed = mix_rows(parted.splits["train"], reading.sources, config.mixture, config.seed)
        splits = parted.splits | {"train": mixed.rows}
        parted = parted._replace(splits=splits, left_out=parted.left_out + mixed.left_out)
    for name, members in parted.splits.items():
        if name != "train":
            members = [_named(row, source_of) for row in members]
        if name == "validation" and mixed:
            members = [_mixed_from(row, reading.sources) for row in members]
        write_rows(run.out / f"{name}.jsonl", map(_opened, members) if name == "test" else members)
    if config.balance or mixed:
        write_rows(run.out / f"{LEFT_OUT}.jsonl", parted.left_out)
    write_groups(run.out, parted.alike)
    if reading.set_aside:
        write_rows(run.out / "set_aside.jsonl", reading.set_aside)
        run.log_table(reading.set_aside[:SHOWN], "set_aside.json")
    sizes = {name: len(members) for name, members in parted.splits.items()}
    counts: RowCounts = {
        "read": len(reading.found) + len(reading.set_aside),
        "kind": reading.kind,
        "formats": dict(reading.formats),
        "distinct_prompts": len(set(map(prompt_of, reading.found))),
        "splits": sizes,
        "splits_are": "own" if reading.own_splits else "drawn",
        "moved": parted.moved,
        "near": parted.near,
        "source": parted.source,
        "set_aside": len(reading.set_aside),
        "left_out": len(parted.left_out),
    }
    if mixed:
        counts["sources"] = mixed.counts
    if any(map(is_synthetic, reading.found)):
        counts["synthetic"] = {**made, "left_out": len(parted.leaking)}
    if (kind := kind_named(reading.kind)) and (found := _labels(kind, reading.found)):
        counts["labels"] = found
        counts["split_labels"] = {name: _labels(kind, members) for name, members in parted.splits.items()}
    write_counts(run.out, counts)
    moved = sum(parted.moved.values())
    run.log_metrics({"rows": counts["read"], **{f"{name}_rows": size for name, size in sizes.items()}})
    run.log_metrics({f"leaks_moved_from_{name}": count for name, count in parted.moved.items()})
    run.log_metrics({"rows_set_aside": counts["set_aside"], "rows_left_out": counts["left_out"]})
    run.progress(counts["read"], counts["read"], "rows", f"{moved} leaking rows moved to train")


def _labels(kind: RowKind, members: Iterable[Row]) -> dict[str, int]:
    return dict(sorted(Counter(label for row in members for label in kind.labels(row)).items()))


def _names_of_sources(found: Sequence[Row], sources: Iterable[Sequence[int]]) -> dict[int, str]:
    """By id the name of the source of each row that others are of too: that of its first row, or its id."""
    names = ((found[ids[0]].get("source", f"row {ids[0]}"), ids) for ids in sources)
    return {row: name for name, ids in names for row in ids}


def _named(row: Row, source_of: Mapping[int, str]) -> Row:
    """A held-out row with its source, where others are of it: their scores are not independent."""
    return row | {"source": source_of[row["id"]]} if row["id"] in source_of else row


def _mixed_from(row: Row, sources: Mapping[int, str]) -> Row:
    """A validation row with the name of the source that it was read from, whose loss is told by itself."""
    return row | {MIXED_FROM: sources[row["id"]]} if row["id"] in sources else row


def _opened(row: Row) -> Row:
    return as_continuation(row) if row.get("plain") else row


class _Reading:
    """Rows as they are read, and what was noticed about them."""

    def __init__(self, run: "StageRun") -> None:
        self.found: list[Row] = []
        self.set_aside: list[Row] = []
        self.own_splits: list[str] = []
        """The split of each row that was found, where those of the files are kept; else empty."""
        self.formats: Counter[str] = Counter()
        self.kind = ""
        self.sources: dict[int, str] = {}
        """The name of each row's source by its id, where those are mixed."""
        self._first_file = ""
        self._config = RowsConfig()
        self._places: dict[str, tuple[str, ...]] = {}
        self._run = run

    def read(self, source: Path, config: RowsConfig) -> None:
        """Raises StageError for what cannot be read."""
        self._config = config
        check_columns(config)
        self._places = source_places(source, config.mixture or (), "rows.mixture")
        with TemporaryDirectory(dir=self._run.checkpoint) as scratch:
            files = data_files(source, self._config, Path(scratch), self._run.say)
            _check_texts(files)
            for file in files:
                self._read_file(file)
        if self.own_splits:  # what a model made is no split of the data's owner
            self.own_splits += ["train"] * (len(self.found) - len(self.own_splits))

    def require_rows(self) -> None:
        """Once all was read: raise StageError when more rows are malformed than were read, or none was."""
        if len(self.set_aside) > len(self.found) or not self.found:
            count, first = len(self.set_aside), self.set_aside[0]
            raise StageError(
                f"{count} of {count + len(self.found)} rows are malformed, so it is rather the format that "
                f"is wrong; the first, {first['where']}: {first['why']}. Set rows.format, rows.columns or "
                "rows.file_type."
            )

    def _read_file(self, file: DataFile) -> None:
        columns, sample = survey(file, self._config)
        layout: Layout | None = None
        for record in records_of(file, self._config, self._malformed):
            if layout is None:
                layout = self._layout(file, columns, sample)
            try:
                row = layout.row(record) | (lineage_in(record[1]) or self._source(record))
            except RowError as error:
                self._malformed(error)
                continue
            if self._places:
                self.sources[len(self.found)] = source_of(file.name, self._places)
            self.found.append({"id": len(self.found)} | row)
            if file.split:
                self.own_splits.append(file.split)
            self.formats[layout.format] += 1
            if len(self.found) % PROGRESS_EVERY == 0:
                self._run.progress(len(self.found), 0, "rows", file.name)

    def _layout(self, file: DataFile, columns: list[str], sample: list[dict[str, Any]]) -> Layout:
        config = self._config
        if file.columns:
            config = config.model_copy(update={"columns": file.columns})
        try:
            layout = layout_of(file.name, columns, config, sample)
        except StageError as error:
            if not file.columns:
                raise
            told = "Its columns are named by the dataset_info.json beside it, unless rows.columns names them."
            raise StageError(f"{error} {told}") from error
        self._check_kind(file, layout)
        return layout

    def _source(self, record: Record) -> Row:
        """What `rows.group_by` says the row is of. Raises RowError where it says nothing."""
        column, (where, values) = self._config.group_by, record
        if column is None:
            return {}
        value = values.get(column)
        if not isinstance(value, str | int) or value == "":
            there = "is empty" if column in values else f"is not among its columns ({', '.join(values)})"
            found = there if value in (None, "") else f"is {type_of(value)}: {short(value)}"
            raise RowError(where, f"{column!r}, named by rows.group_by, {found}; expected text or a number")
        return {"source": str(value)}

    def _malformed(self, error: RowError) -> None:
        if self._config.malformed == "stop":
            raise StageError(
                f"{error}. Fix the row, or set rows.malformed=set-aside to leave such rows out and "
                "count them."
            ) from error
        self.set_aside.append({"where": error.where, "why": error.why})

    def _check_kind(self, file: DataFile, layout: Layout) -> None:
        self.kind, self._first_file = self.kind or layout.kind, self._first_file or file.name
        if layout.kind != self.kind:
            raise StageError(
                f"{file.name} holds {layout.kind} rows, and {self._first_file} {self.kind} rows; all files "
                "must be of one kind. Name those to be read with rows.files."
            )


def _check_texts(files: Sequence[DataFile]) -> None:
    """A README beside the data would become a row of it."""
    texts = [file.name for file in files if file.type == "text"]
    others = [file.name for file in files if file.type != "text"]
    if texts and others:
        raise StageError(
            f"{texts[0]} is a text beside {others[0]}, and would be a row. Name the files to be read with "
            "rows.files, for example rows.files=*.json"
        )
