"""A model asked a suite: what is right, what that shows, who cannot be asked, and going on after a kill."""

import json
import math
import shutil

import pytest

from tasks.benchmark.outputs import BenchmarkResults, read_items
from tasks.benchmark.stage import benchmark
from tasks.benchmark.tasks import asked
from tasks.errors import StageError
from tasks.generate import decoding
from tests.benchmark.asking import QUIZ, VERSION, asked_in, config_of, likelihoods
from tests.finetune.seq2seq_models import seq2seq_in

HUB_TASKS = ("arc_easy", "winogrande", "lambada_openai")
HUB_FILES = ("arc_easy/test", "winogrande/validation", "lambada_openai/test")


@pytest.fixture
def ask(tmp_path, stage_run):
    def ask(name, config, made, **inputs):
        run = stage_run(name, fingerprints=VERSION)
        given = {"model": made.model, "suite": made.suite} | ({"data": made.data} if made.data else {})
        benchmark(config, run, **given | inputs)
        return run

    return ask


def test_choice_is_right_whose_text_is_likeliest(tmp_path, stage_run, ask):
    config = config_of()
    made = asked_in(tmp_path, stage_run, config)
    items = read_items(ask("asked", config, made).out)
    for item, row in zip(items, QUIZ, strict=True):
        context = asked({"prompt": row["question"]})
        pairs = [(context, f" {choice}") for choice in row["choices"]]
        values = [value for value, _ in likelihoods(made.model / "model", pairs, tmp_path / str(item["id"]))]
        lengths = [len(choice) for choice in row["choices"]]
        by_length = [value / length for value, length in zip(values, lengths, strict=True)]
        right = row["answer"]
        assert item["acc"] == (values.index(max(values)) == right)
        assert item["acc_norm"] == (by_length.index(max(by_length)) == right)
        assert item["bits"] == pytest.approx(-values[right] / math.log(2), abs=1e-3)
        assert (item["bytes"], item["chance"]) == (len(row["choices"][right]) + 1, 1 / 3)
        assert (item["task"], item["id"]) == ("quiz", QUIZ.index(row))


def test_tasks_of_lm_eval_are_asked_of_mirrored_rows(tmp_path, stage_run, ask):
    config = config_of(tasks=list(HUB_TASKS), limit=3)
    made = asked_in(tmp_path, stage_run, config, HUB_FILES)
    run = ask("asked", config, made)
    found = {task["name"]: task for task in BenchmarkResults.read(run.out).tasks}
    assert list(found) == [*HUB_TASKS, "quiz"]
    assert [(task["asked"], task["rows"]) for task in found.values()] == [(3, 6), (3, 4), (3, 4), (3, 9)]
    assert [round(task["chance"], 3) for task in found.values()] == [0.333, 0.5, 0.0, 0.333]
    assert "acc_norm" not in found["winogrande"]
    assert run.metrics["arc_easy_acc"] == found["arc_easy"]["acc"]["mean"]
    assert run.metrics["lambada_openai_bits_per_byte"] == found["lambada_openai"]["bits_per_byte"]["mean"]


def test_inputs_that_are_choices_are_told_apart(tmp_path, stage_run, ask):
    config = config_of(tasks=["winogrande"])
    made = asked_in(tmp_path, stage_run, config, HUB_FILES)
    first = read_items(ask("asked", config, made).out)[0]
    pairs = [(f"The task was hot for the 0 since {one}", " is cold.") for one in ("the capital", "France")]
    values = [value for value, _ in likelihoods(made.model / "model", pairs, tmp_path / "journal")]
    assert first["bits"] == pytest.approx(-values[0] / math.log(2), abs=1e-3)
    assert first["acc"] == (values[0] > values[1])


def test_examples_stand_before_each_question(tmp_path, stage_run, ask):
    config = config_of(shots=2, limit=4)
    made = asked_in(tmp_path, stage_run, config, context=512)
    plain = config.model_copy(update={"shots": 0})
    with_examples = read_items(ask("examples", config, made).out)
    again = read_items(ask("again", config, made).out)
    other = read_items(ask("seed", config.model_copy(update={"seed": 7}), made).out)
    without = read_items(ask("plain", plain, asked_in(tmp_path / "plain", stage_run, plain)).out)
    bits = [[item["bits"] for item in items] for items in (with_examples, again, other, without)]
    assert bits[0] == bits[1]
    assert bits[0] != bits[2]
    assert bits[0] != bits[3]


def test_killed_benchmark_goes_on_and_ends_with_the_same_bytes(tmp_path, stage_run, ask, monkeypatch):
    config = config_of(tasks=["arc_easy"], batch_tokens=200)
    made = asked_in(tmp_path, stage_run, config, HUB_FILES)
    whole = ask("whole", config, made)
    read, calls = decoding.Reader.__call__, []

    def killed(self, *arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(self, *arguments, **options)

    monkeypatch.setattr(decoding.Reader, "__call__", killed)
    with pytest.raises(KeyboardInterrupt):
        ask("killed", config, made)
    later = ask("killed", config, made)
    for name in ("benchmark.json", "items.jsonl"):
        assert (later.out / name).read_bytes() == (whole.out / name).read_bytes()
    journals = [sorted(path.name for path in run.checkpoint.iterdir()) for run in (later, whole)]
    assert journals[0] == journals[1]
    assert (later.checkpoint / "0.jsonl").read_bytes() == (whole.checkpoint / "0.jsonl").read_bytes()


def test_passage_is_a_source_and_a_column_of_that_name_is_not(tmp_path, stage_run, ask):
    config = config_of(tasks=["arc_easy"])
    passages = [f"Passage {place // 3}" if place > 2 else None for place in range(len(QUIZ))]
    quiz = [row | ({"context": own} if own else {}) for row, own in zip(QUIZ, passages, strict=True)]
    made = asked_in(tmp_path, stage_run, config, HUB_FILES, quiz)
    path = made.data / "arc_easy" / "test.jsonl"
    rows = [json.loads(line) | {"source": "a book"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = read_items(ask("asked", config, made).out)
    assert [item.get("source") for item in items] == [None] * 9 + ["row 3"] * 3 + ["row 6"] * 3
    context = asked({"context": "Passage 1", "prompt": QUIZ[3]["question"]})
    right = QUIZ[3]["choices"][QUIZ[3]["answer"]]
    ((value, _),) = likelihoods(made.model / "model", [(context, f" {right}")], tmp_path / "journal")
    assert items[9]["bits"] == pytest.approx(-value / math.log(2), abs=1e-3)


def test_rows_without_a_right_answer_are_told(tmp_path, stage_run, ask):
    config = config_of(tasks=["winogrande"])
    made = asked_in(tmp_path, stage_run, config, HUB_FILES)
    path = made.data / "winogrande" / "validation.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"answer": "9"}) + "\n" for row in rows))
    with pytest.raises(StageError, match="winogrande"):
        ask("asked", config, made)


def test_classifier_and_encoder_decoder_cannot_be_asked(tmp_path, stage_run, ask):
    config = config_of()
    made = asked_in(tmp_path, stage_run, config)
    seq2seq_in(tmp_path / "t5", "t5")
    with pytest.raises(
        StageError, match=r"an encoder-decoder.*benchmark needs a model that continues a text"
    ):
        ask("t5", config, made, model=tmp_path / "t5")
    classifier = tmp_path / "classifier"
    shutil.copytree(made.model, classifier)
    summary = {"task": "classification", "labels": ["ham", "spam"], "parameters": 9}
    (classifier / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(StageError, match=r"a classifier: it gives labels \(ham, spam\)"):
        ask("classifier", config, made, model=classifier)
