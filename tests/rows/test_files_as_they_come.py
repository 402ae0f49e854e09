"""Files as people have them: of each kind the right rows come out, or one message with what to do.

The kinds are those of public bug reports about other tools.
"""

import bz2
import codecs
import gzip
import io
import json
import lzma
import zipfile

import pyarrow
import pytest
import yaml
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from pyarrow.parquet import write_table

from tasks.config import RowsConfig, TokenizeConfig
from tasks.data import source_files
from tasks.errors import RefusedError, StageError
from tasks.machine import unzip
from tasks.machine.json_files import read_json
from tasks.rows import SPLITS, load_split, rows
from tasks.tokenize.corpus import Corpus

ASKED = {
    "Which metal is liquid at room temperature": "mercury",
    "Name the capital of Norway": "Oslo",
    "How many legs does a spider have": "eight",
    "Translate the German word Brot": "bread",
    "Who painted the ceiling of the Sistine Chapel": "Michelangelo",
    "Give a synonym of courageous": "brave",
    "What do bees collect from flowers": "nectar",
    "Finish the proverb about early birds": "they catch worms",
}
ROWS = [{"instruction": asked, "input": "", "output": answer} for asked, answer in ASKED.items()]
LABELLED = [{"text": asked, "label": ("ham", "spam")[n % 2]} for n, asked in enumerate(ASKED)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = "instruction,output\n" + "".join(f"{row['instruction']},{row['output']}\n" for row in ROWS)
SPAM = "v1,v2,,,\n" + "".join(f'{row["label"]},"{row["text"]}, £3",,,\n' for row in LABELLED)
QUOTED = "".join(f'"{row["text"]}"\t"{row["label"]}"\n' for row in LABELLED)


def zstd(data):
    return pyarrow.compress(data, codec="zstd", asbytes=True)


def zipped(files):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def parquet(columns):
    target = io.BytesIO()
    write_table(pyarrow.table(columns), target)
    return target.getvalue()


def saved(data):
    """Write with `save_to_disk` of the `datasets` library."""
    return lambda folder: data.save_to_disk(folder / "saved")


def labelled(texts, labels):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["ham", "spam"])})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


def column(records, name):
    return [record[name] for record in records]


@pytest.fixture
def staged(tmp_path, stage_run):
    """Run the rows stage on files by their names, or on what a function writes; returns its run."""

    def run_stage(files, /, **config):
        place = f"run-{len(list(tmp_path.iterdir()))}"
        source = tmp_path / f"source-of-{place}"
        source.mkdir()
        if callable(files):
            files(source)
        else:
            for name, content in files.items():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_bytes(content.encode() if isinstance(content, str) else content)
        said = []
        run = stage_run(place, say=said.append)
        rows(RowsConfig(**config), run, source=source)
        run.said = said
        return run

    return run_stage


def rows_of(run):
    """The rows in the order of the files, without their numbers."""
    found = sorted((row for name in SPLITS for row in load_split(run.out, name)), key=lambda row: row["id"])
    return [{name: value for name, value in row.items() if name != "id"} for row in found]


# The right rows


def chat(turns_of):
    return "".join(json.dumps(turns_of(row["instruction"], row["output"])) + "\n" for row in ROWS)


def turns(asked, answered):
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def as_pandas_does(records):
    return {name: {str(n): row[name] for n, row in enumerate(records)} for name in records[0]}


