"""Two texts that are labelled together: read, split without leaks, told apart, and classified as one."""

import json

import pytest

from tasks.batches.labelled import classifying_tokenizer
from tasks.classify.labels import TASK, mean_loss
from tasks.classify.predicting import predict
from tasks.classify.stage import classify
from tasks.config import ClassifyConfig, PredictConfig, RowsConfig
from tasks.errors import StageError
from tasks.models.architectures import longest
from tasks.models.classifier import new_classifier
from tasks.preflight.classification import cut_texts, preflight_classification
from tasks.rows import SPLITS, load_split, rows, source_groups, write_rows
from tasks.rows.canonical import text_of
from tasks.rows.formats import layout_of
from tests.finetune.labelled_texts import CONTEXT, ENCODERS, gpt_in, message_tokenizer, text_row
from tests.runs import stage_run_in

CONFIG = ClassifyConfig(
    tune="full", epochs=12, batch_size=4, learning_rate=1e-2, max_length=CONTEXT, device="cpu"
)
LABELS = ("ham", "spam")

pytestmark = pytest.mark.usefixtures("one_thread")


def pair_row(index):
    """The label is of the second text alone; the first has words of the row's own."""
    row = text_row(index)
    first = " ".join(word[::-1] for word in row["text"].split()[-3:])
    return {"id": index, "text": first, "text_pair": row["text"], "label": row["label"]}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    every = [pair_row(index) for index in range(44)]
    for split, members in zip(SPLITS, (every[:25], every[25:32], every[32:]), strict=True):
        write_rows(folder / f"{split}.jsonl", members)
    return folder


def made(base, folder, config=CONFIG):
    tokenizer = classifying_tokenizer(base / "model")
    model = new_classifier(base / "model", LABELS, tokenizer, 1)
    return model, TASK.data(config, tokenizer, TASK.read(folder), longest(model))


