"""A registered classifier, loaded by anyone through MLflow, classifies as it was evaluated."""

import json
from itertools import count

import mlflow
import pandas as pd
import pytest

from flows.judging.rescoring import champion_inputs
from tasks.config import ClassifyConfig, GenerateConfig, JudgeConfig, PromoteConfig, StageConfig
from tasks.errors import StageError
from tasks.machine.json_files import read_json, read_lines, write_lines
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute
from tasks.record.work import Stage, Work
from tasks.rows import load_split, write_rows
from tests.classify.tagged_rows import rows_in, several_row, tagged_row
from tests.finetune.labelled_texts import SPECIAL, encoder_in, gpt_in, message_tokenizer, text_rows_in
from tests.registry.promote.promoting import Chained

PROMOTE = Stage(
    "promote", 1, "tasks.registry.promote.stage:promote", holds="tasks.registry.versions:still_registered"
)
CLASSIFY = Stage("classify", 1, "tasks.classify.stage:classify")
CONFIG = ClassifyConfig(tune="full", epochs=4, batch_size=4, learning_rate=5e-3, max_length=24, device="cpu")
NAMES = (f"test-classifier-{number}" for number in count())
TRICKY = [  # one after another as long as the longest or longer, with a special token, and Python's literals
    f"claim your prize {SPECIAL} now {SPECIAL}",
    "mother garden " * 40,
    "'12'",
    "123",
    "{'text': 'cash', 'text_pair': 'prize'}",
    "Zeile\n学 🎁",
]

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.logs_models]


class Made(StageConfig):
    """An input of the stages here."""

    number: int = 0


def make_rows(_config, run):
    folder = text_rows_in(run.out / "all")
    test = [*load_split(folder, "test"), *({"text": text, "label": "spam"} for text in TRICKY)]
    write_rows(folder / "test.jsonl", [row | {"id": 100 + place} for place, row in enumerate(test)])
    for path in folder.iterdir():
        path.rename(run.out / path.name)
    folder.rmdir()


def make_other_rows(_config, run):
    """A third of the test texts, and texts of a label more, in every split."""
    make_rows(_config, run)
    texts = [
        "agenda",
        "minutes",
        "quarterly report",
        "budget meeting",
        "slides",
        "invoice",
        "deadline",
        "memo",
    ]
    new = [{"text": text, "label": "work", "id": 900 + place} for place, text in enumerate(texts)]
    train, test = (load_split(run.out, split) for split in ("train", "test"))
    write_rows(run.out / "train.jsonl", [*train, *new[:4]])
    write_rows(run.out / "test.jsonl", [*test[::3], *new[4:]])


def make_base(_config, run):
    gpt_in(run.out, message_tokenizer())


def make_encoder(_config, run):
    encoder_in(run.out, "bert")


def make_pairs(_config, run):
    """A second text for each, that is as tricky, and longer than fits."""
    make_rows(_config, run)
    for split in ("train", "validation", "test"):
        found = load_split(run.out, split)
        write_rows(run.out / f"{split}.jsonl", [row | {"text_pair": row["text"][::-1]} for row in found])


def make_tagged(_config, run):
    rows_in(run.out, tagged_row)


def make_several(_config, run):
    rows_in(run.out, several_row)


def make_changed(_config, run, *, model):
    """A classify output that says another test prediction than its model gives."""
    for name in ("summary.json", "scores.json", "scores.jsonl"):
        (run.out / name).write_bytes((model / name).read_bytes())
    (run.out / "model").mkdir()
    for path in (model / "model").iterdir():
        (run.out / "model" / path.name).write_bytes(path.read_bytes())
    first, *others = read_lines(model / "predictions.jsonl")
    other = {"ham": "spam", "spam": "ham"}[first["predicted"]]
    write_lines(run.out / "predictions.jsonl", [first | {"predicted": other}, *others])


@pytest.fixture
def inputs(tracking):
    return inputs_of(tracking, "rows", "base")


