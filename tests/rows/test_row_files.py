"""Files of rows: each kind read as it is, in folders and archives; malformed rows named, or set aside."""

import json
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config import RowsConfig
from tasks.data.reading import stop
from tasks.errors import StageError
from tasks.machine.json_files import read_json
from tasks.rows import SPLITS, load_split, rows
from tasks.rows.files import data_files, records_of
from tasks.rows.tables import read_delimited

ROWS = [{"text": f"Text {n}", "label": "ab"[n % 2]} for n in range(6)]
LINES = [f"{row['text']},{row['label']}" for row in ROWS]
CSV = "\n".join(["text,label", *LINES])


def parquet(path, records):
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.Table.from_pylist(records), path)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path):
    """Write files by their name into a folder; a dictionary becomes a zip archive."""
    target = tmp_path / "in"
    target.mkdir()

    def write(files):
        for name, content in files.items():
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                with zipfile.ZipFile(path, "w") as archive:
                    for member, text in content.items():
                        archive.writestr(member, text)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    return write


@pytest.fixture
def read(folder, tmp_path):
    """Records of all files with where they stand."""

    def records(files, /, **config):
        config = RowsConfig(**config)
        (tmp_path / "scratch").mkdir(exist_ok=True)
        found = data_files(folder(files), config, tmp_path / "scratch")
        return [record for file in found for record in records_of(file, config, stop)]

    return records


@pytest.fixture
def staged(folder, stage_run):
    """Run the stage on files; returns its run and its rows in the order of their ids."""

    def run_stage(files, /, say=lambda _: None, **config):
        run = stage_run(say=say)
        rows(RowsConfig(**config), run, source=folder(files))
        found = [row for name in SPLITS for row in load_split(run.out, name)]
        return run, sorted(found, key=lambda row: row["id"])

    return run_stage


def message_of(call, /, *args, **config):
    with pytest.raises(StageError) as raised:
        call(*args, **config)
    return str(raised.value)


# Kinds of files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.JSON", json.dumps({"version": 1, "data": ROWS, "none": []})),
        ("a.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("a.ndjson", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
        ("a.csv", CSV),
        ("a.csv", "\ufeff" + CSV.replace("\n", "\r\n") + "\r\n\r\n"),
        ("a.csv", CSV.replace("Text 1", '"Text 1"')),
        ("a.tsv", CSV.replace(",", "\t") + "\n"),
        ("deep/er/a.csv", CSV),
        ("a.zip", {"a.csv": CSV, "__MACOSX/._a.csv": "x", ".DS_Store": "x"}),
        ("in/a.ZIP", {"deep/a.csv": CSV}),
    ],
)
def test_rows_come_from_each_kind_of_file(read, name, content):
    assert [record for _, record in read({name: content})] == ROWS


def test_rows_come_from_parquet_with_missing_values_as_null(read, tmp_path):
    records = [{"text": "a", "label": 1.0}, {"text": None, "label": float("nan")}]
    found = read({"a.parquet": parquet(tmp_path / "made", records)})
    assert found == [
        ("a.parquet, row 1", {"text": "a", "label": 1.0}),
        ("a.parquet, row 2", {"text": None, "label": None}),
    ]


