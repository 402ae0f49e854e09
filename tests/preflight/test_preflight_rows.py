"""What is known of rows before training is told before training: by the preflight, for every tuning."""

import json

import numpy as np
import pytest

from tasks.config import (
    ClassifyConfig,
    DpoConfig,
    FinetuneConfig,
    GrpoConfig,
    PreflightConfig,
    PretrainConfig,
)
from tasks.data.token_files import END_OFFSET, FACTS, ends_path, token_path
from tasks.errors import RefusedError, StageError
from tasks.models.gpt import GPT, GPTConfig
from tasks.preflight.profile.stage import preflight
from tasks.rows import SPLITS, write_rows
from tasks.tokenize.stage import characters

LETTERS = characters(["abcdefghijklmnopqrstuvwxyz <|>\n"])
PROMPT = len("<|user|>\n<|end|>\n<|assistant|>\n")  # of phi3, without the words
CONTEXT = 80
SHORT = {"template": "phi3", "max_length": 60, "device": "cpu"}
PROFILES = {
    "finetune": {"finetune": FinetuneConfig(**SHORT)},
    "dpo": {"finetune": FinetuneConfig(**SHORT | {"max_length": CONTEXT}), "dpo": DpoConfig(**SHORT)},
    "classify": {"classify": ClassifyConfig(max_length=20, device="cpu")},
}


def row_of(place, **changed):
    letters = "abcdefghijkl"
    words = f"{letters[place]} {letters[-1 - place]}{letters[place % 5]}"
    return {
        "id": place,
        "instruction": f"ask {words}",
        "input": "",
        "output": "yes",
        "chosen": f"yes {words}",
        "rejected": "no",
    } | changed


def text_of(place, **changed):
    return {"id": place, "text": f"{'abcdefghijkl'[place] * 3} words", "label": "ab"[place % 2]} | changed


def write_tokens(folder, ids, end_token, vocab_size):
    """The files of a corpus of one document."""
    stream = np.array([*ids, end_token], dtype=np.uint16)
    facts = {"dtype": "uint16", "vocab_size": vocab_size, "end_token": end_token}
    (folder / FACTS).write_text(json.dumps(facts))
    for split, own in (("train", stream), ("validation", stream[:0])):
        own.tofile(token_path(folder, split))
        np.array([len(own)] if len(own) else [], dtype=END_OFFSET).tofile(ends_path(folder, split))


@pytest.fixture
def checked(tmp_path, stage_run):
    """Run the stage on rows, before there is a model, or on a base; `changed` is by a row's place."""
    tokens = tmp_path / "tokens"
    LETTERS.save_pretrained(tokens / "tokenizer")
    write_tokens(tokens, list(range(20)), LETTERS.eos_token_id, len(LETTERS))

    def check(configs, rows, context=CONTEXT, base=None, **watching):
        folder = tmp_path / "rows"
        folder.mkdir(exist_ok=True)
        for split, members in zip(SPLITS, (rows[:6], rows[6:8], rows[8:]), strict=True):
            write_rows(folder / f"{split}.jsonl", members)
        config = PreflightConfig(pretrain=PretrainConfig(context=context), rows_only=True, **configs)
        run = stage_run(f"run-{base is not None}", **watching)
        inputs = {"base": base} if base else {"tokens": tokens}
        preflight(config, run, rows=folder, **inputs)
        return json.loads((run.out / "preflight.json").read_text())

    return check


def rows_of(training, place=None, **changed):
    make = text_of if training == "classify" else row_of
    return [make(number, **(changed if number == place else {})) for number in range(12)]


@pytest.mark.parametrize("training", PROFILES)
def test_sound_rows_pass_and_no_model_is_needed(checked, training):
    found = checked(PROFILES[training], rows_of(training))
    assert found["verdict"] == "passed"
    trainings = {"finetune": "fine-tuning", "dpo": "preferences", "classify": "classification"}
    assert trainings[training] in {result["training"] for result in found["checks"]}
    assert "pretraining" not in {result["training"] for result in found["checks"]}


