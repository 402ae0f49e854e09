"""A corpus whose sources are told apart: each split by itself, and all in one stream."""

import json

import numpy as np
import pytest

from tasks.config import TokenizeConfig
from tasks.data.token_files import load_tokens, read_facts
from tasks.errors import StageError
from tasks.tokenize.stage import tokenize
from tests.runs import stage_run_in

LINES = {
    "rows.jsonl": [f"row {number} tells of {number * 7}" for number in range(40)],
    "tales/one.txt": ["once there was a king who had a golden apple tree " * 3],
    "tales/two.txt": ["in the old time a fisherman and his wife lived by the sea " * 2],
    "verse.txt": ["tiger tiger burning bright in the forests of the night"],
}
SOURCES = ("verse.txt", "tales", "rows.jsonl")


def tokenized(folder, files=LINES, sources=SOURCES, **config):
    corpus = folder / "corpus"
    for name, lines in files.items():
        path = corpus / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [json.dumps({"text": line}) for line in lines] if name.endswith(".jsonl") else lines
        path.write_text("\n".join(rows), encoding="utf-8")
    run = stage_run_in(folder)
    settings = {"vocab_size": 300, "sources": sources, "validation": 0.2} | config
    tokenize(TokenizeConfig(**settings), run, corpus=corpus)
    return run.out


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return tokenized(tmp_path_factory.mktemp("sources"))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_sources_follow_each_other_and_are_the_whole_stream(tokens, split):
    files = load_tokens(tokens)
    whole, parts = getattr(files, split), files.sources(split)
    assert list(parts) == ["rows.jsonl", "tales", "verse.txt"]
    assert np.concatenate([part.tokens for part in parts.values()]).tolist() == whole.tokens.tolist()
    assert [int(part.ends[-1]) for part in parts.values()] == [len(part) for part in parts.values()]
    assert sum(len(part.ends) for part in parts.values()) == len(whole.ends)
    for name, part in parts.items():
        assert (part.tokens[part.ends.astype(int) - 1] == files.end_token).all()
        assert files.facts[split]["sources"][name]["documents"] == len(part.ends)


def test_each_source_gives_its_share_to_validation(tokens):
    """As one stream, the end of the text would be held out: verse alone."""
    facts = read_facts(tokens)
    for name in SOURCES:
        held, trained = (facts[split]["sources"][name]["bytes"] for split in ("validation", "train"))
        assert held / (held + trained) == pytest.approx(0.2, abs=0.03)


def test_counts_of_sources_add_up_to_those_of_the_split(tokens):
    for split in ("train", "validation"):
        facts = read_facts(tokens)[split]
        for name in ("tokens", "bytes", "documents"):
            assert sum(own[name] for own in facts["sources"].values()) == facts[name]
        apart = [own["unpredicted_bytes"]["apart"] for own in facts["sources"].values()]
        assert sum(apart) == facts["unpredicted_bytes"]["apart"]
        assert next(iter(facts["sources"].values()))["unpredicted_bytes"]["joined"] > 0


def test_without_sources_nothing_is_told_of_them(tmp_path):
    facts = read_facts(tokenized(tmp_path, sources=()))
    assert "sources" not in facts["train"]
    assert TokenizeConfig().key_fields().keys() == TokenizeConfig(sources=()).key_fields().keys()
    assert "sources" not in TokenizeConfig().key_fields()


def test_what_is_held_out_of_one_source_is_trained_on_in_none(tmp_path):
    """Rows that stand in two sources, in another order."""
    rows = LINES["rows.jsonl"]
    files = {"a.jsonl": rows[:30], "b.jsonl": [*reversed(rows[10:])]}
    tokens = load_tokens(tokenized(tmp_path, files, ("a.jsonl", "b.jsonl")))

    def texts(split):
        ends = split.ends.astype(int)
        return {tuple(text.tolist()) for text in np.split(split.tokens, ends)[:-1]}

    assert not texts(tokens.train) & texts(tokens.validation)


@pytest.mark.parametrize(
    ("files", "sources", "told"),
    [
        (
            LINES,
            ("rows.jsonl", "gone.txt"),
            "tokenize.sources names 'gone.txt', and",
        ),
        (LINES, SOURCES[1:], "verse.txt is of none of the sources that have weights: tales, rows"),
        (LINES | {"short.txt": ["ab"]}, (*SOURCES, "short.txt"), "of the source 'short.txt' the valid"),
    ],
    ids=["not there", "not named", "too short"],
)
def test_a_source_that_gives_nothing_is_refused(tmp_path, files, sources, told):
    with pytest.raises(StageError, match=told):
        tokenized(tmp_path, files, sources)


def test_a_zip_archive_is_a_source_by_its_name(tmp_path):
    """It was unpacked into a folder without the ending."""
    tokens = load_tokens(tokenized(tmp_path, sources=("rows.jsonl", "tales.zip", "verse.txt")))
    assert list(tokens.sources("train")) == ["rows.jsonl", "tales.zip", "verse.txt"]


def test_sources_of_a_corpus_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(StageError, match="names sources of a corpus, and there is none"):
        tokenize(TokenizeConfig(sources=("a",)), stage_run_in(tmp_path), rows=tmp_path)