def test_parquet_is_numbered_through_its_batches(read, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.rows.tables.PARQUET_ROWS", 2)
    found = read({"a.parquet": parquet(tmp_path / "made", ROWS)})
    assert [where for where, _ in found] == [f"a.parquet, row {n}" for n in range(1, 7)]


def test_a_lone_text_file_is_a_row_for_each_paragraph(read):
    text = "First paragraph,\ntwo lines.\r\n\r\n  Second.\n \n\t\n\nThird\u2028one.\n"
    assert read({"a.txt": text}) == [
        ("a.txt, row 1", {"text": "First paragraph,\ntwo lines."}),
        ("a.txt, row 2", {"text": "  Second."}),
        ("a.txt, row 3", {"text": "Third\u2028one."}),
    ]


def test_of_several_text_files_each_is_a_row(read):
    assert read({"b.md": "One.\n\nTwo.\n", "a/c.txt": "Three."}) == [
        ("a/c.txt, row 1", {"text": "Three."}),
        ("b.md, row 1", {"text": "One.\n\nTwo.\n"}),
    ]


def test_a_file_type_that_is_named_is_that_of_all_files(read):
    lines = "\n".join(map(json.dumps, ROWS))
    assert [row for _, row in read({"rows": lines, "more.txt": lines}, file_type="jsonl")] == ROWS * 2


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["a.csv", "b/a.csv", "b/c.csv", "z.zip/d.csv"]),
        ("a.csv", ["a.csv", "b/a.csv"]),
        ("b/*.csv", ["b/a.csv", "b/c.csv"]),
        ("**/[cd].csv", ["b/c.csv", "z.zip/d.csv"]),
        ("z.zip/*", ["z.zip/d.csv"]),
    ],
)
def test_only_files_that_match_the_pattern_are_read(folder, tmp_path, pattern, names):
    made = folder({"a.csv": CSV, "b/a.csv": CSV, "b/c.csv": CSV, "z.zip": {"d.csv": CSV}})
    (tmp_path / "scratch").mkdir()
    assert [file.name for file in data_files(made, RowsConfig(files=pattern), tmp_path / "scratch")] == names


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        ({}, {}, "there is no file to read rows from"),
        ({".hidden": "x"}, {}, "there is no file to read rows from"),
        ({"a.csv": CSV}, {"files": "*.json"}, "no file matches rows.files=*.json; there are a.csv."),
        ({"a.csv": CSV}, {"files": "."}, "rows.files=. is no pattern of file names"),
        ({"rows": CSV}, {}, "rows: its ending (none) does not say what kind of file it is; expected .json"),
        ({"a.xlsx": "x"}, {}, "a.xlsx: its ending (.xlsx) does not say what kind of file it is"),
        ({"a.zip": {"b.zip": b"PK"}}, {}, "a.zip/b.zip is an archive within an archive, which is not opened"),
        ({"a.zip": {"../a.csv": CSV}}, {}, "a.zip was not extracted: its entry '../a.csv' lies outside"),
        ({"a.zip": "no archive"}, {}, "a.zip is not a zip archive that can be read"),
        ({"a.jsonl": "{}"}, {"header": ("text",)}, "rows.header is for CSV, TSV and CoNLL"),
        ({"a.parquet": "PAR1 and no more"}, {}, "a.parquet cannot be read as Parquet"),
        ({"a.csv": ""}, {}, "a.csv is empty"),
        ({"a.csv": "text,label\n"}, {}, "a.csv holds a header and no row"),
        ({"a.csv": '""\n'}, {}, "a.csv holds a header and no row"),
        (
            {"a.csv": "text,label,text\na,b,c"},
            {},
            "a.csv: the column 'text' is there twice, among text, label",
        ),
        ({"a.csv": CSV}, {"header": ("text", "label")}, "a.csv has the header that rows.header names"),
        (
            {"a.csv": "text,label\n£,a".encode("latin-1")},
            {},
            "a.csv is not UTF-8: byte 11 is 0xa3. Name its encoding (rows.encoding; of a corpus ",
        ),
        ({"a.csv": '"te"xt,label\na,b'}, {}, "a.csv, line 1, in which the columns are named: its quotes are"),
        (
            {"a.csv": 'text,label\na,b\n"c,d\ne,f\n'},
            {},
            "a.csv, in the row that begins in line 3: its quotes are wrong (unexpected end of data), and",
        ),
    ],
)
def test_files_that_cannot_be_read_as_a_whole_are_named(read, files, config, message):
    assert message_of(read, files, **config).startswith(message)


def test_two_parquet_columns_of_one_name_are_an_error(read, tmp_path):
    import pyarrow
    from pyarrow.parquet import write_table

    table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    write_table(table, tmp_path / "made")
    message = message_of(read, {"a.parquet": (tmp_path / "made").read_bytes()})
    assert message.startswith("a.parquet: two columns have one name, among text, text.")


# Tables


def test_pitfall_1_quotes_are_text_in_tsv_and_lines_end_rows(read):
    content = 'label\ttext\na\t"open\nb\tclose" \u2028 \x0b \x85 \r more\r\na\t\n'
    assert read({"a.tsv": content}) == [
        ("a.tsv, row 1 (line 2)", {"label": "a", "text": '"open'}),
        ("a.tsv, row 2 (line 3)", {"label": "b", "text": 'close" \u2028 \x0b \x85 \r more'}),
        ("a.tsv, row 3 (line 4)", {"label": "a", "text": ""}),
    ]


def test_quotes_hold_a_csv_field_together_named_by_first_line(read):
    content = 'text,label\n"one, ""two""\n\nthree",a\n\nfour,b\n'
    assert read({"a.csv": content}) == [
        ("a.csv, row 1 (line 2)", {"text": 'one, "two"\n\nthree', "label": "a"}),
        ("a.csv, row 2 (line 6)", {"text": "four", "label": "b"}),
    ]


