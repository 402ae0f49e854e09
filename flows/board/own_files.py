"""Files of one's own: kept in the workplace with a profile that trains on them, and shown."""

import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.profiles.load import load_profile
from flows.profiles.own_data import CORPUS, WORDS, OwnFile, profile_of, recognise, write_profile
from flows.profiles.profile import Profile
from tasks.config import RowsConfig
from tasks.data.reading import RowError
from tasks.errors import UsageError
from tasks.record.stage import StageRun
from tasks.rows import rows
from tasks.rows.canonical import Row
from tasks.rows.counts import RowCounts, read_counts
from tasks.show.document import (
    Badge,
    Bullet,
    Bullets,
    Cell,
    Code,
    Document,
    Excerpt,
    Excerpts,
    Fact,
    Facts,
    Quote,
    Section,
    Verdict,
    table_of,
)
from tasks.show.text import plural, size

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")
LISTED = 50  # malformed rows that are shown


@dataclass(frozen=True)
class OwnData:
    """Files that were taken in."""

    profile: Path
    loaded: Profile
    files: Sequence[OwnFile]
    counts: RowCounts | None
    """Of rows; None of text alone."""
    malformed: Sequence[Row]
    """Where each stands, and why it cannot be read."""


def take_in(uploads: Path, name: str, files: Sequence[Path], *, set_aside: bool) -> OwnData:
    """Keep files in the workplace with a profile of that name, whole or not at all.

    With `set_aside` the profile leaves malformed rows out; else it stops at them. Raises UsageError for files
    that nothing can be trained on, StageError for rows that cannot be split, and for a name that is taken.
    """
    if not files:
        raise UsageError("choose files first: text, JSON, JSON Lines, CSV, TSV or Parquet")
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise UsageError(f"two of the files are called {twice}; rename one of them")
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a profile; expected small letters, digits and dashes")
    folder = uploads / name
    if folder.exists():
        raise UsageError(f"there are files under the name {name} already; give another name")
    uploads.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=uploads) as made:
        part = Path(made) / name
        part.mkdir()
        for file in files:
            shutil.copyfile(file, part / file.name)
        found = [one for file in files for one in recognise(part / file.name, {}, malformed=_ignore)]
        settings = profile_of(found, part, name, {})
        counts, malformed = _split(part, found) if any(one.kind != CORPUS for one in found) else (None, [])
        if malformed and set_aside:
            settings["rows"] = {"malformed": "set-aside"}
        path = part / f"{name}.yaml"
        write_profile(path, settings)
        loaded = load_profile(str(path))
        part.rename(folder)
    return OwnData(folder / path.name, loaded, found, counts, malformed)


def _ignore(_error: RowError) -> None:
    """The rows stage lists it."""


def _split(folder: Path, files: Sequence[OwnFile]) -> tuple[RowCounts, list[Row]]:
    """What the rows stage makes of the files that hold rows, and the rows that it could not read."""
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as scratch:
        source = Path(scratch, "source")
        source.mkdir()
        for one in files:
            if one.kind != CORPUS:
                (source / one.path.name).symlink_to(one.path)
        run = StageRun(
            out=Path(scratch, "output"),
            auxiliary=Path(scratch, "auxiliary"),
            checkpoint=Path(scratch, "checkpoint"),
        )
        rows(RowsConfig(malformed="set-aside"), run, source=source)
        listed = run.out / "set_aside.jsonl"
        lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
        return read_counts(run.out), [json.loads(line) for line in lines]


def document(found: OwnData) -> Document:
    """What the files hold, what of it cannot be read, how it is split, and what leaks."""
    malformed = len(found.malformed)
    sections = [_file(one) for one in found.files]
    if found.counts:
        sections.insert(0, _splits(found.counts))
    if malformed:
        sections.insert(0, _malformed(found))
    return Document(
        kind="own files",
        title=found.loaded.name,
        badge=Badge(plural(malformed, "malformed row"), "worse")
        if malformed
        else Badge("readable", "better"),
        verdict=Verdict("none", found.loaded.description),
        facts=[Fact("Stages", ", ".join(found.loaded.stages())), Fact("Profile", str(found.profile))],
        sections=sections,
    )


def _file(one: OwnFile) -> Section:
    columns = ", ".join(f"{name} from {column}" for name, column in one.columns.items())
    unit = "row" if one.columns else "paragraph"
    facts = [
        Fact("Recognised as", WORDS[one.kind]),
        Fact("Format", one.format, columns),
        Fact("Size", plural(one.rows, unit), size(one.bytes)),
    ]
    examples = [
        Excerpt(f"Row {number}", [Quote(column, _text(value)) for column, value in row.items() if value])
        for number, row in enumerate(one.examples, 1)
    ]
    return Section(one.path.name, [Facts(facts), Excerpts(examples)])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _splits(counts: RowCounts) -> Section:
    rows_ = [
        {
            "split": name,
            "rows": Cell(f"{count:,}"),
            "moved to train": Cell(f"{counts['moved'].get(name, 0):,}"),
            "of them near duplicates": Cell(f"{counts['near'].get(name, 0):,}"),
            "of them for their source": Cell(f"{counts['source'].get(name, 0):,}"),
        }
        for name, count in counts["splits"].items()
    ]
    moved = sum(counts["moved"].values())
    told = [
        Bullet(f"{plural(counts['read'], 'row')} read, {counts['distinct_prompts']:,} distinct prompts"),
        Bullet(
            f"{plural(moved, 'row')} asked what training rows ask, and went to them"
            if moved
            else "no row asks what rows of another split ask"
        ),
    ]
    return Section("Splits and leaks", [table_of(rows_), Bullets(told)])


def _malformed(found: OwnData) -> Section:
    lines = [f"{row['where']}: {row['why']}" for row in found.malformed[:LISTED]]
    more = len(found.malformed) - len(lines)
    outcome = (
        "The profile leaves these rows out, and counts them."
        if found.loaded.rows.malformed == "set-aside"
        else "The profile stops at them: fix the rows, or set rows.malformed to set-aside."
    )
    blocks = [Bullets([Bullet(outcome)]), Code("\n".join(lines))]
    if more:
        blocks.append(Bullets([Bullet(f"and {plural(more, 'row')} more")]))
    return Section("Malformed rows", blocks)
