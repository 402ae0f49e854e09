"""The generation room: the prompt that was trained on, and a response that its batch does not change."""

import json
import multiprocessing
import os
import signal

import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from tasks.config import GenerateConfig
from tasks.errors import StageError
from tasks.finetune.supervised import IGNORED, supervise
from tasks.generate import generate
from tasks.gpt import GPT, GPTConfig
from tasks.record import StageRun
from tasks.rows import write_rows
from tasks.templates import PHI3
from tasks.tokenize import characters

CONTEXT, NEW = 80, 12
SMALL = GenerateConfig(template="phi3", max_new_tokens=NEW, batch_size=4, device="cpu")
END = 0

# Of many lengths and in no order of length; the last leaves the context no room for NEW tokens.
INSTRUCTIONS = [
    "Translate »学而时习之« into English",
    "Hi",
    "Say naïve, twice",
    "a\u2028b",
    "Which 😀 is it?",
    "Count to three, then stop",
    "ab",
    "What is one and one and one?",
    "Name a fig",
    "x" * 44,
]
ROWS = [
    {"id": 40 - index, "instruction": text, "input": "Eingabe" * (index == 2), "output": f"Ü{index}"}
    for index, text in enumerate(INSTRUCTIONS)
]


pytestmark = pytest.mark.usefixtures("one_thread")


def changed(**fields):
    return GenerateConfig(**SMALL.model_dump() | fields)


def ids_of(tokenizer, row):
    return tokenizer(PHI3.prompt(row), add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights that say something else to each prompt, and come to the end token after some of them.

    The token that ends the most responses at different places takes the place of the end token.
    """
    folder = tmp_path_factory.mktemp("model")
    tokenizer = characters([PHI3.prompt(row) + str(row["output"]) for row in ROWS])
    torch.manual_seed(5)
    network = GPT(GPTConfig(len(tokenizer), CONTEXT, layers=2, heads=2, width=32, end_token=END))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    prompts = [ids_of(tokenizer, row) for row in ROWS]
    free = [network.continue_greedily(torch.tensor([ids]), NEW)[0, len(ids) :].tolist() for ids in prompts]
    usable = set(range(3, len(tokenizer))) - {token for ids in prompts for token in ids}
    ends = max(usable, key=lambda token: len({ids.index(token) for ids in free if token in ids}))
    embedding = network.transformer["wte"].weight
    with torch.no_grad():
        embedding[[END, ends]] = embedding[[ends, END]].clone()
    network.save(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    write_rows(folder / "test.jsonl", ROWS)
    return folder


@pytest.fixture(scope="module")
def expected(model):
    """Each row alone, by the model of this project instead of that of transformers, and its tokens."""
    network = GPT.load(model / "model")
    tokenizer = AutoTokenizer.from_pretrained(model / "model")

    def respond(row, limit):
        ids = ids_of(tokenizer, row)
        tokens = network.continue_greedily(torch.tensor([ids]), limit)[0, len(ids) :].tolist()
        return {
            **row,
            "prompt": PHI3.prompt(row),
            "response": tokenizer.decode(tokens, skip_special_tokens=True).strip(),
            "tokens": len(tokens),
            "cut": tokens[-1] != END,
        }

    return lambda limit=NEW: [respond(row, limit) for row in ROWS]


def responded(config, model, rows, folder, **watching):
    run = StageRun(
        out=folder / "output", aside=folder / "aside", checkpoint=folder / "checkpoint", **watching
    )
    generate(config, run, model=model, rows=rows)
    return run


def responses_in(run):
    lines = (run.out / "responses.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


@pytest.fixture
def batches(monkeypatch):
    """Prompts of each batch that is decoded, without their padding."""
    seen, decode = [], GPT2LMHeadModel.generate

    def recording(network, input_ids, attention_mask, **kwargs):
        seen.append([ids[mask.bool()].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)])
        return decode(network, input_ids=input_ids, attention_mask=attention_mask, **kwargs)

    monkeypatch.setattr(GPT2LMHeadModel, "generate", recording)
    return seen


def test_the_case_has_rows_that_end_at_different_places_and_rows_that_are_cut(expected):
    lengths = {response["tokens"] for response in expected() if not response["cut"]}
    assert len(lengths) > 1
    assert min(lengths) < NEW
    cut = [response["tokens"] for response in expected() if response["cut"]]
    assert NEW in cut


def test_prompts_are_those_of_training_token_for_token(model, rows, tmp_path, batches):
    """Pitfall 11."""
    responded(SMALL, model, rows, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(model / "model")
    trained_on = []
    for row in ROWS:
        example = supervise(tokenizer, PHI3, row, max_length=1000)
        trained_on.append(example.input_ids[: example.labels.count(IGNORED)])
    assert sorted(ids for batch in batches for ids in batch) == sorted(trained_on)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_a_response_does_not_depend_on_its_batch(model, rows, tmp_path, expected, batch_size):
    """Pitfall 15: padding shifts no position, each row stops by itself, no neighbour takes its room."""
    run = responded(changed(batch_size=batch_size), model, rows, tmp_path)
    assert responses_in(run) == expected()


def test_batches_are_full_where_the_context_leaves_room(model, rows, tmp_path, batches):
    responded(SMALL, model, rows, tmp_path)
    assert sorted(map(len, batches)) == [1, 1, 4, 4]
    lengths = [len(ids) for batch in batches for ids in batch]
    assert lengths == sorted(lengths)


def test_a_response_is_cut_exactly_when_the_limit_ended_it(model, rows, tmp_path, expected):
    """A row that comes to its end with its last token is not cut; with one token less it is."""
    ending = max((response for response in expected() if not response["cut"]), key=lambda r: r["tokens"])
    place = next(index for index, row in enumerate(ROWS) if row["id"] == ending["id"])
    for limit, cut in ((ending["tokens"], False), (ending["tokens"] - 1, True)):
        run = responded(changed(max_new_tokens=limit), model, rows, tmp_path / str(limit))
        assert responses_in(run) == expected(limit)
        assert (responses_in(run)[place]["tokens"], responses_in(run)[place]["cut"]) == (limit, cut)


def test_a_prompt_may_fill_the_context_but_for_one_token(model, tmp_path):
    empty = len(PHI3.prompt({"instruction": "", "input": ""}))
    fits, does_not = ({**ROWS[1], "instruction": "x" * (CONTEXT - empty - left)} for left in (1, 0))
    write_rows(tmp_path / "test.jsonl", [fits])
    (response,) = responses_in(responded(SMALL, model, tmp_path, tmp_path / "fits"))
    assert response["tokens"] == 1
    write_rows(tmp_path / "test.jsonl", [ROWS[0], does_not])
    with pytest.raises(StageError, match=r"row 39 .* its prompt has 80 tokens and the model's context is 80"):
        responded(SMALL, model, tmp_path, tmp_path / "does not")
    assert not (tmp_path / "does not" / "checkpoint" / "responses.jsonl").exists()


def test_the_summary_counts_what_is_in_the_file(model, rows, tmp_path, expected):
    run = responded(SMALL, model, rows, tmp_path)
    found = expected()
    assert json.loads((run.out / "summary.json").read_text()) == {
        "rows": 10,
        "cut": sum(response["cut"] for response in found),
        "empty": sum(response["response"] == "" for response in found),
        "mean_tokens": sum(response["tokens"] for response in found) / 10,
    }


def test_unicode_is_written_as_it_is(model, rows, tmp_path):
    text = (responded(SMALL, model, rows, tmp_path).out / "responses.jsonl").read_text(encoding="utf-8")
    assert all(part in text for part in ("»学而时习之«", "naïve", "😀", "a\u2028b", '"output": "Ü3"'))


def test_nothing_is_printed_on_standard_output(model, rows, tmp_path, capfd):
    responded(SMALL, model, rows, tmp_path)
    assert capfd.readouterr().out == ""


# Continued where it was killed


def dying_after(rows_done):
    def watch(done, *_):
        if done >= rows_done:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def respond_until(rows_done, model, rows, folder):
    torch.set_num_threads(1)
    responded(SMALL, model, rows, folder, progress=dying_after(rows_done))


@pytest.fixture
def killed(model, rows, tmp_path):
    """A generation whose process was killed after two of its batches; the file of what it had done."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.pretrain.stage", "tasks.finetune.sft"])
    process = context.Process(target=respond_until, args=(8, model, rows, tmp_path))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    journal = tmp_path / "checkpoint" / "responses.jsonl"
    assert journal.read_bytes().count(b"\n") == 8
    return journal