def test_quoting_can_be_asked_for_either_way(read):
    assert read({"a.tsv": '"a\tb"\tc\n'}, header=("x", "y"), quoting="quotes")[0][1] == {
        "x": "a\tb",
        "y": "c",
    }
    assert read({"b.csv": '"a,b"\n'}, files="b.csv", header=("x", "y"), quoting="none")[0][1] == {
        "x": '"a',
        "y": 'b"',
    }


def test_a_field_may_be_of_any_length(read):
    field = "long " * 50_000  # the csv module stops at 131,072 characters
    assert read({"a.csv": f"text,label\n{field},a\n"})[0][1]["text"] == field


def test_columns_without_a_name_may_be_many(read):
    assert read({"a.csv": "v1,v2,,\nham,Hi,,\n"})[0][1]["v2"] == "Hi"


FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
def test_any_table_that_is_quoted_is_read_as_it_was_written(tmp_path_factory, table):
    import csv

    path = tmp_path_factory.mktemp("table") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("x", "y"), *table])
    found = [row for _, row in read_delimited(path, "a.csv", ",", "quotes", (), stop)]
    assert found == [{"x": x, "y": y} for x, y in table]


@settings(deadline=None)
@given(st.lists(st.tuples(FIELD, FIELD), min_size=1, max_size=8))
def test_table_without_quotes_is_split_at_tabs_and_lines_only(tmp_path_factory, table):
    clean = [[field.replace("\t", "").replace("\n", "") for field in row] for row in table]
    path = tmp_path_factory.mktemp("table") / "a.tsv"
    text = "".join(f"{x}\t{y}\n" for x, y in [("head", "er"), *((x, y.rstrip("\r")) for x, y in clean)])
    path.write_text(text, encoding="utf-8", newline="")
    found = [row for _, row in read_delimited(path, "a.tsv", "\t", "none", (), stop)]
    assert found == [{"head": x, "er": y.rstrip("\r")} for x, y in clean]


# What the stage does with malformed rows

GOOD = [{"instruction": f"Ask {n}", "output": "Answer"} for n in range(12)]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.json",
            json.dumps([*GOOD, {"instruction": "Ask"}]),
            "a.json, row 13: no 'output'; its fields are instruction.",
        ),
        ("b/a.json", json.dumps([*GOOD, "Ask"]), "b/a.json, row 13: expected an object, found text: Ask."),
        ("a.jsonl", "\n".join([*map(json.dumps, GOOD), "{"]), "a.jsonl, row 13: not valid JSON (Expecting"),
        ("a.csv", f"{CSV}\none\n", "a.csv, row 7 (line 8): 1 fields, expected 2 (text, label)."),
        ("a.csv", f'{CSV}\n"o"ne,a\n', "a.csv, row 7 (line 8): its quotes are wrong (',' expected after"),
        ("a.tsv", "text\tlabel\na b\tc\nd\te\tf\n", "a.tsv, row 2 (line 3): 3 fields, expected 2"),
        ("a.csv", "text,label\nx,a\ny,\n", "a.csv, row 2 (line 3): 'label' is empty; expected a label."),
    ],
)
def test_malformed_row_stops_with_its_number_reason_and_a_way_on(staged, name, content, expected):
    message = message_of(staged, {name: content})
    assert message.startswith(expected)
    assert "rows.malformed=set-aside" in message


def test_malformed_rows_are_set_aside_and_counted(staged, monkeypatch):
    lines = [*map(json.dumps, GOOD[:6]), "{", '{"instruction": "Ask"}', "3", *map(json.dumps, GOOD[6:])]
    run, found = staged({"a.jsonl": "\n".join(lines)}, malformed="set-aside")
    assert [row["instruction"] for row in found] == [row["instruction"] for row in GOOD]
    assert [row["id"] for row in found] == list(range(12))
    auxiliary = load_split(run.out, "set_aside")
    assert {line["where"]: line["why"] for line in auxiliary} == {
        "a.jsonl, row 7": "not valid JSON (Expecting property name enclosed in double quotes): {",
        "a.jsonl, row 8": "no 'output'; its fields are instruction",
        "a.jsonl, row 9": "expected an object, found a number: 3",
    }
    counts = read_json(run.out / "rows.json")
    assert (counts["read"], counts["set_aside"], run.metrics["rows_set_aside"]) == (15, 3, 3)


