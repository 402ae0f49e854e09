"""The generation room: the prompt that was trained on, and a response that its batch does not change."""

import json
import math
import shutil
import signal
from itertools import chain

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoTokenizer, GenerationConfig

from tasks.batches.supervised import IGNORED, supervise
from tasks.config import GenerateConfig
from tasks.errors import StageError
from tasks.generate import beams, generate
from tasks.generate.decoding import Decoder
from tasks.models.gpt import GPT, GPTConfig
from tasks.record.stage import StageRun
from tasks.rows import write_rows
from tasks.tokenize.stage import characters
from tasks.tokenize.templates import load_template
from tests.runs import die

CONTEXT, NEW = 80, 12
SMALL = GenerateConfig(template="phi3", max_new_tokens=NEW, batch_tokens=4 * 80, device="cpu")
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


def prompt_text(row):
    text = "\n".join(filter(None, [row["instruction"], row["input"]]))
    return f"<|user|>\n{text}<|end|>\n<|assistant|>\n"


def ids_of(tokenizer, row):
    return tokenizer(prompt_text(row), add_special_tokens=False)["input_ids"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Random weights that say something else to each prompt, and come to the end token after some of them.

    The token that ends the most responses at different places takes the place of the end token.
    """
    folder = tmp_path_factory.mktemp("model")
    tokenizer = characters([prompt_text(row) + str(row["output"]) for row in ROWS])
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
            "prompt": prompt_text(row),
            "response": tokenizer.decode(tokens, skip_special_tokens=True).strip(),
            "tokens": len(tokens),
            "cut": tokens[-1] != END,
        }

    return lambda limit=NEW: [respond(row, limit) for row in ROWS]


def responded(config, model, rows, folder, **watching):
    run = StageRun(
        out=folder / "output", auxiliary=folder / "auxiliary", checkpoint=folder / "checkpoint", **watching
    )
    generate(config, run, model=model, rows=rows)
    return run


def responses_in(run):
    lines = (run.out / "responses.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [json.loads(line) for line in lines]


def without_references(run):
    """The fields that decoding decides."""
    return [
        {name: value for name, value in response.items() if not name.startswith("reference_")}
        for response in responses_in(run)
    ]


@pytest.fixture
def batches(monkeypatch):
    """Prompts of each batch that is decoded."""
    seen, decode = [], Decoder.decode

    def recording(decoder, prompts):
        seen.append([prompt.ids for prompt in prompts])
        return decode(decoder, prompts)

    monkeypatch.setattr(Decoder, "decode", recording)
    return seen


@pytest.fixture(scope="module")
def plain(model, rows, tmp_path_factory):
    """One generation with the settings of most tests: the run, the prompts of its batches, its progress."""
    seen, calls, decode = [], [], Decoder.decode

    def recording(decoder, prompts):
        seen.append([prompt.ids for prompt in prompts])
        return decode(decoder, prompts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Decoder, "decode", recording)
        folder = tmp_path_factory.mktemp("plain")
        return responded(SMALL, model, rows, folder, progress=lambda *call: calls.append(call)), seen, calls


def test_case_has_rows_that_end_at_different_places_and_cut_ones(expected):
    lengths = {response["tokens"] for response in expected() if not response["cut"]}
    assert len(lengths) > 1
    assert min(lengths) < NEW
    cut = [response["tokens"] for response in expected() if response["cut"]]
    assert NEW in cut


def test_prompts_are_those_of_training_token_for_token(model, plain):
    """Pitfall 11."""
    _, batches, _ = plain
    template = load_template("phi3", AutoTokenizer.from_pretrained(model / "model"))
    trained_on = []
    for row in ROWS:
        example = supervise(template, row, max_length=1000)
        trained_on.append(example.input_ids[: example.labels.count(IGNORED)])
    assert sorted(ids for batch in batches for ids in batch) == sorted(trained_on)


@pytest.mark.parametrize("batch_tokens", [1, 200, 320, 10_000])
def test_a_response_does_not_depend_on_its_batch(model, rows, tmp_path, expected, batch_tokens):
    """Pitfall 15: padding shifts no position, each row stops by itself, no neighbour takes its room."""
    run = responded(changed(batch_tokens=batch_tokens), model, rows, tmp_path)
    assert without_references(run) == expected()


def test_a_batch_comes_to_no_more_tokens_than_asked_for(plain):
    _, batches, _ = plain
    lengths = [[len(ids) for ids in batch] for batch in batches]
    assert [len(batch) for batch in batches] == [5, 4, 1]
    assert all(len(batch) * (max(batch) + NEW) <= 320 for batch in lengths)
    flat = list(chain(*lengths))
    assert flat == sorted(flat)


def test_a_response_is_cut_exactly_when_the_limit_ended_it(model, rows, tmp_path, expected):
    """A row that comes to its end with its last token is not cut; with one token less it is."""
    ending = max((response for response in expected() if not response["cut"]), key=lambda r: r["tokens"])
    place = next(index for index, row in enumerate(ROWS) if row["id"] == ending["id"])
    for limit, cut in ((ending["tokens"], False), (ending["tokens"] - 1, True)):
        run = responded(changed(max_new_tokens=limit), model, rows, tmp_path / str(limit))
        assert without_references(run) == expected(limit)
        response = responses_in(run)[place]
        assert (response["tokens"], response["cut"]) == (limit, cut)


def test_a_prompt_may_fill_the_context_but_for_one_token(model, tmp_path):
    empty = len(prompt_text({"instruction": "", "input": ""}))
    fits, does_not = ({**ROWS[1], "instruction": "x" * (CONTEXT - empty - left)} for left in (1, 0))
    write_rows(tmp_path / "test.jsonl", [fits])
    (response,) = responses_in(responded(SMALL, model, tmp_path, tmp_path / "fits"))
    assert response["tokens"] == 1
    write_rows(tmp_path / "test.jsonl", [ROWS[0], does_not])
    with pytest.raises(StageError, match=r"row 39 .* its prompt has 80 tokens and the model's context is 80"):
        responded(SMALL, model, tmp_path, tmp_path / "does not")
    assert not (tmp_path / "does not" / "checkpoint" / "responses.jsonl").exists()


def test_a_prompt_without_tokens_is_refused_by_name(model, tmp_path):
    write_rows(tmp_path / "test.jsonl", [ROWS[0], {"id": 7, "instruction": "", "input": "", "output": "a"}])
    with pytest.raises(StageError, match="row 7 cannot be answered: its prompt has no tokens"):
        responded(changed(template="plain"), model, tmp_path, tmp_path)


def test_a_response_ends_at_any_end_token_of_the_model(model, plain, rows, tmp_path):
    """A model may end its turns with another token than its tokenizer ends documents with."""
    ids = {row["id"]: [] for row in ROWS}
    run, _, _ = plain
    for line in (run.checkpoint / "responses.jsonl").read_text().splitlines():
        ids[json.loads(line)["id"]] = json.loads(line)["ids"]
    other = next(response[2] for response in ids.values() if len(response) > 3 and response[2] != END)
    folder = tmp_path / "model"
    shutil.copytree(model / "model", folder)
    GenerationConfig(eos_token_id=[END, other]).save_pretrained(folder)
    again = responded(SMALL, tmp_path, rows, tmp_path / "two")
    for response in responses_in(again):
        whole = ids[response["id"]]
        places = [place for place, token in enumerate(whole) if token in (END, other)]
        assert response["tokens"] == (places[0] + 1 if places else len(whole))
        assert response["cut"] == (not places)


def test_the_summary_counts_what_is_in_the_file(plain, expected):
    run, _, _ = plain
    found = responses_in(run)
    nats = sum(response["reference_loss"] * response["reference_tokens"] for response in found)
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary.pop("reference_perplexity") == pytest.approx(
        math.exp(nats / sum(response["reference_tokens"] for response in found))
    )
    assert summary == {
        "rows": 10,
        "cut": sum(response["cut"] for response in expected()),
        "empty": sum(response["response"] == "" for response in expected()),
        "mean_tokens": sum(response["tokens"] for response in expected()) / 10,
        "reference_cut": 0,
        "decoding": {
            "decoding": "greedy",
            "repetition_penalty": 1.0,
            "max_new_tokens": NEW,
            "precision": "float32",
        },
    }


def test_speed_is_told_beside_the_result_and_not_in_it(plain, expected):
    """Pitfall 19: tokens that were generated, over the time of the decoding."""
    run, _, _ = plain
    speed = json.loads((run.auxiliary / "speed.json").read_text())
    assert speed["tokens"] == sum(response["tokens"] for response in expected())
    assert speed["tokens_per_second"] == pytest.approx(speed["tokens"] / speed["seconds"])
    assert run.metrics["tokens_per_second"] == speed["tokens_per_second"]
    assert sorted(path.name for path in run.out.iterdir()) == ["responses.jsonl", "summary.json"]


def test_progress_tells_rows_and_speed(plain):
    _, _, calls = plain
    decoding = [call for call in calls if "tokens/s" in call[3]]
    assert decoding[-1][:3] == (10, 10, "rows")
    assert all("rows/s" in call[3] for call in decoding)


def test_loading_and_losses_of_references_are_told(model, rows, tmp_path):
    told = []
    responded(changed(batch_tokens=200), model, rows, tmp_path, phase=told.append)
    losses = [what.partition(": ")[2] for what in told[1:]]
    assert told[0] == "loading the model"
    assert losses[-1] == "10 of 10"
    assert len(losses) > 1


# References


@pytest.mark.parametrize("batch_tokens", [1, 150, 10_000])
def test_the_loss_of_a_reference_is_that_of_it_read_alone(model, rows, tmp_path, batch_tokens):
    """With its end token, given the prompt; pitfall 20."""
    network = GPT.load(model / "model")
    template = load_template("phi3", AutoTokenizer.from_pretrained(model / "model"))
    for response in responses_in(responded(changed(batch_tokens=batch_tokens), model, rows, tmp_path)):
        prompt, completion = template.prompt_ids(response), template.completion_ids(response["output"])
        with torch.no_grad():
            logits = network(torch.tensor([prompt + completion]))[0, len(prompt) - 1 : -1]
        assert completion[-1] == END
        loss = F.cross_entropy(logits, torch.tensor(completion)).item()
        assert response["reference_loss"] == pytest.approx(loss, rel=1e-5)
        assert response["reference_tokens"] == len(completion)


def test_a_reference_that_the_context_cuts_is_counted(model, tmp_path):
    room = CONTEXT - len(prompt_text(ROWS[1]))
    write_rows(tmp_path / "test.jsonl", [{**ROWS[1], "output": "a" * length} for length in (room - 1,)])
    run = responded(SMALL, model, tmp_path, tmp_path / "fits")
    assert json.loads((run.out / "summary.json").read_text())["reference_cut"] == 0
    write_rows(tmp_path / "test.jsonl", [{**ROWS[1], "output": "a" * room}])
    run = responded(SMALL, model, tmp_path, tmp_path / "does not")
    assert json.loads((run.out / "summary.json").read_text())["reference_cut"] == 1
    assert responses_in(run)[0]["reference_tokens"] == room


def test_losses_are_of_float32_whatever_the_responses_are_of(model, rows, tmp_path):
    full, half = (
        responses_in(responded(changed(precision=precision), model, rows, tmp_path / precision))
        for precision in ("float32", "bfloat16")
    )
    for one, other in zip(full, half, strict=True):
        assert one["reference_loss"] == other["reference_loss"]


# Other ways to decode


def test_a_sample_is_the_rows_own(model, rows, tmp_path):
    """Another batch, another order, fewer rows: the same responses; another seed: others."""
    sampled = changed(decoding="sample", temperature=1.5, top_k=20, top_p=0.9)
    first = responses_in(responded(sampled, model, rows, tmp_path / "one"))
    write_rows(tmp_path / "test.jsonl", ROWS[::-2])
    some = responses_in(
        responded(sampled.model_copy(update={"batch_tokens": 1}), model, tmp_path, tmp_path / "two")
    )
    assert [response["response"] for response in some] == [response["response"] for response in first[::-2]]
    other = responses_in(responded(sampled.model_copy(update={"seed": 7}), model, rows, tmp_path / "three"))
    assert [one["response"] for one in other] != [one["response"] for one in first]


@pytest.mark.parametrize("batch_tokens", [1, 900, 100_000])
def test_beams_do_not_depend_on_the_batch(model, rows, tmp_path, batch_tokens, monkeypatch):
    alone = responses_in(
        responded(changed(decoding="beam", beams=3, batch_tokens=1), model, rows, tmp_path / "alone")
    )
    sizes, grown = [], beams.grown

    def recording(network, prompts, *others):
        sizes.append(len(prompts))
        return grown(network, prompts, *others)

    monkeypatch.setattr(beams, "grown", recording)
    config = changed(decoding="beam", beams=3, batch_tokens=batch_tokens)
    together = responses_in(responded(config, model, rows, tmp_path / "together"))
    assert together == [
        {**response, "reference_loss": pytest.approx(response["reference_loss"])} for response in alone
    ]
    assert max(sizes) == {1: 1, 900: 5, 100_000: 9}[batch_tokens]


def test_a_beam_finds_a_likelier_response_than_greed(model, rows, tmp_path):
    network = GPT.load(model / "model")
    template = load_template("phi3", AutoTokenizer.from_pretrained(model / "model"))

    def nats(run):
        lines = [json.loads(line) for line in (run.checkpoint / "responses.jsonl").read_text().splitlines()]
        ids, prompts = {line["id"]: line["ids"] for line in lines}, {}
        total = 0.0
        for row in ROWS[:4]:
            prompts[row["id"]] = template.prompt_ids(row)
            whole = torch.tensor([prompts[row["id"]] + ids[row["id"]]])
            with torch.no_grad():
                logits = network(whole)[0, len(prompts[row["id"]]) - 1 : -1]
            total += F.cross_entropy(logits, torch.tensor(ids[row["id"]])).item()
        return total

    greedy = responded(SMALL, model, rows, tmp_path / "greedy")
    beam = responded(changed(decoding="beam", beams=8), model, rows, tmp_path / "beam")
    assert nats(beam) < nats(greedy)


def test_a_model_whose_training_diverged_is_told(model, rows, tmp_path):
    shutil.copytree(model / "model", tmp_path / "model")
    network = GPT.load(tmp_path / "model")
    with torch.no_grad():
        network.transformer["ln_f"].weight.fill_(torch.nan)
    network.save(tmp_path / "model")
    with pytest.raises(StageError, match="no finite numbers: its training diverged"):
        responded(SMALL, tmp_path, rows, tmp_path)


def test_unicode_is_written_as_it_is(plain):
    text = (plain[0].out / "responses.jsonl").read_text(encoding="utf-8")
    assert all(part in text for part in ("»学而时习之«", "naïve", "😀", "a\u2028b", '"output": "Ü3"'))


def test_nothing_is_printed_on_standard_output(model, rows, tmp_path, capfd):
    responded(SMALL, model, rows, tmp_path)
    assert capfd.readouterr().out == ""


# Continued where it was killed


def dying_after(rows_done):
    """Of no rows: after the first references, before any response."""
    if rows_done:
        return {"progress": lambda done, *_: die() if done >= rows_done else None}
    return {"phase": lambda what: die() if what.startswith("losses") else None}


def respond_until(rows_done, config, model, rows, folder):
    torch.set_num_threads(1)
    responded(config, model, rows, folder, **dying_after(rows_done))


@pytest.fixture
def kill(model, rows, tmp_path, processes):
    """Have a generation's process killed when it has done so many rows; its journal."""

    def kill(config, rows_done):
        arguments = (rows_done, config, model, rows, tmp_path)
        process = processes.Process(target=respond_until, args=arguments)
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        journal = tmp_path / "checkpoint" / "responses.jsonl"
        if rows_done:
            assert rows_done <= journal.read_bytes().count(b"\n") < 10
        return journal

    return kill


@pytest.mark.parametrize("rows_done", [2, 7])
def test_a_killed_generation_continues_and_redoes_nothing(
    kill, model, rows, tmp_path, expected, batches, rows_done
):
    """Also within a batch: a row is kept when it is finished, not when its batch is."""
    done = kill(SMALL, rows_done).read_bytes().count(b"\n")
    run = responded(SMALL, model, rows, tmp_path)
    assert without_references(run) == expected()
    assert sum(map(len, batches)) == 10 - done


@pytest.mark.parametrize(
    "settings",
    [{"precision": "bfloat16"}, {"decoding": "sample"}, {"decoding": "beam"}],
    ids=lambda settings: "-".join(settings.values()),
)
def test_a_killed_generation_ends_with_the_same_bytes(kill, model, rows, tmp_path, settings):
    config = changed(**settings)
    kill(config, 2)
    runs = [responded(config, model, rows, folder) for folder in (tmp_path, tmp_path / "uninterrupted")]
    assert len({(run.out / "responses.jsonl").read_bytes() for run in runs}) == 1


@pytest.mark.parametrize("settings", [{"precision": "bfloat16"}, {"decoding": "sample"}])
def test_rounding_sensitive_rows_are_decoded_in_their_batch(kill, model, rows, tmp_path, batches, settings):
    """In fewer rows a sum may round otherwise, and a row end in other bytes than without the kill."""
    kill(changed(**settings), 2)
    responded(changed(**settings), model, rows, tmp_path)
    assert [len(batch) for batch in batches] == [5, 4, 1]


@pytest.mark.parametrize("batch_tokens", [1, 200])
def test_generation_killed_among_references_ends_with_same_bytes(kill, model, rows, tmp_path, batch_tokens):
    config = changed(batch_tokens=batch_tokens)
    kill(config, 0)
    assert (tmp_path / "checkpoint" / "references.jsonl").read_bytes().count(b"\n") == 1
    runs = [responded(config, model, rows, folder) for folder in (tmp_path, tmp_path / "uninterrupted")]
    assert len({(run.out / "responses.jsonl").read_bytes() for run in runs}) == 1


@pytest.mark.parametrize("kept", [1, 20, -1, -2])
def test_a_line_that_the_kill_cut_short_is_written_again(
    kill, model, rows, tmp_path, expected, batches, kept
):
    """Cut after its first byte, within its numbers, before its line end, and before its last brace."""
    journal = kill(SMALL, 7)
    *whole, last = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(whole) + last[:kept])
    assert without_references(responded(SMALL, model, rows, tmp_path)) == expected()
    assert sum(map(len, batches)) == 10 - len(whole)
    assert journal.read_bytes().count(b"\n") == 10


def test_a_finished_journal_decodes_nothing(model, rows, tmp_path, expected, batches):
    responded(SMALL, model, rows, tmp_path)
    count = len(batches)
    assert without_references(responded(SMALL, model, rows, tmp_path)) == expected()
    assert len(batches) == count