def test_bert_is_told_which_of_the_two_texts_each_token_is_of(encoders, pairs):
    _, data = made(encoders["bert"], pairs)
    row, text = data.rows["train"][0], data.texts["train"][0]
    first, second = (
        data.tokenizer(row[part], add_special_tokens=False)["input_ids"] for part in ("text", "text_pair")
    )
    begin, between = data.tokenizer.cls_token_id, data.tokenizer.sep_token_id
    assert text.input_ids == [begin, *first, between, *second, between]
    assert list(text.token_types) == [0] * (len(first) + 2) + [1] * (len(second) + 1)
    batch = data.collate(data.texts["train"][:3])
    length = len(text.input_ids)
    assert batch["token_type_ids"][0].tolist() == [*text.token_types] + [0] * (
        batch["input_ids"].shape[1] - length
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_learns_pairs_and_predicts_them_as_it_did(encoders, pairs, tmp_path, kind):
    """With every check passed; and what measures a champion anew gives the same."""
    run = stage_run_in(tmp_path / "run")
    classify(CONFIG, run, base=encoders[kind], rows=pairs)
    evaluation = json.loads((run.out / "evaluation.json").read_text())
    assert evaluation["splits"]["train"]["accuracy"]["mean"] > 0.9
    predictions = read(run)
    assert [row["text_pair"] for row in predictions] == [
        row["text_pair"] for row in load_split(pairs, "test")
    ]
    again = stage_run_in(tmp_path / "again")
    predict(PredictConfig(device="cpu"), again, model=run.out, rows=pairs)
    for row, other in zip(read(again), predictions, strict=True):
        assert row["predicted"] == other["predicted"]
        assert row["probability"] == pytest.approx(other["probability"], abs=1e-5)


def read(run):
    return [json.loads(line) for line in (run.out / "predictions.jsonl").read_text().splitlines()]


def test_a_cut_pair_loses_the_end_of_its_longer_text(encoders, pairs):
    config = CONFIG.model_copy(update={"max_length": 22})
    model, data = made(encoders["bert"], pairs, config)
    row, text = data.rows["train"][0], data.texts["train"][0]
    first, second = (
        data.tokenizer(row[part], add_special_tokens=False)["input_ids"] for part in ("text", "text_pair")
    )
    begin, between = data.tokenizer.cls_token_id, data.tokenizer.sep_token_id
    kept = 22 - 3 - len(first)
    assert len(first) < kept < len(second)
    assert text.input_ids == [begin, *first, between, *second[:kept], between]
    assert text.lost == len(second) - kept
    assert "of the longer text of each pair" in cut_texts(data).found
    assert preflight_classification(config, model, data, mean_loss).failed == []


def test_pairs_with_nothing_between_the_texts_are_refused(pairs, tmp_path):
    base = gpt_in(tmp_path, message_tokenizer())
    with pytest.raises(StageError, match=r"puts no token between the two.* Name an encoder as base.model"):
        made(base, pairs)


def test_a_single_text_among_pairs_is_named(pairs, tmp_path):
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.jsonl", load_split(pairs, split))
    write_rows(tmp_path / "test.jsonl", [{"id": 88, "text": "alone", "label": "ham"}])
    with pytest.raises(StageError, match="32 of 33 rows are pairs of texts, and test row 88 is a single one"):
        TASK.read(tmp_path)


def test_a_pair_without_its_second_text_is_named(encoders, pairs, tmp_path):
    for split in SPLITS:
        write_rows(tmp_path / f"{split}.jsonl", load_split(pairs, split))
    write_rows(tmp_path / "test.jsonl", [pair_row(40) | {"text_pair": " "}])
    with pytest.raises(StageError, match="test row 40 has no text_pair to classify: found ' '"):
        made(encoders["bert"], tmp_path)


# Reading and splitting


@pytest.mark.parametrize(
    "columns",
    [
        "text text_pair label",
        "sentence1 sentence2 label",
        "premise hypothesis label",
        "question1 question2 label idx",
    ],
)
def test_pairs_are_recognised_by_the_names_they_go_by(columns):
    first, second, label, *_ = columns.split()
    layout = layout_of("a.jsonl", columns.split(), RowsConfig())
    assert layout.format == "classification"
    record = ("a.jsonl: line 1", {first: "A man sleeps.", second: "A man is awake.", label: 2, "idx": 0})
    assert layout.row(record) == {"text": "A man sleeps.", "text_pair": "A man is awake.", "label": "2"}


def test_the_order_and_both_texts_make_a_prompt(stage_run, tmp_path):
    """Pairs that share one text are two rows; the same pair twice is one group, in one split."""
    texts = "a cat sleeps,the dog runs,two men sing,rain falls,she reads,fire burns".split(",")
    found = [
        {"text": texts[one], "text_pair": texts[other], "label": "yn"[(one + other) % 2]}
        for one in range(6)
        for other in range(6)
        if one != other
    ]
    source = tmp_path / "source"
    source.mkdir()
    (source / "rows.jsonl").write_text("\n".join(map(json.dumps, [*found, *found[:6]])))
    run = stage_run()
    rows(RowsConfig(), run, source=source)
    splits = {split: load_split(run.out, split) for split in SPLITS}
    of = {split: {(row["text"], row["text_pair"]) for row in members} for split, members in splits.items()}
    assert len(set.union(*of.values())) == len(found)
    assert not of["train"] & of["test"]
    assert text_of(splits["test"][0]) == "\n".join(
        (splits["test"][0]["text"], splits["test"][0]["text_pair"])
    )


def test_hypotheses_of_one_premise_are_of_one_source():
    """Pitfall 26: who knows a premise's hypotheses from training has seen what the test is of."""
    premise = (
        "an old man in a long green coat is selling fresh bread and warm cakes at the market this morning"
    )
    found = [
        {"text": premise, "text_pair": hypothesis, "label": label}
        for hypothesis, label in (("he sells bread", "yes"), ("he is asleep at home", "no"))
    ]
    other = {"text": "a dog runs", "text_pair": "an animal moves", "label": "yes"}
    groups = source_groups([*found, other])
    assert groups[0] == groups[1] != groups[2]