@pytest.mark.parametrize(
    ("files", "config"),
    [
        ({"a.json": codecs.BOM_UTF8 + json.dumps(ROWS, indent=1).replace("\n", "\r\n").encode()}, {}),
        ({"a.csv": CSV.encode("utf-16")}, {}),
        ({"a.csv": codecs.BOM_UTF16_BE + CSV.encode("utf-16-be")}, {}),
        ({"a.jsonl": LINES.encode("utf-32")}, {}),
        ({"a.csv": CSV.encode("utf-16-le")}, {"encoding": "UTF-16LE"}),
        ({"a.jsonl.gz": gzip.compress(LINES.encode())}, {}),
        ({"a.jsonl.bz2": bz2.compress(LINES.encode())}, {}),
        ({"a.jsonl.xz": lzma.compress(LINES.encode())}, {}),
        ({"a.csv.zst": zstd(CSV.encode())}, {}),
        ({"a.jsonl": gzip.compress(LINES.encode())}, {}),
        ({"a.jsonl.gz": LINES}, {}),
        ({"a.json.gz": gzip.compress(json.dumps(ROWS).encode("utf-16"))}, {}),
        ({"in.zip": zipped({"a.jsonl.gz": gzip.compress(LINES.encode()), "__MACOSX/._a": "x"})}, {}),
        ({"a.jsonl": LINES.replace('"input": ""', '"input": NaN')}, {}),
        ({"a.json": json.dumps({name: column(ROWS, name) for name in ROWS[0]})}, {}),
        ({"a.json": json.dumps(as_pandas_does(ROWS))}, {}),
        (
            {
                "a.json": json.dumps(
                    {"columns": [*ROWS[0]], "index": [], "data": [[*r.values()] for r in ROWS]}
                )
            },
            {},
        ),
        ({"a.json": json.dumps({"good": ROWS, "bad": [{}]})}, {"field": "good"}),
        ({"a.json": json.dumps({"x": {"y.z": 1, "y": {"rows": ROWS}}})}, {"field": "x.y.rows"}),
        ({"a.json": json.dumps({"x.y": ROWS, "x": {"y": 1}})}, {"field": "x.y"}),
        ({"a.jsonl": chat(lambda asked, answered: turns(asked, answered))}, {}),
        ({"a.jsonl": chat(lambda asked, answered: {"messages": turns(asked, answered), "tools": []})}, {}),
        (
            {
                "d/a.jsonl": LINES,
                "d/README.md": "# Mine",
                ".git/x": "x",
                "d/.DS_Store": "x",
                "Thumbs.db": "x",
            },
            {},
        ),
        ({"a.parquet": parquet({name: column(ROWS, name) for name in ROWS[0]})}, {}),
        (saved(Dataset.from_list(ROWS)), {}),
        (
            {
                "mine.jsonl": LINES.replace("instruction", "ask"),
                "dataset_info.json": '{"my": {"file_name": "mine.jsonl", "columns": {"prompt": "ask"}}}',
            },
            {},
        ),
        *(
            ({name: json.dumps(ROWS)}, {})
            for name in ("row #1.json", "what?.json", "50% off.json", "a: b.json")
        ),
    ],
    ids=lambda value: ", ".join(map(repr, value)) if isinstance(value, dict) else None,
)
def test_the_same_rows_come_out_of_files_of_every_kind(staged, files, config):
    assert rows_of(staged(files, **config)) == ROWS


@pytest.mark.parametrize(
    "files",
    [
        {"a.tsv": '"text"\t"label"\n' + QUOTED},
        {"a.tsv": "text\tlabel\n" + QUOTED},
        {
            "label=ham/a.parquet": parquet({"text": column(LABELLED[::2], "text")}),
            "label=spam/a.parquet": parquet({"text": column(LABELLED[1::2], "text")}),
        },
        saved(labelled(column(LABELLED, "text"), [n % 2 for n in range(8)])),
    ],
    ids=["quoted TSV", "quoted TSV, bare header", "Hive's folders", "ClassLabel"],
)
def test_same_labelled_texts_come_out_of_tables_of_every_kind(staged, files):
    found = sorted(rows_of(staged(files)), key=LABELLED.index)
    assert found == LABELLED


def test_quotes_that_are_doubled_are_those_of_a_csv(staged):
    lines = [f'ham\t"They said ""{asked}"" to me"' for asked in ASKED] + [
        f"spam\t{asked}" for asked in ASKED.values()
    ]
    found = rows_of(staged({"a.tsv": "label\ttext\n" + "\n".join(lines)}))
    assert found[1] == {"text": 'They said "Name the capital of Norway" to me', "label": "ham"}


def test_a_nul_in_a_text_is_a_character_like_others(staged):
    found = rows_of(staged({"a.csv": CSV.replace("bread", "bre\0ad")}))
    assert found[3]["output"] == "bre\0ad"