def inputs_of(tracking, *names):
    rows, base = (
        execute(tracking, Work(Stage(f"made-{name}", 1, f"{__name__}:make_{name}"), Made())) for name in names
    )
    model = execute(tracking, Work(CLASSIFY, CONFIG, {"base": base, "rows": rows}))
    return {"model": model, "rows": rows, "scores": model, "base": base}


@pytest.fixture
def encoder_inputs(tracking):
    return inputs_of(tracking, "rows", "encoder")


@pytest.mark.parametrize("made", ["inputs", "encoder_inputs"])
def test_champion_gives_the_labels_and_probabilities_evaluated(tracking, request, made):
    """Pitfall 16 beyond the stage, and what looks like a special token, is overlong, or is Python."""
    inputs = request.getfixturevalue(made)
    config = PromoteConfig(name=next(NAMES))
    promotion = read_json(
        fetch(tracking, execute(tracking, Work(PROMOTE, config, inputs))) / OUTPUT / "promotion.json"
    )
    assert promotion["champion"]
    expected = read_lines(fetch(tracking, inputs["model"]) / OUTPUT / "predictions.jsonl")
    assert {row["text"] for row in expected} >= {*TRICKY}
    champion = mlflow.pyfunc.load_model(f"models:/{config.name}@champion")
    texts = [row["text"] for row in expected]
    for given in (pd.DataFrame({"text": texts}), [{"text": text} for text in texts]):
        answers = champion.predict(given)
        assert answers["label"].tolist() == [row["predicted"] for row in expected]
        assert answers["score"].tolist() == pytest.approx([row["probability"] for row in expected], abs=1e-5)
    for row in expected[-len(TRICKY) :]:
        (answer,) = champion.predict({"text": row["text"]}).to_dict("records")
        assert answer["label"] == row["predicted"]
        assert answer["score"] == pytest.approx(row["probability"], abs=1e-5)


def test_champion_of_pairs_takes_both_texts(tracking):
    config, inputs = PromoteConfig(name=next(NAMES)), inputs_of(tracking, "pairs", "encoder")
    execute(tracking, Work(PROMOTE, config, inputs))
    expected = read_lines(fetch(tracking, inputs["model"]) / OUTPUT / "predictions.jsonl")
    champion = mlflow.pyfunc.load_model(f"models:/{config.name}@champion")
    pairs = [{name: row[name] for name in ("text", "text_pair")} for row in expected]
    for given in (pd.DataFrame(pairs), pairs):
        answers = champion.predict(given)
        assert answers["label"].tolist() == [row["predicted"] for row in expected]
        assert answers["score"].tolist() == pytest.approx([row["probability"] for row in expected], abs=1e-5)
    assert [column.name for column in champion.metadata.signature.inputs] == ["text", "text_pair"]


def test_champion_of_words_gives_entities_of_plain_text(tracking):
    config, inputs = PromoteConfig(name=next(NAMES), min_score=0), inputs_of(tracking, "tagged", "base")
    execute(tracking, Work(PROMOTE, config, inputs))
    champion = mlflow.pyfunc.load_model(f"models:/{config.name}@champion")
    (answer,) = champion.predict([{"text": "note mother, note"}])
    assert answer["words"] == ["note", "mother", ",", "note"]
    assert {one["type"] for one in answer["entities"]} <= {"N", "S"}
    expected = read_lines(fetch(tracking, inputs["model"]) / OUTPUT / "predictions.jsonl")
    given = [{"text": " ".join(row["words"]), "words": row["words"]} for row in expected]
    assert [one["tags"] for one in champion.predict(given)] == [row["predicted"] for row in expected]


def test_champion_of_several_labels_gives_a_list_of_them(tracking):
    config, inputs = PromoteConfig(name=next(NAMES), min_score=0), inputs_of(tracking, "several", "base")
    execute(tracking, Work(PROMOTE, config, inputs))
    champion = mlflow.pyfunc.load_model(f"models:/{config.name}@champion")
    expected = read_lines(fetch(tracking, inputs["model"]) / OUTPUT / "predictions.jsonl")
    answers = champion.predict(pd.DataFrame({"text": [row["text"] for row in expected]}))
    assert [one["labels"] for one in answers] == [row["predicted"] for row in expected]