@pytest.mark.parametrize(
    ("training", "changed", "fault"),
    [
        ("finetune", {"instruction": "x" * 40}, "finetune: row 3 cannot be trained on: its prompt has"),
        ("dpo", {"instruction": "x" * 40}, "dpo: row 3 cannot be trained on: .* so max_length 60 leaves"),
        ("finetune", {"output": None}, "finetune: train row 3 has no 'output'"),
        ("classify", {"text": "   "}, "classify: train row 3 has no text to classify"),
        ("classify", {"label": None}, "classify: train row 3 holds"),
    ],
)
def test_row_that_cannot_be_trained_on_is_named_with_training(checked, training, changed, fault):
    rows = rows_of(training, 3, **changed)
    rows[3] = {name: value for name, value in rows[3].items() if value is not None}
    with pytest.raises(StageError, match=fault):
        checked(PROFILES[training], rows)


def test_prompt_without_room_for_a_rewarded_answer_is_named(checked):
    trainings = PROFILES["dpo"]["finetune"], GrpoConfig(**SHORT)
    configs = dict(zip(("finetune", "grpo"), trainings, strict=True))
    fault = "grpo: row 3 cannot be answered: its prompt has .* tokens and max_length is 60"
    with pytest.raises(StageError, match=fault):
        checked(configs, rows_of("finetune", 3, instruction="x" * 40))


def test_a_test_row_that_cannot_be_answered_is_named_too(checked):
    """It would be found by the generation, after all trainings."""
    rows = rows_of("finetune", 9, instruction="x" * CONTEXT)
    fault = f"finetune: row 9 of the test split cannot be answered: its prompt has {CONTEXT + PROMPT} tokens"
    with pytest.raises(StageError, match=fault):
        checked(PROFILES["finetune"], rows)


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ("finetune", "finetune: 1 of 8 rows have more than max_length=60 tokens and are cut: "),
        ("dpo", "dpo: 1 of 16 completions have more than max_length=60 tokens and are cut: "),
        ("classify", "classify: 1 of 12 texts have more than max_length=20 tokens and are cut: 10 "),
    ],
)
def test_rows_that_will_be_cut_are_told(checked, training, said):
    told = []
    changed = {"output": "y" * 30, "chosen": "y" * 30, "text": "z" * 30}
    checked(PROFILES[training], rows_of(training, 2, **changed), say=told.append)
    assert [line for line in told if line.startswith(said)] == told


def test_leak_is_refused_before_a_training_that_would_refuse_it(checked):
    rows = rows_of("finetune", 9, instruction=row_of(0)["instruction"])
    with pytest.raises(RefusedError, match=r"splits share no row .test row 9 and train row 0."):
        checked(PROFILES["finetune"], rows)


def test_a_training_that_only_warns_is_not_stopped_before_it(checked):
    rows = rows_of("finetune", 9, instruction=row_of(0)["instruction"])
    assert checked({"finetune": FinetuneConfig(**SHORT, preflight="warn")}, rows)["checks"] == []


def test_the_context_is_that_of_the_base_where_there_is_one(checked, tmp_path):
    shape = GPTConfig(len(LETTERS), 48, layers=1, heads=2, width=16, end_token=LETTERS.eos_token_id)
    GPT(shape).save(tmp_path / "base" / "model")
    LETTERS.save_pretrained(tmp_path / "base" / "model")
    rows = rows_of("finetune", 4, instruction="x" * 20)
    checked(PROFILES["finetune"], rows)
    with pytest.raises(StageError, match=r"finetune: row 4 cannot be trained on: .* so max_length 48 leaves"):
        checked(PROFILES["finetune"], rows, base=tmp_path / "base")


def test_test_row_in_the_corpus_is_refused_before_pretraining(checked, tmp_path):
    rows = rows_of("finetune", 9, instruction="the quick brown fox jumps over")
    ids = LETTERS("and then the quick brown fox jumps over it")["input_ids"]
    write_tokens(tmp_path / "tokens", ids, LETTERS.eos_token_id, len(LETTERS))
    with pytest.raises(RefusedError, match=r"corpus holds no tested row .test row 9, its prompt."):
        checked(PROFILES["finetune"], rows)
