"""`touchstone init`: what files hold, the profile that is written, what cannot be trained on."""

import json

import pytest

from flows.profiles.load import load_profile

ASKED = [{"question": f"What is {n} plus 1?", "answer": f"It is {n + 1}."} for n in range(70)]
SPAM = ("spam", "ham")
FILES = {
    "story.txt": "Once there was a fox.\n\nIt ran home.\n\nIt slept.\n\nThe end came.\n",
    "asked.jsonl": "\n".join(map(json.dumps, ASKED)),
    "spam.csv": "text,label\n"
    + "\n".join(f"message {n} of many,{'ham' if n % 2 else 'spam'}" for n in range(9)),
    "pairs.json": json.dumps([{"prompt": f"Say {n}", "chosen": "yes", "rejected": "no"} for n in range(70)]),
    "articles.jsonl": "\n".join(json.dumps({"text": f"An article of some words, {n}."}) for n in range(5)),
    "empty.txt": "",
    "empty.json": "[]",
    "odd.csv": "a,b\n1,2\n3,4\n",
    "bare.csv": "body,kind\n" + "\n".join(f"words of {n},{'x' if n % 2 else 'y'}" for n in range(9)),
    "bytes.bin": "x",
    "torn.json": '[{"instruction": "a", ',
}


@pytest.fixture(autouse=True)
def _files(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "stages", "absent"),
    [
        (("story.txt",), ("tokenize", "pretrain"), "finetune"),
        (("articles.jsonl",), ("tokenize", "pretrain"), "finetune"),
        (("asked.jsonl",), ("rows", "pretrain", "finetune", "judge"), "dpo"),
        (("asked.jsonl", "story.txt"), ("rows", "pretrain", "finetune"), "classify"),
        (("pairs.json",), ("finetune", "dpo", "judge"), "classify"),
        (("spam.csv",), ("rows", "pretrain", "classify", "promote"), "generate"),
    ],
)
def test_files_are_recognised_and_a_valid_profile_is_written(touchstone, tmp_path, files, stages, absent):
    status, out, shown = touchstone("init", *files, "--name", "mine", "--json")
    assert status == 0, shown
    told = json.loads(out)
    assert set(stages) <= set(told["stages"])
    assert absent not in told["stages"]
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert profile.stages() == told["stages"]
    sources = [
        one.path
        for part in (profile.corpus, profile.instructions, profile.labelled)
        if part
        for one in part.sources
    ]
    assert sorted(sources) == sorted(tmp_path / name for name in files)


def test_three_rows_are_shown_and_few_rows_are_told(touchstone):
    _, out, _ = touchstone("init", "spam.csv")
    assert "spam.csv: 9 rows, 213 bytes: labelled texts, format classification (text, label)" in out
    assert "  3. label: spam" in out
    assert "  4." not in out
    assert "Only 9 rows" in out
    assert "touchstone run spam.yaml --dry-run" in out


def test_a_column_may_be_named_and_stands_in_the_profile(touchstone, tmp_path):
    arguments = ("init", "bare.csv", "--column", "text=body", "--column", "label=kind")
    status, out, shown = touchstone(*arguments)
    assert status == 0, shown
    assert "format classification (text from body, label from kind)" in out
    assert load_profile(str(tmp_path / "bare.yaml")).rows.columns == {"text": "body", "label": "kind"}


def test_a_folder_is_read_as_the_stages_read_it(touchstone, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("train.csv", "test.csv"):
        (tmp_path / "data" / name).write_text(FILES["spam.csv"])
    told = json.loads(touchstone("init", "data", "--json")[1])
    assert [one["rows"] for one in told["files"]] == [9, 9]
    assert len(load_profile(str(tmp_path / "data.yaml")).labelled.sources) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("nowhere.txt",), "nowhere.txt does not exist"),
        (("empty.txt",), "empty.txt is empty"),
        (("empty.json",), "empty.json"),
        (("odd.csv",), "odd.csv is in no format that is known: its columns are a, b"),
        (("bare.csv",), "rows.columns={label: kind, text: body}"),
        (("bytes.bin",), "its ending (.bin) does not say what kind of file it is"),
        (("torn.json",), "torn.json"),
        (("spam.csv", "asked.jsonl"), "each makes a model of its own"),
        (("story.txt", "--output", "story.txt"), "expected a name that ends in .yaml"),
        (("story.txt", "--output", "none/x.yaml"), "cannot be written: No such file or directory"),
        (("story.txt", "--name", "Not A Name"), "name: String should match pattern"),
        (("spam.csv", "--column", "text"), "expected NAME=COLUMN"),
    ],
)
def test_what_cannot_be_trained_on_is_one_message_and_no_profile(touchstone, tmp_path, arguments, hint):
    status, out, shown = touchstone("init", *arguments, "--json")
    error = json.loads(out)["error"]
    assert (status, hint in error) == (2, True), error
    assert "\n" not in error
    assert "Traceback" not in shown
    assert not list(tmp_path.glob("*.yaml"))


def test_a_profile_that_is_there_is_never_overwritten(touchstone, tmp_path):
    (tmp_path / "story.yaml").write_text("mine: true\n")
    status, out, _ = touchstone("init", "story.txt", "--json")
    assert (status, "story.yaml exists already" in json.loads(out)["error"]) == (2, True)
    assert (tmp_path / "story.yaml").read_text() == "mine: true\n"


def test_the_context_holds_the_longest_row(touchstone, tmp_path):
    """Regression: rows that are all cut never show their end, and the checks before training refuse them."""
    rows = [{"instruction": f"Say {n}.", "output": "word " * 150} for n in range(70)]
    (tmp_path / "long.json").write_text(json.dumps(rows))
    assert touchstone("init", "long.json")[0] == 0
    assert touchstone("init", "asked.jsonl")[0] == 0
    long, short = (load_profile(str(tmp_path / f"{name}.yaml")) for name in ("long", "asked"))
    assert (long.pretrain.context, long.finetune.max_length) == (512, 512)
    assert (short.pretrain.context, short.finetune.template, short.generate.template) == (256, "phi3", "phi3")
