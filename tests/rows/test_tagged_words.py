"""Rows of tagged words and of several labels: what is read from which files, and what is refused."""

import json

import pytest

from tasks.config import RowsConfig
from tasks.data.reading import RowError
from tasks.errors import StageError
from tasks.rows import load_split, prompt_groups, rows
from tasks.rows.conll import read_conll
from tasks.rows.formats import layout_of
from tests.runs import stage_run_in

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER

-DOCSTART- -X- -X- O

BRUSSELS NNP B-NP B-LOC
"""
UNIVERSAL = """# sent_id = 1
1-2\tdu\t_\t_\t_\t_\t_\t_\t_\t_
1\tde\tde\tADP\t_\t_\t0\troot\t_\t_
2\tle\tle\tDET\t_\t_\t1\tdet\t_\t_
"""


def conll(tmp_path, text, name="a.conll", header=(), bad=None):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [record for _, record in read_conll(path, name, header, ([] if bad is None else bad).append)]


def row_of(columns, values, **config):
    return layout_of("a", columns, RowsConfig(**config), [values]).row(("a, row 1", values))


def test_conll_has_words_first_and_tags_last(tmp_path):
    found = conll(tmp_path, CONLL)
    assert [(one["words"], one["tags"], one["document"]) for one in found] == [
        (["EU", "rejects"], ["B-ORG", "O"], 1),
        (["Peter"], ["B-PER"], 1),
        (["BRUSSELS"], ["B-LOC"], 2),
    ]
    named = conll(tmp_path, CONLL, header=("words", "tags", "chunk", "ner"))
    assert named[0]["tags"] == ["NNP", "VBZ"]


def test_universal_dependencies_have_their_own_columns(tmp_path):
    (found,) = conll(tmp_path, UNIVERSAL, "a.conllu")
    assert (found["words"], found["upos"]) == (["de", "le"], ["ADP", "DET"])


def test_a_sentence_with_a_line_too_short_is_malformed(tmp_path):
    bad = []
    found = conll(tmp_path, "a B-X\nb\n\nc O\n", bad=bad)
    assert [one["words"] for one in found] == [["c"]]
    assert "a line has 1 columns (b), expected 2 (words, tags)" in str(bad[0])
    with pytest.raises(StageError, match="one column"):
        conll(tmp_path, "a\nb\n")


def test_conll_files_become_rows_with_their_documents_as_sources(tmp_path):
    (tmp_path / "in").mkdir()
    text = "\n".join(CONLL.replace("EU", f"EU{n}").replace("BRUSS", f"B{n}") for n in range(20))
    (tmp_path / "in" / "a.conll").write_text(text)
    run = stage_run_in(tmp_path / "run")
    rows(RowsConfig(group_by="document", train=0.6, validation=0.2), run, source=tmp_path / "in")
    counts = json.loads((run.out / "rows.json").read_text())
    assert (counts["kind"], counts["formats"]) == ("tokens", {"tokens": 60})
    assert counts["labels"]["B-ORG"] == 20
    assert all(row.keys() >= {"words", "tags", "source"} for row in load_split(run.out, "train"))


def test_lists_of_words_and_tags_are_recognised():
    values = {"tokens": ["Anna", "sings"], "ner_tags": ["B-PER", "O"]}
    assert row_of(list(values), values) == {"words": ["Anna", "sings"], "tags": ["B-PER", "O"]}


@pytest.mark.parametrize(
    ("words", "tags", "said"),
    [
        (["a", "b"], ["O"], "2 words"),
        ([], [], "is empty"),
        (["a"], [3], "holds numbers"),
        (["a", " "], ["O", "O"], "not empty"),
    ],
)
def test_words_without_their_tags_are_refused(words, tags, said):
    with pytest.raises(RowError, match=said):
        row_of(["words", "tags"], {"words": words, "tags": tags}, format="tokens")


def test_sentences_of_the_same_words_are_one_whatever_their_tags():
    found = [
        {"id": 0, "words": ["A", "b"], "tags": ["O", "O"]},
        {"id": 1, "words": ["a", "B"], "tags": ["B-X", "O"]},
    ]
    assert prompt_groups([*found, {"id": 2, "words": ["c"], "tags": ["O"]}]) == [0, 0, 2]


@pytest.mark.parametrize(
    ("value", "config"),
    [(["b", "a", "b"], {}), ('["a", "b"]', {}), ("a; b", {"format": "multi-label", "separator": ";"})],
)
def test_labels_are_a_list_or_a_text_with_separators(value, config):
    values = {"text": "rain", "label": value}
    assert row_of(list(values), values, **config) == {"text": "rain", "labels": ["a", "b"]}


def test_one_text_without_a_separator_is_no_list_of_labels():
    values = {"text": "rain", "labels": "a; b"}
    with pytest.raises(RowError, match="set rows"):
        row_of(list(values), values, format="multi-label")


def test_a_separator_that_is_not_set_takes_no_part_in_the_key():
    assert "separator" not in RowsConfig().key_fields()
    assert RowsConfig(format="multi-label", separator=";").key_fields()["separator"] == ";"