def test_best_known_spam_file_is_told_how_to_be_read_and_then_is(staged):
    with pytest.raises(StageError, match=r"spam\.csv is not UTF-8: byte .*rows\.encoding.*latin-1 or cp1252"):
        staged({"spam.csv": SPAM.encode("latin-1")})
    columns = "'v1' looks like a label (ham, spam) and 'v2' like its text: if that is so, set "
    with pytest.raises(StageError) as raised:
        staged({"spam.csv": SPAM.encode("latin-1")}, encoding="latin-1")
    assert columns + "rows.columns={label: v1, text: v2}." in str(raised.value)
    run = staged(
        {"spam.csv": SPAM.encode("latin-1")}, encoding="cp1252", columns={"label": "v1", "text": "v2"}
    )
    assert rows_of(run)[0] == {"text": f"{LABELLED[0]['text']}, £3", "label": "ham"}


@pytest.mark.parametrize(
    ("names", "setting"),
    [
        (("problem", "solution"), "rows.columns={prompt: problem, completion: solution}"),
        (("output", "input"), "rows.columns={prompt: input, completion: output}"),
        (("ask me", "a,b"), 'rows.columns={prompt: "ask me", completion: "a,b"}'),
    ],
)
def test_columns_of_other_tools_are_told_with_their_setting(staged, names, setting):
    order = ("output", "instruction") if names[0] == "output" else ("instruction", "output")
    content = "".join(
        json.dumps({"id": f"no {n}"} | {name: row[known] for name, known in zip(names, order, strict=True)})
        + "\n"
        for n, row in enumerate(ROWS)
    )
    with pytest.raises(StageError) as raised:
        staged({"a.jsonl": content})
    assert setting in str(raised.value)
    columns = yaml.safe_load(setting.removeprefix("rows.columns="))
    assert rows_of(staged({"a.jsonl": content}, columns=columns)) == ROWS


# Columns that appear late


def late(first, then, count=150):
    """Records, of which only the last has a column."""
    return [first(n) for n in range(count)] + [then]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_column_that_first_appears_after_100_records_is_read(staged, ending):
    records = late(
        lambda n: {"instruction": f"Say {n * 7919}", "output": "Yes"},
        {"instruction": "Translate", "input": "Guten Tag", "output": "Good day", "system": "Be short."},
    )
    lines = "\n".join(map(json.dumps, records))
    found = rows_of(staged({f"a.{ending}": json.dumps(records) if ending == "json" else lines}))
    assert found[-1] == {
        "instruction": "Translate",
        "input": "Guten Tag",
        "output": "Good day",
        "messages": [{"role": "system", "content": "Be short."}],
    }


def test_a_format_is_told_from_the_columns_of_the_whole_file(staged):
    records = late(lambda n: {"text": f"Text {n * 7919}"}, {"text": "Text", "label": "a"})
    with pytest.raises(StageError, match="row 1: 'label' is empty; expected a label"):
        staged({"a.jsonl": "\n".join(map(json.dumps, records))})