def test_the_champion_has_a_signature_an_example_and_its_labels(tracking, inputs):
    config = PromoteConfig(name=next(NAMES))
    execute(tracking, Work(PROMOTE, config, inputs))
    info = mlflow.models.get_model_info(f"models:/{config.name}@champion")
    assert info.signature.inputs.to_dict() == [{"type": "string", "name": "text", "required": True}]
    assert [(column.name, column.type.name) for column in info.signature.outputs] == [
        ("label", "string"),
        ("score", "double"),
    ]
    assert info.metadata == {"labels": ["ham", "spam"]}
    example = mlflow.models.Model.load(f"models:/{config.name}@champion").load_input_example()
    first = read_lines(fetch(tracking, inputs["model"]) / OUTPUT / "predictions.jsonl")[0]
    assert json.loads(example.to_json(orient="records")) == [{"text": first["text"]}]


def test_a_second_classifier_is_compared_row_by_row(tracking, inputs):
    config = PromoteConfig(name=next(NAMES))
    execute(tracking, Work(PROMOTE, config, inputs))
    other = execute(
        tracking,
        Work(CLASSIFY, CONFIG.model_copy(update={"seed": 7}), {n: inputs[n] for n in ("base", "rows")}),
    )
    second = execute(tracking, Work(PROMOTE, config, inputs | {"model": other, "scores": other}))
    promotion = read_json(fetch(tracking, second) / OUTPUT / "promotion.json")
    assert promotion["against"] == "version 1"
    assert promotion["difference"] is not None


def test_a_champion_classifier_is_measured_anew_on_other_rows(tracking, inputs):
    """By the labels that it was evaluated with, where the rows are the same; of a new label none is right."""
    config, run = PromoteConfig(name=next(NAMES), min_rows=2, min_score=0), Chained(tracking)
    execute(tracking, Work(PROMOTE, config, inputs))
    rows = execute(tracking, Work(Stage("made-other-rows", 1, f"{__name__}:make_other_rows"), Made()))
    other = execute(tracking, Work(CLASSIFY, CONFIG, {"base": inputs["base"], "rows": rows}))
    again = inputs | {"rows": rows, "model": other, "scores": other}
    met = champion_inputs(run, config, again, GenerateConfig(), JudgeConfig(), {})
    assert run.labels == ["predict champion"]
    scores = fetch(tracking, met["champion"]) / OUTPUT
    before = {
        line["id"]: line for line in read_lines(fetch(tracking, inputs["model"]) / OUTPUT / "scores.jsonl")
    }
    found = {line["id"]: line for line in read_lines(scores / "scores.jsonl")}
    assert all(line == before[row] for row, line in found.items() if row < 900)
    assert {line["metric:accuracy"] for row, line in found.items() if row >= 900} == {0}
    assert len(found) > 6
    promotion = read_json(
        fetch(tracking, execute(tracking, Work(PROMOTE, config, again | met))) / OUTPUT / "promotion.json"
    )
    assert promotion["anew"].startswith("its scores came about under other conditions (rows: ")
    assert promotion["against"] == "version 1"


def test_classifier_that_contradicts_its_evaluation_is_refused(tracking, inputs):
    changed = execute(
        tracking,
        Work(Stage("made-changed", 1, f"{__name__}:make_changed"), Made(), {"model": inputs["model"]}),
    )
    config = PromoteConfig(name=next(NAMES))
    with pytest.raises(StageError, match=r"does not give what was evaluated: row 100 is (ham|spam) with"):
        execute(tracking, Work(PROMOTE, config, inputs | {"model": changed, "scores": changed}))
    assert not tracking.client.search_model_versions(f"name='{config.name}'")
