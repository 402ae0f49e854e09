"""Instruction rows: reading them, and splitting them so that nothing tested was trained on."""

import json
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.config import RowsConfig
from tasks.duplicates import groups_of, near_duplicates
from tasks.errors import RefusedError, StageError
from tasks.reading import read_records, text_field
from tasks.record import StageRun

SPLITS = ("train", "validation", "test")
Row = dict[str, str | int]


def rows(config: RowsConfig, run: StageRun, *, instructions: Path) -> None:
    """Read every file of `instructions` and write `train.jsonl`, `validation.jsonl`, `test.jsonl`.

    `rows.json` beside them counts what was read, what each split holds, and what leaked and was moved,
    near duplicates (`near`) among it.
    Raises StageError for a malformed row, RefusedError when leaks leave no row to test on.
    """
    found = read_rows(instructions)
    splits, moved, near = split_rows(found, config)
    for name, members in splits.items():
        write_rows(run.out / f"{name}.jsonl", members)
    sizes = {name: len(members) for name, members in splits.items()}
    counts = {
        "read": len(found),
        "distinct_prompts": len({prompt_of(row) for row in found}),
        "splits": sizes,
        "moved": moved,
        "near": near,
    }
    (run.out / "rows.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    run.log_metrics({"rows": len(found), **{f"{name}_rows": size for name, size in sizes.items()}})
    run.log_metrics({f"leaks_moved_from_{name}": count for name, count in moved.items()})
    run.progress(len(found), len(found), "rows", f"{sum(moved.values())} leaking rows moved to train")


def read_rows(folder: Path) -> list[Row]:
    """Rows of every JSON or JSON Lines file in `folder`, in file order; `id` numbers them from 0.

    Each has `instruction` and `output`; `input` and `category` may be missing. Unicode is kept as it is.
    """
    found: list[Row] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        for record in read_records(path):
            row: Row = {
                "id": len(found),
                "instruction": text_field(record, "instruction"),
                "input": text_field(record, "input", required=False),
                "output": text_field(record, "output"),
            }
            if category := text_field(record, "category", required=False):
                row["category"] = category
            found.append(row)
    if not found:
        raise StageError("no instruction row was found; expected .json or .jsonl files")
    return found


def write_rows(path: Path, members: Iterable[Row]) -> None:
    """JSON Lines, Unicode as it is."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in members)


def load_split(folder: Path, split: str) -> list[Row]:
    """The rows of one split that `rows` wrote."""
    lines = (folder / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")  # splitlines() cuts at U+2028
    return [json.loads(line) for line in lines if line]


def prompt_of(row: Row) -> tuple[str, str]:
    """What makes two rows ask the same: instruction and input, whatever their case and spacing."""
    return tuple(" ".join(str(row[name]).split()).casefold() for name in ("instruction", "input"))


def prompts_alike(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """Pairs of places whose prompts are the same or nearly, as `near_duplicates` gives them."""
    return near_duplicates([(str(row["instruction"]), str(row["input"])) for row in rows])


def split_rows(
    found: list[Row], config: RowsConfig
) -> tuple[dict[str, list[Row]], dict[str, int], dict[str, int]]:
    """Seeded splits that share no prompt, how many rows had to leave each, and how many for a near duplicate.

    A row of the test or validation split whose prompt stands in another split, exactly or nearly, is moved
    to train. Its place is taken by a training row whose prompt occurs once, as long as there are any, so
    that the splits keep their sizes. Raises RefusedError when no test row is left.
    """
    groups = groups_of(len(found), prompts_alike(found))
    group = {row["id"]: number for row, number in zip(found, groups, strict=True)}
    shuffled = list(found)
    if config.shuffle:
        random.Random(config.seed).shuffle(shuffled)
    train_size = round(len(found) * config.train)
    validation_size = round(len(found) * config.validation)
    splits = {
        "train": shuffled[:train_size],
        "test": shuffled[train_size : len(found) - validation_size],
        "validation": shuffled[len(found) - validation_size :],
    }
    occurrences = Counter(groups)
    spare = [row for row in splits["train"] if occurrences[group[row["id"]]] == 1]
    leaks = {name: _move_leaks(splits, name, spare, group) for name in ("test", "validation")}
    moved = {name: exact + near for name, (exact, near) in leaks.items()}
    if not splits["test"]:
        why = f": {moved['test']} were moved out because their prompts are also in another split"
        raise RefusedError(
            f"of {len(found)} rows none is left to test on{why if moved['test'] else ''}. "
            "Give more distinct rows or a larger test share."
        )
    if not splits["train"]:
        raise StageError(f"{len(found)} rows are too few to split: none is left to train on")
    near = {name: near for name, (_, near) in leaks.items()}
    return {name: splits[name] for name in SPLITS}, moved, near


def _move_leaks(
    splits: dict[str, list[Row]], name: str, spare: list[Row], group: dict[str | int, int]
) -> tuple[int, int]:
    """How many rows left the split for an exact duplicate elsewhere, and how many for a near one."""
    elsewhere = [row for other in splits if other != name for row in splits[other]]
    groups, prompts = {group[row["id"]] for row in elsewhere}, set(map(prompt_of, elsewhere))
    leaks = [row for row in splits[name] if group[row["id"]] in groups]
    exact = sum(prompt_of(row) in prompts for row in leaks)
    replacements = [spare.pop() for _ in leaks if spare]
    leaving, coming = ({row["id"] for row in rows} for rows in (leaks, replacements))
    splits[name] = [row for row in splits[name] if row["id"] not in leaving] + replacements
    splits["train"] = [row for row in splits["train"] if row["id"] not in coming] + leaks
    return exact, len(leaks) - exact
