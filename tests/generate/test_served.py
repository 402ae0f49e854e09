"""Responses of a server's model: asked with the training's prompt, resumed, and never another model's."""

import pytest
import torch
from transformers import AutoTokenizer

from tasks.config import GenerateConfig
from tasks.errors import StageError, UnreachableError
from tasks.generate import generate
from tasks.machine.json_files import read_json, read_lines
from tasks.models.gpt import GPT, GPTConfig
from tasks.record.work import Reference
from tasks.rows import write_rows
from tasks.servers.served_model import fingerprints
from tasks.tokenize.stage import characters
from tasks.tokenize.templates import load_template
from tests.completion_server import CompletionServer

CONTEXT, MODEL = 120, CompletionServer.models[0]
ROWS = [
    {"id": index, "instruction": text, "input": "", "output": "yes"}
    for index, text in enumerate(["Say yes", "Is <|endoftext|> a word?", "And now?"])
]

pytestmark = pytest.mark.usefixtures("quick_judges")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tokenizer = characters(["".join(map(chr, range(32, 127))) + "\n"])
    torch.manual_seed(1)
    GPT(GPTConfig(len(tokenizer), CONTEXT, layers=1, heads=1, width=8, end_token=0)).save(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_rows(folder / "test.jsonl", ROWS)
    return folder


@pytest.fixture
def prompts(model):
    return load_template("phi3", AutoTokenizer.from_pretrained(model / "model")).prompts_ids(ROWS)


def config(server, **fields):
    own = {"template": "phi3", "max_new_tokens": 9, "backend": "openai", "model": MODEL, "concurrency": 1}
    return GenerateConfig(**own | {"base_url": server.url} | fields)


def generated(run, folder, server, **fields):
    generate(config(server, **fields), run, model=folder, rows=folder)
    return read_lines(run.out / "responses.jsonl")


def test_the_prompt_is_sent_as_the_tokens_of_the_training(model, prompts, stage_run):
    with CompletionServer() as server:
        found = generated(run := stage_run(), model, server)
    _probe, *asked = server.bodies
    assert [body["prompt"] for body in asked] == prompts
    assert asked[0] | {"prompt": []} == {
        "model": MODEL,
        "prompt": [],
        "max_tokens": 9,
        "temperature": 0,
        "top_p": 1,
        "top_k": 0,
        "min_p": 0,
    }
    assert [row["response"] for row in found] == [f"answer {len(ids)}" for ids in prompts]
    assert [(row["tokens"], row["cut"]) for row in found] == [(3, False)] * 3
    assert "reference_loss" not in found[0]
    summary = read_json(run.out / "summary.json")
    assert (summary["reference_perplexity"], summary["served"]["model"]) == (None, MODEL)
    assert summary["decoding"] == {"decoding": "greedy", "max_new_tokens": 9}


def test_sampling_draws_by_a_seed_of_each_row(model, stage_run):
    with CompletionServer() as server:
        generated(stage_run(), model, server, decoding="sample", temperature=0.7, top_k=5, top_p=0.9)
    _probe, *asked = server.bodies
    assert {(body["temperature"], body["top_k"], body["top_p"]) for body in asked} == {(0.7, 5, 0.9)}
    assert len({body["seed"] for body in asked}) == 3


def test_a_server_that_takes_no_tokens_is_sent_the_text(model, stage_run):
    tokenizer = AutoTokenizer.from_pretrained(model / "model")
    rows = [ROWS[0]]
    write_rows((one := stage_run("one").out) / "test.jsonl", rows)
    text = load_template("phi3", tokenizer).prompt(ROWS[0])
    count = load_template("phi3", tokenizer).prompts_ids(rows)[0]
    with CompletionServer(takes_tokens=False, count=lambda _: len(count)) as server:
        generate(config(server), run := stage_run(), model=model, rows=one)
    assert [body["prompt"] for body in server.bodies] == [text, text]
    assert read_json(run.out / "summary.json")["served"]["prompts"] == "text"


@pytest.mark.parametrize("options", [{"begins": 1}, {"takes_tokens": False, "count": lambda _: 7}])
def test_another_prompt_than_that_of_the_training_is_refused(model, stage_run, options):
    with (
        CompletionServer(**options) as server,
        pytest.raises(StageError, match=r"row 0: the prompt has \d+ tokens, and the server .* read \d+ tok"),
    ):
        generated(stage_run(), model, server)


def test_a_killed_stage_asks_for_the_rest_alone(model, stage_run):
    with CompletionServer(troubles=[]) as server:
        server.words = lambda _: (
            "early" if len(server.bodies) < 3 else server.troubles.append("context") or ""
        )
        with pytest.raises(StageError, match="refuses the prompt: 400 the request exceeds"):
            generated(stage_run(), model, server)
        server.words, asked = lambda _: "late", len(server.bodies)
        found = generated(stage_run(), model, server)
        assert len(server.bodies) == asked + 2  # a probe, and the row that was left
    assert [row["response"] for row in found] == ["early", "", "late"]


def test_passing_trouble_is_tried_again(model, stage_run):
    with CompletionServer(troubles=["429", "500"]) as server:
        assert len(generated(stage_run(), model, server)) == 3


def test_a_server_that_stays_away_is_told_as_such(model, stage_run):
    with CompletionServer() as server:
        away = config(server)
    with pytest.raises(UnreachableError, match=r"no server answers at .* Set generate\.base_url"):
        generate(away, stage_run(), model=model, rows=model)


def test_the_length_limit_cuts(model, stage_run):
    with CompletionServer(reason="length") as server:
        assert all(row["cut"] for row in generated(stage_run(), model, server))


def test_without_a_name_the_model_is_asked_for_by_its_digest(model, stage_run):
    digest = "0123456789abcdef" * 4
    known = Reference(stage="finetune", run_id="1", key="2", digest=digest, uri="file:///")
    with CompletionServer() as server:
        run = stage_run(references={"model": known})
        with pytest.raises(
            StageError, match=r"has no model '0123456789ab'; it has .* Serve this model under"
        ):
            generated(run, model, server, model=None)
        server.models = (digest[:12],)
        assert len(generated(run, model, server, model=None)) == 3
        assert fingerprints(config(server, model=None)) == {}


def test_another_model_behind_the_name_is_another_key(model, stage_run, tmp_path):
    with CompletionServer() as server:
        first = fingerprints(config(server))
        server.entry = {"root": "another"}
        second = fingerprints(config(server))
        assert first.keys() == second.keys() == {"served"}
        assert first != second
        run = stage_run(fingerprints=first)
        with pytest.raises(StageError, match=r"has another model as .* than when this stage was started"):
            generated(run, model, server)
        path = tmp_path / "model.gguf"
        digests = []
        for content in (b"a", b"b"):
            path.write_bytes(content)
            server.models = (str(path),)
            digests.append(fingerprints(config(server, model=str(path))))
        assert digests[0] != digests[1]


def test_nothing_is_asked_of_a_server_where_the_model_is_here():
    assert fingerprints(GenerateConfig()) == {}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": "http://gpu/v1"}, "base_url: set, but not used by backend: process"),
        (
            {"backend": "openai", "repetition_penalty": 1.2},
            "repetition_penalty: set, but not used by backend",
        ),
        ({"backend": "openai", "precision": "bfloat16"}, "precision: set, but not used by backend: openai"),
        ({"backend": "openai", "decoding": "beam"}, "beam is not in OpenAI's protocol"),
        ({"backend": "openai", "base_url": "http://me:secret@gpu/v1"}, "kept in the clear"),
    ],
)
def test_settings_that_nothing_would_use_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        GenerateConfig(**fields)


def test_a_profile_for_this_process_may_have_a_server():
    config = GenerateConfig(backend="openai", batch_tokens=16_384, device="cpu")
    assert (config.in_process, config.batch_tokens) == (False, 16_384)
