"""Benchmarks as a user meets them: in a profile, and by the command, all of it without a hub."""

import pytest

from tests.benchmark.asking import HUB, write_rows
from tests.serve.tiny import tiny_model

PROFILE = """
description: a few characters, and what they teach
corpus: corpus.txt
tokenize: {kind: char}
pretrain: {size: 1x2x16, context: 96, steps: 4, batch_size: 2, warmup: 1, eval_every: 2}
benchmark:
  tasks: [arc_easy]
  questions: quiz.jsonl
  limit: 4
  mirror: mirror
"""
QUIZ = [
    {"question": f"Is line {place} long?", "choices": ["The line is", "The start"], "answer": place % 2}
    for place in range(6)
]
STAGES = [
    *("download corpus", "tokenize", "download benchmarks", "download questions", "suite", "pretrain"),
    *("benchmark base", "report"),
]


@pytest.fixture(scope="module")
def asked(make_workplace):
    place = make_workplace("benchmark")
    (place.folder / "asked.yaml").write_text(PROFILE, encoding="utf-8")
    write_rows(place.folder / "quiz.jsonl", QUIZ)
    write_rows(place.folder / "mirror" / "arc_easy" / "test.jsonl", HUB["arc_easy/test"])
    result = place("run", "asked.yaml", "--json")
    assert result.status == 0, result.err
    return place, result


def test_profile_asks_its_model_and_the_card_tells(asked):
    place, result = asked
    assert [stage["name"] for stage in result.json["stages"]] == STAGES
    metrics = result.json["stages"][-2]["metrics"]
    assert {"quiz_acc", "quiz_bits_per_byte", "quiz_chance", "arc_easy_acc_norm"} <= metrics.keys()
    assert metrics["quiz_chance"] == 0.5
    shown = place("report", result.json["run_id"])
    for part in ("Benchmarks", "quiz", "4 of 6", "not above chance on", "Bits per byte of"):
        assert part in shown.out, shown.out
    report = place("report", result.json["run_id"], "--json").json
    (told,) = report["benchmarks"]["models"]
    assert (told["model"], [task["name"] for task in told["tasks"]]) == ("base", ["arc_easy", "quiz"])


@pytest.mark.slow
def test_seeds_are_asked_alike_and_the_card_is_over_them(asked):
    place, _ = asked
    result = place("run", "asked.yaml", "--seeds", "2", "--json")
    assert result.status == 0, result.err
    by_seed = [
        next(one for one in own["stages"] if one["name"] == "benchmark base") for own in result.json["seeds"]
    ]
    bits = [one["metrics"]["quiz_bits_per_byte"] for one in by_seed]
    assert bits[0] != bits[1]
    run = place.store().client.get_run(result.json["run_id"])
    assert run.data.metrics["base.quiz_bits_per_byte.mean"] == pytest.approx(sum(bits) / 2)
    shown = " ".join(place("report", result.json["run_id"]).out.split())
    for part in (
        "All that follows below but the benchmarks is of seed 1",
        "Means over the seeds",
        "Each seed",
    ):
        assert part in shown, shown


def test_second_run_asks_nothing_again(asked):
    place, first = asked
    again = place("run", "asked.yaml", "--json")
    assert all(again.cached.values())
    fewer = place("run", "asked.yaml", "--json", "--set", "benchmark.limit=2", "--dry-run")
    waiting = [step["name"] for step in fewer.json["stages"] if not step["cached"]]
    assert waiting == ["benchmark base", "report"]
    assert first.json["run_id"] != again.json["run_id"]


def test_command_asks_a_model_and_finds_it_again(asked):
    place, result = asked
    given = ("benchmark", f"{result.json['run_id']}:base", "--questions", "quiz.jsonl")
    first = place(*given, "--json")
    assert first.status == 0, first.err
    (told,) = first.json["models"]
    assert [(task["name"], task["asked"]) for task in told["tasks"]] == [("quiz", 6)]
    assert first.json["differences"] == []
    shown = place(*given)
    assert shown.status == 0, shown.err
    for part in ("Benchmarks: 1 task, 6 rows", "chance", "50.0%", "not above chance on quiz"):
        assert part in shown.out, shown.out
    assert place(*given, "--json").json["run_id"] == first.json["run_id"]


def test_folder_is_compared_with_the_models_before_it(asked, tmp_path):
    place, result = asked
    folder = tiny_model(tmp_path / "other").path
    name = f"{result.json['run_id']}:base"
    found = place("benchmark", name, str(folder), "--questions", "quiz.jsonl", "--shots", "1", "--json")
    assert found.status == 0, found.err
    assert [one["tasks"][0]["shots"] for one in found.json["models"]] == [1, 1]
    (difference,) = found.json["differences"]
    assert (difference["model"], difference["against"]) == ("model", "asked:base")
    assert difference["acc"]["low"] <= difference["acc"]["difference"] <= difference["acc"]["high"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "there is nothing to ask: name tasks of lm-eval, or give questions"),
        (("--tasks", "arc_esy"), 2, "has no task 'arc_esy'; did you mean arc_easy"),
        (("--tasks", "gsm8k"), 2, "gsm8k of lm-eval cannot be asked here"),
        (("--questions", "nowhere.jsonl"), 2, "does not exist"),
        (("--questions", "quiz.jsonl", "--column", "label"), 2, "expected NAME=COLUMN"),
        (("--questions", "corpus.txt"), 1, "Of questions the format is always choices"),
        (("--questions", "quiz.jsonl", "--refresh", "judge"), 2, "judge"),
    ],
)
def test_benchmark_that_is_wrong_is_one_message(asked, arguments, status, message):
    place, result = asked
    found = place("benchmark", f"{result.json['run_id']}:base", *arguments)
    assert found.status == status, found.err
    assert message in " ".join(found.err.split())
    assert "Traceback" not in found.err


def test_profile_that_cannot_be_asked_is_refused_first(asked):
    place, _ = asked
    unknown = place("run", "asked.yaml", "--set", "benchmark.tasks=[piqqa]")
    assert unknown.status == 2
    assert "did you mean piqa" in unknown.err
    fills_in = ("--set", "pretrain.objective=masked", "--set", "pretrain.architecture=bert")
    masked = place("run", "asked.yaml", *fills_in)
    assert masked.status == 2
    assert "which a model that fills in masked words cannot say" in " ".join(masked.err.split())
    labelled = place("run", "asked.yaml", "--set", "labelled=quiz.jsonl")
    assert labelled.status == 2
    assert "which a classifier cannot say" in " ".join(labelled.err.split())


@pytest.mark.slow
def test_tuned_model_is_compared_with_its_base(make_workplace):
    place = make_workplace("tuned benchmark")
    write_rows(place.folder / "quiz.jsonl", QUIZ)
    result = place("run", "tiny.yaml", "--json", "--set", "benchmark.questions=quiz.jsonl")
    assert result.status == 0, result.err
    names = [stage["name"] for stage in result.json["stages"]]
    assert names.index("benchmark base") < names.index("finetune") < names.index("benchmark fine-tuned")
    (found,) = place("report", result.json["run_id"], "--json").json["benchmarks"]["differences"]
    assert (found["model"], found["against"], found["task"]) == ("fine-tuned", "base", "quiz")