# One clear message


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        (
            {"a.csv": CSV.encode("utf-16-be")},
            {},
            "a.csv has no byte-order mark, and every second byte is 0, as in UTF-16. "
            "Name its encoding (rows.encoding; of a corpus tokenize.encoding), for example utf-16-be",
        ),
        (
            {"a.csv": b"\xff\xfe" + CSV.encode("utf-16-le")[:-1]},
            {},
            f"a.csv is not utf-16: byte {2 * len(CSV)} is 0x0a (truncated data). Name the",
        ),
        ({"a.csv": "é,b\n".encode("latin-1")}, {"encoding": "ascii"}, "a.csv is not ascii: byte 0 is 0xe9"),
        (
            {"a.csv": CSV},
            {"encoding": "utf-16"},
            "a.csv cannot be read as utf-16: UTF-16 stream does not start with BOM. Name its encoding.",
        ),
        (
            {"a.csv": zipped({"a": "x"})},
            {},
            "a.csv is not text but a zip archive. Name it .zip, or extract it.",
        ),
        ({"a.jsonl": parquet({"a": ["x"]})}, {}, "a.jsonl is not text but a Parquet file. Name it .parquet."),
        ({"a.txt": b"%PDF-1.7\n\xe2"}, {}, "a.txt is not text but a PDF. Extract its text first."),
        (
            {"a.jsonl.gz": gzip.compress(LINES.encode())[:-9]},
            {},
            "a.jsonl.gz is damaged: it cannot be decompressed as gzip (Compressed file ended",
        ),
        (
            {"a.jsonl.bz2": bz2.compress(LINES.encode())[:-9]},
            {},
            "a.jsonl.bz2 is damaged: it cannot be decompressed as bzip2",
        ),
        (
            {"a.jsonl.xz": lzma.compress(LINES.encode())[:-9]},
            {},
            "a.jsonl.xz is damaged: it cannot be decompressed as xz",
        ),
        (
            {"a.jsonl.zst": zstd(LINES.encode())[:-9]},
            {},
            "a.jsonl.zst is damaged: it cannot be decompressed as zstd",
        ),
        (
            {"a.parquet.gz": gzip.compress(parquet({"a": ["x"]}))},
            {},
            "a.parquet.gz is Parquet that is compressed with gzip once more. Decompress it first.",
        ),
        (
            {"a.tar.gz": gzip.compress(b"x")},
            {},
            "a.tar.gz is an archive of a kind (.tar) that is not opened. Extract it by hand",
        ),
        ({"a.7z": b"7z"}, {}, "a.7z is an archive of a kind (.7z) that is not opened."),
        (
            {".git/a.json": "x", "__MACOSX/b": "y"},
            {},
            "there is no file to read rows from; hidden files are not read, and all are "
            "hidden: .git/a.json, __MACOSX/b.",
        ),
        (
            {"a.json": json.dumps({"good": ROWS, "bad": [{}]})},
            {},
            "a.json: expected a list of objects, or an object that holds one such list, "
            "found an object that holds 2 (good, bad). Name one with field",
        ),
        (
            {"a.json": json.dumps({"good": ROWS})},
            {"field": "god"},
            "a.json holds nothing under 'god', which field names; found its keys are good",
        ),
        (
            {"a.json": json.dumps(ROWS)},
            {"field": "good"},
            "a.json holds nothing under 'good', which field names; found a list",
        ),
        (
            {"a.jsonl": LINES},
            {"field": "good"},
            "rows.field is for JSON documents (.json), and no such file was found.",
        ),
        (
            {"a.jsonl": '{"output": "", "output": "x"}'},
            {},
            'a.jsonl, row 1: cannot be read: the key \'output\' is there twice in {"output": "x"}.',
        ),
        (
            {"a.json": '[{"output": "", "output": "x"}]'},
            {},
            "a.json cannot be read as rows: the key 'output' is there twice",
        ),
        (
            {"a.tsv": 'label\ttext\n"a"\t"one\ntwo"\n'},
            {},
            "a.tsv, row 2 (line 3): 1 fields, expected 2 (label, text); if quotes hold its "
            "fields together, set rows.quoting=quotes.",
        ),
        (
            {"a.jsonl": json.dumps({"prompt": "a", "completion": "b", "label": False})},
            {},
            "a.jsonl, row 1: its answer is marked as a bad one ('label' is false, as for KTO), "
            "and would be learned",
        ),
        (
            {"a.csv": "instruction,output,kto_tag\na,b,True\nc,d,False\n"},
            {},
            "a.csv, row 2 (line 3): its answer is marked as a bad one ('kto_tag' is false",
        ),
        (
            {"a.parquet": parquet({"instruction": ["a"], "output": [b"b"]})},
            {},
            "a.parquet, row 1: 'output' should be text, found a value of type bytes",
        ),
        ({"a.arrow": b"ARROW1 and no more"}, {}, "a.arrow cannot be read as Arrow: "),
        ({"a.arrow": b""}, {}, "a.arrow cannot be read as Arrow: "),
        (
            {
                "dataset_info.json": '{"a": {"file_name": "a.jsonl", "columns": {"prompt": "b"}}}',
                "a.jsonl": LINES,
            },
            {},
            "a.jsonl has no column 'b', which rows.columns maps; its columns are instruction, input, output. "
            "Its columns are named by the dataset_info.json beside it",
        ),
        ({"dataset_info.json": "{", "a.jsonl": LINES}, {}, "dataset_info.json is not valid JSON: "),
        (
            {"train.jsonl": LINES, "test.jsonl": LINES, "more.jsonl": LINES},
            {"splits": "own"},
            "rows.splits=own needs files of train and test, maybe of validation, "
            "and no others, named so or in folders of these names; found more.jsonl (none), "
            "test.jsonl (test), train.jsonl (train).",
        ),
    ],
    ids=lambda value: ", ".join(map(repr, value)) if isinstance(value, dict) else None,
)
def test_files_that_cannot_be_used_are_told_with_what_to_do(staged, files, config, message):
    with pytest.raises(StageError) as raised:
        staged(files, **config)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_compressed_file_that_grows_like_a_bomb_is_refused(staged, monkeypatch, pack):
    monkeypatch.setattr(unzip, "RATIO_MATTERS_FROM", 1_000_000)
    monkeypatch.setattr(unzip, "MAX_RATIO", 100)
    monkeypatch.setattr("tasks.data.reading.BLOCK", 2**17)
    with pytest.raises(StageError, match=r"a\.txt was not extracted: \d+ bytes would unpack to 1\d{6}, more"):
        staged({"a.txt": pack(b" " * 5_000_000)})


