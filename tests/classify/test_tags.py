"""A classifier of words: where its labels stand, what it learns, what it answers."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest

from tasks.batches.tagged import first_tokens
from tasks.classify.served.entities import Entities
from tasks.classify.stage import classify
from tasks.classify.tag_checks import (
    labels_on_first_tokens,
    tags_consistent,
    tags_known,
    words_cut_off,
    words_read_alone,
)
from tasks.classify.tags import TASK
from tasks.config import ClassifyConfig
from tasks.data.token_files import IGNORED
from tasks.machine.json_files import read_lines
from tests.classify.tagged_rows import rows_in, tagged_row
from tests.finetune.labelled_texts import CONTEXT, byte_pieces, gpt_in, message_tokenizer, wordpieces
from tests.runs import stage_run_in

CONFIG = ClassifyConfig(tune="full", epochs=12, batch_size=8, learning_rate=5e-3, evaluations=3, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("tagged"), tagged_row)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return gpt_in(tmp_path_factory.mktemp("base"), message_tokenizer())


@pytest.fixture(scope="module")
def trained(rows, base, tmp_path_factory):
    run = stage_run_in(tmp_path_factory.mktemp("trained"))
    classify(CONFIG, run, base=base, rows=rows)
    return run


def data_of(rows, base, **config):
    tokenizer = TASK.tokenizer(base / "model")
    return TASK.data(CONFIG.model_copy(update=config), tokenizer, TASK.read(rows), CONTEXT)


def test_a_word_has_its_tag_on_its_first_token_alone(rows, base):
    data = data_of(rows, base)
    row, text = data.rows["train"][0], data.texts["train"][0]
    pieces = data.tokenizer.convert_ids_to_tokens(text.input_ids)
    labelled = [(piece, label) for piece, label in zip(pieces, text.labels, strict=True) if label != IGNORED]
    assert [data.labels[label] for _, label in labelled] == row["tags"]
    for (piece, _), word in zip(labelled, row["words"], strict=True):
        assert word.startswith(piece.removeprefix("Ġ"))
    batch = data.collate(data.texts["train"][:3], more=2)
    assert (batch["labels"][batch["attention_mask"] == 0] == IGNORED).all()


@pytest.mark.parametrize("make", [message_tokenizer, wordpieces, byte_pieces])
def test_first_tokens_are_found_by_any_tokenizer(make):
    """Spaces belong to tokens or not, special tokens stand before, and a sign may be several tokens."""
    tokenizer, words = make(), ["prize", "Ünruh", "学校", ",", "mother"]
    encoded = tokenizer(" ".join(words), return_offsets_mapping=True)
    offsets = encoded["offset_mapping"]
    firsts = first_tokens(words, offsets)
    begin = 0
    for word, first in zip(words, firsts, strict=True):
        start, stop = offsets[first]
        assert start <= begin < stop
        assert all(not (one <= begin < other) for one, other in offsets[:first])
        begin += len(word) + 1


def test_the_numbers_are_those_of_the_predictions(trained):
    evaluation = json.loads((trained.out / "evaluation.json").read_text())
    predictions = read_lines(trained.out / "predictions.jsonl")
    test = evaluation["splits"]["test"]
    words = [
        (true, given)
        for row in predictions
        for true, given in zip(row["tags"], row["predicted"], strict=True)
    ]
    assert test["tag_accuracy"] == pytest.approx(sum(true == given for true, given in words) / len(words))
    assert test["by_type"]["N"]["f1"] == 1
    assert test["f1"]["low"] < test["f1"]["mean"] < test["f1"]["high"]
    assert [one["name"] for one in evaluation["baselines"]] == ["majority tag", "most frequent tag"]
    given = [row["majority tag"] for row in predictions]
    mean = sum(TASK.score(row["tags"], one) for row, one in zip(predictions, given, strict=True)) / len(given)
    assert evaluation["baselines"][0]["score"]["mean"] == pytest.approx(mean / 100)
    scores = [row["metric:sentence-f1"] for row in read_lines(trained.out / "scores.jsonl")]
    assert scores == [TASK.score(row["tags"], row["predicted"]) for row in predictions]


def test_plain_text_gives_entities_with_their_places(trained):
    served = Entities()
    served.load_context(SimpleNamespace(artifacts={"model": str(trained.out / "model")}))
    text = "note mother, note"
    (answer,) = served.predict(None, pd.DataFrame([{"text": text}]))
    assert answer["words"] == ["note", "mother", ",", "note"]
    found = [one for one in answer["entities"] if one["type"] == "N"]
    assert [(one["text"], one["start"], one["end"]) for one in found] == [("note", 0, 4), ("note", 13, 17)]
    predictions = read_lines(trained.out / "predictions.jsonl")
    inputs = pd.DataFrame([TASK.inputs(row) for row in predictions])
    for row, answer in zip(predictions, served.predict(None, inputs), strict=True):
        assert TASK.difference(row, answer) is None


def test_labels_on_a_later_token_or_lacking_are_found(rows, base):
    data = data_of(rows, base)
    assert labels_on_first_tokens(data).verdict == "passed"
    first, *others = data.texts["train"]
    moved = (*(place + 1 for place in first.firsts[:-1]), first.firsts[-1])
    for firsts, said in ((moved, "has no label"), ((None, *first.firsts[1:]), "begins")):
        data.texts["train"][0] = replace(first, firsts=firsts)
        found = labels_on_first_tokens(data)
        assert (found.verdict, found.where) == ("failed", "train row 0")
        assert said in found.found
    data.texts["train"][0] = first
    assert others


def test_a_tag_that_begins_nothing_or_is_new_is_found(tmp_path, base):
    rows = rows_in(tmp_path, tagged_row)
    data = data_of(rows, base)
    assert tags_consistent(data).verdict == tags_known(data).verdict == "passed"
    data.rows["test"][0]["tags"][:2] = ["O", "I-NEW"]
    assert (tags_consistent(data).verdict, tags_known(data).verdict) == ("failed", "failed")
    assert tags_known(data).where == f"test row {data.rows['test'][0]['id']}"


def test_words_that_are_cut_off_are_told(rows, base):
    assert words_cut_off(data_of(rows, base)).found.startswith("0 of")
    assert not words_cut_off(data_of(rows, base, max_length=4)).found.startswith("0 of")


def test_a_model_that_reads_padding_is_found(rows, base):
    data = data_of(rows, base)
    model = TASK.new_model(base / "model", data.labels, data.tokenizer, 1)
    texts = data.texts["train"][:4]
    assert words_read_alone(model, data, texts).verdict == "passed"
    handle = model.get_input_embeddings().register_forward_hook(
        lambda _m, _i, out: out + out.mean(dim=1, keepdim=True)
    )
    assert words_read_alone(model, data, texts).verdict == "failed"
    handle.remove()