def test_a_killed_generation_continues_and_redoes_nothing(killed, model, rows, tmp_path, expected, batches):
    progress = []
    run = responded(SMALL, model, rows, tmp_path, progress=lambda done, *_: progress.append(done))
    assert responses_in(run) == expected()
    assert [len(batch) for batch in batches] == [1, 1]
    assert progress == [9, 10]


@pytest.mark.parametrize("kept", [1, 40, -1, -2])
def test_a_line_that_the_kill_cut_short_is_written_again(
    killed, model, rows, tmp_path, expected, batches, kept
):
    """Cut after its first byte, within its text, before its line end, and before its last brace."""
    *whole, last = killed.read_bytes().splitlines(keepends=True)
    killed.write_bytes(b"".join(whole) + last[:kept])
    assert responses_in(responded(SMALL, model, rows, tmp_path)) == expected()
    assert sum(map(len, batches)) == 3
    assert killed.read_bytes().count(b"\n") == 10


def test_a_line_cut_within_a_character_is_written_again(killed, model, rows, tmp_path, expected):
    data = killed.read_bytes()
    killed.write_bytes(data[: data.rfind("Ü".encode()) + 1])
    assert responses_in(responded(SMALL, model, rows, tmp_path)) == expected()


def test_a_finished_journal_decodes_nothing(model, rows, tmp_path, expected, batches):
    responded(SMALL, model, rows, tmp_path)
    count = len(batches)
    assert responses_in(responded(SMALL, model, rows, tmp_path)) == expected()
    assert len(batches) == count