def test_an_error_of_the_disk_is_not_taken_for_damage(tmp_path, monkeypatch):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"text"))

    def fails(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(source_files.gzip, "open", fails)
    with pytest.raises(OSError, match="Input/output error"):
        list(source_files.plain_blocks(tmp_path / "a.gz", "a.gz", 10))


# Splits that the owner made


def split_files(train=ROWS, validation=None, test=None):
    parts = {"train": train, "valid": validation, "test": test}
    return {name: part for name, part in parts.items() if part is not None}


def jsonl(records):
    return "".join(json.dumps(record) + "\n" for record in records)


OWN = split_files(ROWS[:5], ROWS[5:6], ROWS[6:])


@pytest.mark.parametrize(
    "files",
    [
        {f"{name}.jsonl": jsonl(part) for name, part in OWN.items()},
        {f"my_{name.upper()}-00000-of-00001.jsonl": jsonl(part) for name, part in OWN.items()},
        {f"data/{name}/part.jsonl": jsonl(part) for name, part in OWN.items()},
        {"all.json": json.dumps(OWN)},
        saved(DatasetDict({name: Dataset.from_list(part) for name, part in OWN.items()})),
    ],
    ids=["files", "shards", "folders", "keys", "save_to_disk"],
)
def test_splits_of_the_files_names_are_kept(staged, files):
    run = staged(files)
    found = {name: {row["output"] for row in load_split(run.out, name)} for name in SPLITS}
    own = zip(SPLITS, OWN.values(), strict=True)
    assert found == {name: {row["output"] for row in part} for name, part in own}
    assert "the files are splits already, which are kept; rows.splits=drawn draws others" in run.said
    assert read_json(run.out / "rows.json")["splits_are"] == "own"


def test_text_files_that_are_splits_are_a_row_for_each_paragraph(staged):
    asked = list(ASKED)
    run = staged({"train.txt": "\n\n".join(asked[:6]), "test.txt": "\n\n".join(asked[6:])}, validation=0.01)
    assert [len(load_split(run.out, name)) for name in SPLITS] == [6, 0, 2]


def test_a_validation_that_is_not_there_is_drawn_from_train(staged):
    files = {"train.jsonl": jsonl(ROWS[:6]), "test.jsonl": jsonl(ROWS[6:])}
    run = staged(files, train=0.5, validation=0.25)
    assert [len(load_split(run.out, name)) for name in SPLITS] == [4, 2, 2]
    assert {row["output"] for row in load_split(run.out, "test")} == {"nectar", "they catch worms"}


def test_balancing_leaves_the_own_test_split_whole(staged):
    told = [row | {"label": label} for row, label in zip(LABELLED, "aaabbabb", strict=True)]
    run = staged({"train.jsonl": jsonl(told[:5]), "test.jsonl": jsonl(told[5:])}, balance=True, validation=0)
    assert sorted(row["label"] for row in load_split(run.out, "train")) == ["a", "a", "b", "b"]
    assert sorted(row["label"] for row in load_split(run.out, "test")) == ["a", "b", "b"]


def test_a_row_of_an_own_test_split_that_is_trained_on_leaves_it(staged):
    files = {"train.jsonl": jsonl(ROWS[:5]), "test.jsonl": jsonl(ROWS[4:])}
    run = staged(files)
    assert {row["output"] for row in load_split(run.out, "test")} == {"brave", "nectar", "they catch worms"}
    assert read_json(run.out / "rows.json")["moved"] == {"test": 1, "validation": 0}


def test_own_splits_without_a_row_to_train_on_are_told(staged):
    files = {"train.jsonl": '{"instruction": "a", "output": ""}', "test.jsonl": LINES}
    with pytest.raises(StageError, match="the files of train hold no row that can be used"):
        staged(files, malformed="set-aside")


def test_an_own_test_split_that_is_all_trained_on_is_refused(staged):
    with pytest.raises(
        RefusedError, match=r"The files' own splits are kept; rows\.splits=drawn draws others"
    ):
        staged({"train.jsonl": LINES, "test.jsonl": jsonl(ROWS[:2])})


@pytest.mark.parametrize(
    ("names", "config"),
    [
        (("train.jsonl", "test.jsonl"), {"splits": "drawn"}),
        (("train.jsonl", "valid.jsonl"), {}),
        (("train.jsonl", "more.jsonl"), {}),
        (("train_test.jsonl", "test.jsonl"), {}),
        (("latest.jsonl", "trained.jsonl"), {}),
    ],
)
def test_splits_are_drawn_where_names_are_unclear_or_on_request(staged, names, config):
    first, second = names
    run = staged({first: jsonl(ROWS[:2]), second: jsonl(ROWS[2:])}, **config)
    assert read_json(run.out / "rows.json")["splits_are"] == "drawn"
    assert len(load_split(run.out, "train")) == 7


# Corpora

TEXT = "The ferry leaves the harbour before dawn and returns with bread."


@pytest.mark.parametrize(
    ("files", "config"),
    [
        ({"a.txt": TEXT.encode("utf-16")}, {}),
        ({"a.txt": TEXT.encode("utf-16-le")}, {"encoding": "utf-16-le"}),
        ({"a.txt.gz": gzip.compress(TEXT.encode())}, {}),
        ({"a.md": bz2.compress(TEXT.encode())}, {}),
        ({"a.jsonl.xz": lzma.compress(json.dumps({"text": TEXT}).encode())}, {}),
        ({"a.txt": TEXT, ".git/HEAD": "x", "._a.txt": "x", "__MACOSX/a.txt": "x", ".DS_Store": "x"}, {}),
        ({"a.json": json.dumps({"good": [{"text": TEXT}], "bad": [{"text": "x"}]})}, {"field": "good"}),
        ({"a.parquet": parquet({"text": [TEXT]})}, {}),
        (saved(Dataset.from_list([{"text": TEXT}])), {}),
    ],
    ids=lambda value: ", ".join(map(repr, value)) if isinstance(value, dict) else None,
)
def test_the_same_text_comes_out_of_corpora_of_every_kind(tmp_path, files, config):
    if callable(files):
        files(tmp_path)
    else:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert list(Corpus(tmp_path, TokenizeConfig(**config)).pieces()) == [(0, TEXT)]


def test_a_corpus_of_hidden_files_is_told(tmp_path):
    (tmp_path / ".notes.txt").write_text(TEXT, encoding="utf-8")
    with pytest.raises(
        StageError, match=r"the corpus holds no file; hidden files are not read.*\.notes\.txt"
    ):
        list(Corpus(tmp_path, TokenizeConfig()).pieces())
