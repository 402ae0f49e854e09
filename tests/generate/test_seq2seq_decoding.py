"""Encoder-decoders: a response is that of the row alone, whatever its batch, and Transformers'."""

import math

import pytest
import torch

from tasks.config import GenerateConfig
from tasks.errors import StageError
from tasks.generate import generate
from tasks.generate.decoding import Prompt
from tasks.generate.references import losses
from tasks.generate.writers import writer_of
from tasks.machine.json_files import read_lines
from tasks.models.seq2seq import target_logits
from tasks.rows import write_rows
from tests.finetune.seq2seq_models import network, seq2seq_in, tokenizer_of
from tests.finetune.tuning import row_of
from tests.runs import stage_run_in, summary_of

KINDS = ("t5", "bart")
ROWS = [row_of(index) for index in (0, 3, 14, 27, 38, 5, 11)]
SETTINGS = {
    "greedy": {},
    "penalized": {"repetition_penalty": 1.3},
    "sample": {"decoding": "sample", "temperature": 0.7, "top_k": 20},
    "beam": {"decoding": "beam", "beams": 3},
}

pytestmark = pytest.mark.usefixtures("one_thread")


def build(kind):
    """A model and its tokenizer; weights are large enough for responses to differ by row."""
    tokenizer = tokenizer_of(kind)
    model = network(kind, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model, tokenizer


def config_of(name, **fields):
    return GenerateConfig(template="plain", max_new_tokens=12, device="cpu", **SETTINGS[name], **fields)


def decoded(kind, name, at_once):
    """The tokens of every row, so many of them decoded together."""
    model, tokenizer = build(kind)
    writer, config, found = writer_of(model, "plain", tokenizer), config_of(name), {}
    prompts = [Prompt(row, ids, writer.limit(ids, 12)) for row, ids in writer.prompts(ROWS).items()]
    for start in range(0, len(prompts), at_once):
        batch = prompts[start : start + at_once]
        finished = (
            writer.search(batch, config.beams) if name == "beam" else writer.decoder(config).decode(batch)
        )
        found |= {prompt.row: ids for rows in finished for prompt, ids in rows}
    return found


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_responses_beside_sources_do_not_depend_on_the_batch(kind, name):
    alone, some, every = (decoded(kind, name, at_once) for at_once in (1, 3, len(ROWS)))
    assert alone == some == every
    assert len({tuple(ids) for ids in alone.values()}) > 1, "the case is to have several responses"


@pytest.mark.parametrize(("name", "beams"), [("greedy", 1), ("beam", 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_responses_are_those_of_transformers(kind, name, beams):
    model, tokenizer = build(kind)
    found = decoded(kind, name, 4)
    for row in ROWS:
        ids = torch.tensor([tokenizer(row["instruction"])["input_ids"]])
        output = model.generate(ids, max_new_tokens=12, num_beams=beams, do_sample=False)[0, 1:].tolist()
        end = tokenizer.eos_token_id
        assert found[row["id"]] == output[: output.index(end) + 1 if end in output else None]


def test_a_forced_first_token_is_the_first():
    model, tokenizer = build("bart")
    model.generation_config.forced_bos_token_id = tokenizer.bos_token_id
    writer = writer_of(model, "plain", tokenizer)
    prompts = [Prompt(row, ids, 5) for row, ids in writer.prompts(ROWS).items()]
    greedy = [ids for rows in writer.decoder(config_of("greedy")).decode(prompts) for _, ids in rows]
    searched = [ids for rows in writer.search(prompts, 3) for _, ids in rows]
    assert {ids[0] for ids in greedy + searched} == {tokenizer.bos_token_id}


@pytest.mark.parametrize("kind", KINDS)
def test_reference_losses_are_the_decoders(kind):
    model, tokenizer = build(kind)
    writer = writer_of(model, "plain", tokenizer)
    prompts = writer.prompts(ROWS)
    asked = [writer.reference(row, prompts[row["id"]]) for row in ROWS]
    with torch.no_grad():
        found = {
            one.row: loss for batch in losses(writer.summed_losses, asked, 10_000) for one, loss in batch
        }
        for row in ROWS:
            source = torch.tensor([tokenizer(row["instruction"])["input_ids"]])
            labels = torch.tensor([tokenizer(row["output"])["input_ids"]])
            expected = model(input_ids=source, labels=labels).loss.item() * labels.shape[1]
            assert found[row["id"]] == pytest.approx(expected, rel=1e-5)
            batch = {"input_ids": source, "attention_mask": torch.ones_like(source), "labels": labels}
            assert target_logits(model, model, batch).shape[1] == labels.shape[1]


@pytest.fixture
def made(tmp_path):
    base = seq2seq_in(tmp_path / "model", "t5")
    rows = tmp_path / "rows"
    rows.mkdir()
    write_rows(rows / "test.jsonl", ROWS)
    return base, rows


def test_the_stage_answers_by_an_encoder_decoder(made, tmp_path):
    base, rows = made
    run = stage_run_in(tmp_path / "run")
    generate(config_of("greedy"), run, model=base, rows=rows)
    responses = read_lines(run.out / "responses.jsonl")
    assert [row["id"] for row in responses] == [row["id"] for row in ROWS]
    assert responses[0]["prompt"] == ROWS[0]["instruction"]
    assert math.isfinite(summary_of(run)["reference_perplexity"])


def test_a_source_beyond_the_context_is_named(tmp_path):
    model, tokenizer = build("bart")
    with pytest.raises(StageError, match=r"row 1 cannot be answered: its source has \d+ tokens"):
        writer_of(model, "plain", tokenizer).prompts([row_of(1) | {"instruction": "fig " * 90}])