def test_the_rows_set_aside_are_shown(folder, stage_run, monkeypatch):
    run, shown = stage_run(), []
    monkeypatch.setattr(run, "log_table", lambda table, name: shown.append((table, name)))
    rows(RowsConfig(malformed="set-aside"), run, source=folder({"a.json": json.dumps([*GOOD, 3])}))
    why = "expected an object, found a number: 3"
    assert shown == [([{"where": "a.json, row 13", "why": why}], "set_aside.json")]


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=4, max_size=40))
def test_every_row_is_in_a_split_or_set_aside(tmp_path_factory, sound):
    from tasks.record.stage import StageRun

    root = tmp_path_factory.mktemp("rows")
    records = [{"instruction": f"Ask {n}", "output": "Yes" if good else ""} for n, good in enumerate(sound)]
    (root / "in").mkdir()
    (root / "in" / "a.json").write_text(json.dumps(records))
    run = StageRun(out=root / "out", auxiliary=root / "auxiliary", checkpoint=root / "checkpoint")
    if sum(sound) * 2 < len(sound):
        assert "are malformed, so it is rather the format" in message_of(
            rows, RowsConfig(malformed="set-aside"), run, source=root / "in"
        )
        return
    rows(RowsConfig(malformed="set-aside"), run, source=root / "in")
    kept = [row["instruction"] for name in SPLITS for row in load_split(run.out, name)]
    assert sorted(kept) == sorted(f"Ask {n}" for n, good in enumerate(sound) if good)
    auxiliary = load_split(run.out, "set_aside") if not all(sound) else []
    assert [line["where"] for line in auxiliary] == [
        f"a.json, row {n}" for n, good in enumerate(sound, 1) if not good
    ]


def test_a_json_file_that_is_broken_is_not_set_aside(staged):
    message = message_of(staged, {"a.json": '[{"a": 1}, {"a"'}, malformed="set-aside")
    assert message.startswith("a.json is not valid JSON")


def test_texts_that_cannot_be_read_are_malformed_rows(staged):
    texts = {f"{n}.txt": f"A text of its own, number {n}." for n in range(8)}
    bad = {"x.txt": "", "y.txt": b"\xff", "z.txt": "Word"}
    run, found = staged(texts | bad, malformed="set-aside")
    assert len(found) == 8
    assert [line["where"] for line in load_split(run.out, "set_aside")] == [
        "x.txt, row 1",
        "y.txt, row 1",
        "z.txt, row 1",
    ]


# Several files


def test_rows_of_all_files_are_numbered_in_the_order_of_names(staged):
    lines = "\n".join(json.dumps(GOOD[n]) for n in (0, 1))
    _, found = staged({"b.json": json.dumps(GOOD[2:4]), "a.jsonl": lines})
    assert [(row["id"], row["instruction"]) for row in found] == [(n, f"Ask {n}") for n in range(4)]


def test_formats_of_one_kind_may_be_mixed_and_are_counted(staged):
    chats = [
        {"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "A"}]}
        for n in "abc"
    ]
    run, found = staged({"a.json": json.dumps(GOOD), "b.json": json.dumps(chats)})
    assert len(found) == 15
    assert read_json(run.out / "rows.json")["formats"] == {"alpaca": 12, "chat": 3}


def test_kinds_cannot_be_mixed(staged):
    message = message_of(staged, {"a.json": json.dumps(GOOD), "b.csv": CSV})
    assert message.startswith(
        "b.csv holds classification rows, and a.json completion rows; all files must be of"
    )


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "dataset_info.json", "licence.txt"])
def test_what_is_about_the_data_does_not_become_a_row(staged, name):
    said = []
    _, found = staged({name: "{}", "a.json": json.dumps(GOOD)}, say=said.append)
    assert len(found) == 12
    assert said == [f"not read as rows, being about the data: {name}"]


def test_a_readme_alone_is_read(read):
    assert [row for _, row in read({"README.md": "One.\n\nTwo."})] == [{"text": "One."}, {"text": "Two."}]


def test_a_text_beside_the_data_is_asked_about(staged):
    message = message_of(staged, {"notes.md": "What this is.", "a.json": json.dumps(GOOD)})
    assert message.startswith("notes.md is a text beside a.json, and would be a row.")


def test_labels_of_several_types_are_one_label_by_their_text(staged):
    labels = [1, "1", True, "true", 0, " 0", False, 0, "false"]
    run, _ = staged({"a.json": json.dumps([{"text": f"T{n}", "label": v} for n, v in enumerate(labels)])})
    assert read_json(run.out / "rows.json")["labels"] == {"0": 3, "1": 2, "false": 2, "true": 2}
