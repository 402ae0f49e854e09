"""The preflight: each check passes what is right and catches what it is for, by row, token or layer."""

import dataclasses
import json
import math
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel

from tasks.batches.blocks import Batch, batch_at
from tasks.batches.tuning import sft_data
from tasks.config import FinetuneConfig, PretrainConfig
from tasks.data.token_files import IGNORED, Split, TokenFiles
from tasks.errors import RefusedError
from tasks.models.gpt import GPT, GPTConfig
from tasks.preflight import require, stream
from tasks.preflight.document import document
from tasks.preflight.example import decoded
from tasks.preflight.labels import check_labels
from tasks.preflight.model import (
    causality,
    initial_loss,
    learns_one_batch,
    own_loss,
    packed_equals_separate,
)
from tasks.preflight.pretraining import preflight_pretraining
from tasks.preflight.report import CheckResult, Report, refuse
from tasks.preflight.splits import documents_apart, rows_apart
from tasks.preflight.tuning import preflight_finetuning, preflight_rows
from tasks.rows import Alike, load_groups, write_groups, write_rows
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tasks.tokenize.stage import characters

VOCABULARY, TIME = 50, 32
CPU = torch.device("cpu")
INPUTS = torch.randint(0, VOCABULARY, (4, TIME), generator=torch.Generator().manual_seed(3))
LABELS = torch.randint(0, VOCABULARY, (4, TIME), generator=torch.Generator().manual_seed(4))
BATCH = Batch(INPUTS, LABELS)
DOCUMENTS = torch.tensor([[0] * 9 + [1] * 1 + [2] * 14 + [3] * 8])


pytestmark = pytest.mark.usefixtures("one_thread")


def gpt(kind=GPT, dropout=0.1, **fields):
    torch.manual_seed(1)
    shape = {"vocab_size": VOCABULARY, "context": 64, "layers": 3, "heads": 2, "width": 16} | fields
    return kind(GPTConfig(dropout=dropout, end_token=0, **shape))


def verdicts(report):
    return {result.check: result.verdict for result in report.results}


# Models


def leak_in(layer):
    """A model one of whose layers also reads the next position: attention that sees one token ahead."""
    model = gpt()
    block = model.transformer["h"][layer]
    forward = block.forward
    block.forward = lambda x, mask, cache: forward(x + 0.1 * F.pad(x, (0, 0, 0, 1))[:, 1:], mask, cache)
    return model


def test_a_model_that_sees_only_what_came_before_is_causal():
    assert causality(gpt(), INPUTS[:1]).verdict == "passed"
    assert causality(gpt(), INPUTS[:1], DOCUMENTS).verdict == "passed"


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_pitfall_12_leak_is_caught_and_its_layer_and_token_named(layer):
    result = causality(leak_in(layer), INPUTS[:1])
    assert result.verdict == "failed"
    assert result.where == f"layer transformer.h.{layer}, token 1 seen from 0"


def test_a_leak_of_the_mask_between_documents_is_caught(monkeypatch):
    """The mask of documents is another one than that of a whole row."""
    whole = lambda documents: documents[:, None, :, None] == documents[:, None, None, :]  # noqa: E731
    monkeypatch.setattr("tasks.models.causal.mask_between", whole)
    assert causality(gpt(), INPUTS[:1]).verdict == "passed"
    result = causality(gpt(), INPUTS[:1], DOCUMENTS)
    assert (result.verdict, result.where) == ("failed", "layer transformer.h.0, token 1 seen from 0")


class LeakyEmbedding(nn.Embedding):
    def forward(self, ids):
        found = super().forward(ids)
        return found + found.roll(-1, dims=1)


class LeakyHead(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x) + x.mean(dim=1, keepdim=True)


def test_a_leak_outside_the_layers_is_told_from_one_inside():
    model = gpt()
    model.transformer["wte"].__class__ = LeakyEmbedding
    assert causality(model, INPUTS[:1]).where.startswith("the embedding, before the first layer, token 1")
    model = gpt()
    model.transformer["ln_f"].__class__ = LeakyHead
    assert causality(model, INPUTS[:1]).where.startswith("the head, after the last layer, token 1")


def test_model_that_does_not_read_its_input_is_not_called_causal():
    model = gpt()
    model.transformer["wte"].weight.data[:] = model.transformer["wte"].weight.data[0].clone()
    result = causality(model, INPUTS[:1])
    assert (result.verdict, result.where) == ("failed", "token 1")


def test_random_weights_cost_about_as_much_as_guessing():
    result = initial_loss(gpt(), BATCH, "random")
    assert result.verdict == "passed"
    assert f"ln(50) = {math.log(50):.3f}" in result.expected


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_weights_ten_or_fifty_times_too_large_cost_more(weights):
    model = gpt()
    model.transformer["wte"].weight.data *= 50
    assert initial_loss(model, BATCH, weights).verdict == "failed"


def trained(model):
    """A model that knows the batch by heart."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        (model(BATCH.inputs, BATCH.labels) / BATCH.labels.numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_a_loss_far_below_guessing_is_no_random_models():
    """Labels that stand in the input would look like this too."""
    model = trained(gpt(dropout=0))
    assert initial_loss(model, BATCH, "random").verdict == "failed"
    assert initial_loss(model, BATCH, "pretrained").verdict == "passed"


def test_loss_of_an_earlier_stage_is_noted_unless_not_a_number():
    model = gpt()
    model.transformer["wte"].weight.data *= 50
    assert initial_loss(model, BATCH, "base").verdict == "info"
    model.transformer["wte"].weight.data[:] = math.nan
    assert initial_loss(model, BATCH, "base").verdict == "failed"


class ShiftsAgain(GPT):
    def forward(self, input_ids, labels=None, **options):
        if labels is None:
            return super().forward(input_ids, **options)
        logits = super().forward(input_ids, **options)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def test_a_model_that_shifts_labels_a_second_time_is_caught():
    assert own_loss(gpt(), BATCH).verdict == "passed"
    result = own_loss(gpt(ShiftsAgain), BATCH)
    assert (result.verdict, result.where) == ("failed", "the model's loss")


class IgnoresDocuments(GPT):
    def forward(self, input_ids, labels=None, **_):
        return super().forward(input_ids, labels)


def test_pitfall_13_packed_documents_give_logits_of_each_alone():
    result = packed_equals_separate(gpt(), INPUTS[:1], DOCUMENTS)
    assert (result.verdict, result.found.split(":")[0]) == ("passed", "4 documents in 32 tokens")


def test_pitfall_13_documents_that_see_each_other_are_caught():
    result = packed_equals_separate(gpt(IgnoresDocuments), INPUTS[:1], DOCUMENTS)
    assert result.verdict == "failed"
    assert result.where.startswith(("document 1,", "document 2,", "document 3,"))


def test_pitfall_13_positions_that_go_on_counting_are_caught(monkeypatch):
    running = lambda documents: torch.arange(documents.shape[1]).expand_as(documents)  # noqa: E731
    monkeypatch.setattr("tasks.models.causal.positions_within", running)
    assert packed_equals_separate(gpt(), INPUTS[:1], DOCUMENTS).verdict == "failed"


def test_mask_that_lets_a_document_see_the_one_before_is_caught(monkeypatch):
    triangle = lambda documents: torch.ones(1, 1, TIME, TIME, dtype=torch.bool).tril()  # noqa: E731
    monkeypatch.setattr("tasks.models.causal.mask_between", triangle)
    assert packed_equals_separate(gpt(), INPUTS[:1], DOCUMENTS).verdict == "failed"


@pytest.mark.parametrize("shape", [{}, {"layers": 1, "heads": 1, "width": 8}, {"width": 256, "heads": 4}])
def test_every_size_learns_one_batch_and_is_left_as_it_was(shape):
    model = gpt(**shape).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    assert learns_one_batch(model, BATCH).verdict == "passed"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


def test_frozen_parameters_are_named():
    model = gpt().requires_grad_(False)
    result = learns_one_batch(model, BATCH)
    assert result.verdict == "failed"
    assert result.where.startswith("without a gradient: transformer.wte.weight, transformer.wpe.weight, ")


class Unheard(GPT):
    """Its loss is not of what its layers compute."""

    def forward(self, input_ids, labels=None, **options):
        found = super().forward(input_ids, labels, **options)
        return found if labels is None else found.detach() + 0 * self.transformer["wpe"].weight.sum()


def test_a_loss_that_no_gradient_flows_from_is_caught():
    result = learns_one_batch(gpt(Unheard), BATCH)
    assert result.verdict == "failed"
    assert "transformer.wte.weight" in result.where


def test_a_loss_that_becomes_no_number_is_caught():
    model = gpt()
    model.transformer["ln_f"].weight.data[0] = math.inf
    result = learns_one_batch(model, BATCH)
    assert (result.verdict, result.found) == ("failed", "the loss became nan at step 0")


def test_without_memory_the_check_is_skipped_and_says_so(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    result = learns_one_batch(gpt(), BATCH)
    assert result.verdict == "skipped"
    assert "0.0 GB are free" in result.found


# Streams of tokens: the letters a to f are 3 to 8, the end token is 0


LETTERS = characters(["abcdef"])


def split_of(*documents):
    ids = [LETTERS(text)["input_ids"] + [0] for text in documents]
    return Split(np.concatenate(ids).astype(np.uint16), np.cumsum([len(i) for i in ids]).astype("<u8"))


def letters(seed, length):
    return "".join(np.random.default_rng(seed).choice(list("abcdef"), length))


TRAIN = split_of(*(letters(seed, 40 + seed) for seed in range(20)))
VALIDATION = split_of(*(letters(seed, 60) for seed in (101, 102)))
FILES = TokenFiles(len(LETTERS), 0, {}, TRAIN, VALIDATION)


def changed_token(split, place, token):
    tokens = split.tokens.copy()
    tokens[place] = token
    return Split(tokens, split.ends)


def sampled(split=TRAIN, apart=False):
    starts = stream.sampled_starts(split, TIME, 16)
    return starts, batch_at(split, starts, TIME, apart)


def test_documents_of_the_stream_end_with_the_end_token():
    assert stream.every_document_ends(FILES, LETTERS).verdict == "passed"


def test_pitfall_6_a_document_without_its_end_token_is_named():
    end = int(TRAIN.ends[3])
    broken = dataclasses.replace(FILES, train=changed_token(TRAIN, end - 1, 5))
    result = stream.every_document_ends(broken, LETTERS)
    assert (result.verdict, result.where) == ("failed", f"train document 3, token {end - 1}")
    assert "'c'" in result.found


def test_tokens_of_another_tokenizer_are_caught():
    result = stream.every_document_ends(dataclasses.replace(FILES, end_token=1), LETTERS)
    assert (result.verdict, result.where) == ("failed", "tokens.json")


@pytest.mark.parametrize("apart", [False, True])
def test_end_tokens_are_labels_and_labels_are_the_next_tokens(apart):
    starts, batch = sampled(apart=apart)
    assert stream.ends_are_labels(TRAIN, starts, batch, 0).verdict == "passed"
    assert stream.labels_follow(TRAIN, starts, batch).verdict == "passed"
    assert stream.blocks_supervised(batch).verdict == "passed"


def test_pitfall_7_a_masked_end_token_is_named():
    starts, batch = sampled()
    row, column = (batch.labels == 0).nonzero()[0].tolist()
    broken = Batch(batch.inputs, batch.labels.masked_fill(batch.labels == 0, IGNORED))
    result = stream.ends_are_labels(TRAIN, starts, broken, 0)
    assert (result.verdict, result.where) == ("failed", f"block {row}, token {column}")
    assert result.found.endswith("the first is masked")


def test_labels_that_are_shifted_twice_or_not_at_all_are_caught():
    starts, batch = sampled()
    for labels in (batch.inputs, batch.labels.roll(-1, dims=1)):
        result = stream.labels_follow(TRAIN, starts, Batch(batch.inputs, labels))
        assert result.verdict == "failed"
        assert result.where.startswith("block 0, token ")


def test_one_wrong_label_is_named():
    starts, batch = sampled()
    labels = batch.labels.clone()
    labels[3, 7] = (labels[3, 7] + 1) % 8
    assert stream.labels_follow(TRAIN, starts, Batch(batch.inputs, labels)).where == "block 3, token 7"


def test_pitfall_8_a_block_without_a_label_is_named():
    batch = Batch(INPUTS, LABELS.clone())
    batch.labels[2] = IGNORED
    result = stream.blocks_supervised(batch)
    assert (result.verdict, result.where) == ("failed", "block 2")


def pretraining(files=FILES, model=None, **fields):
    config = PretrainConfig(size="3x2x16", context=TIME, **fields)
    model = model or gpt(vocab_size=len(LETTERS))
    return preflight_pretraining(model, LETTERS, files, config, CPU)


@pytest.mark.parametrize("document_mask", [False, True])
def test_a_sound_pretraining_passes_and_leaves_no_trace(document_mask):
    model = gpt(vocab_size=len(LETTERS))
    state = torch.get_rng_state()
    report = pretraining(model=model, document_mask=document_mask)
    assert report.failed == []
    packed = verdicts(report)["packed equals separate"]
    assert packed == ("passed" if document_mask else "skipped")
    assert torch.equal(torch.get_rng_state(), state)
    assert pretraining(model=model, document_mask=document_mask) == report


def test_whole_preflight_of_a_leaking_model_fails_by_that_alone():
    model = gpt(vocab_size=len(LETTERS))
    block = model.transformer["h"][1]
    forward = block.forward
    block.forward = lambda x, mask, cache: forward(x + 0.1 * F.pad(x, (0, 0, 0, 1))[:, 1:], mask, cache)
    assert [result.check for result in pretraining(model=model).failed] == ["causality"]


def test_documents_of_one_token_have_nothing_to_predict():
    files = dataclasses.replace(FILES, train=split_of(*[""] * 80))
    result = next(
        p for p in pretraining(files, document_mask=True).failed if p.check == "every row is supervised"
    )
    assert result.where == "block 0"
    assert verdicts(pretraining(files, document_mask=True))["learns one batch"] == "skipped"


# Splits

SENTENCE = (
    "The old keeper of the lighthouse climbed its narrow stairs every evening before the sun went down and "
)
SENTENCE += (
    "lit the great lamp so that ships which passed the rocks at night would see where the harbour began"
)


def asked(number, instruction, output=None):
    return {"id": number, "instruction": instruction, "input": "", "output": output or f"Answer {number}."}


SPLITS = {
    "train": [asked(1, "Add 12 and 35."), asked(2, SENTENCE)],
    "validation": [asked(3, "Add 12 and 36.")],
    "test": [asked(4, "Add 12 and 37."), asked(5, "Name a fruit.")],
}


def test_splits_that_share_no_row_pass():
    assert [result.verdict for result in rows_apart(SPLITS)] == ["passed"] * 3


def test_pitfall_2_an_exact_duplicate_is_named():
    exact, near, _ = rows_apart(SPLITS | {"test": [asked(9, "x"), asked(7, " add 12  and 35.")]})
    assert (exact.verdict, exact.where) == ("failed", "test row 7 and train row 1")
    assert near.verdict == "passed"


def test_pitfall_2_a_near_duplicate_is_named():
    exact, near, _ = rows_apart(SPLITS | {"validation": [asked(8, SENTENCE.replace("great ", "") + "!")]})
    assert exact.verdict == "passed"
    assert (near.verdict, near.where) == ("failed", "validation row 8 and train row 2")


def test_pitfall_27_a_reworded_question_is_named():
    """One word more makes no new question where the answer is the same."""
    exact, near, _ = rows_apart(SPLITS | {"test": [asked(6, "Please add 12 and 35.", "Answer 1.")]})
    assert exact.verdict == "passed"
    assert (near.verdict, near.where) == ("failed", "test row 6 and train row 1")


def test_pitfall_26_conversation_across_splits_is_named():
    first = asked(6, "Who wrote it?", "Nobody knows.")
    said = [{"role": "user", "content": "Who wrote it?"}, {"role": "assistant", "content": "Nobody knows."}]
    later = asked(7, "And when?") | {"messages": said}
    exact, near, source = rows_apart(SPLITS | {"train": [first], "test": [later]})
    assert (exact.verdict, near.verdict) == ("passed", "passed")
    assert (source.verdict, source.where) == ("failed", "test row 7 and train row 6")
    *_, known = rows_apart({"train": [asked(1, "a b")], "test": [asked(2, "c d")]}, Alike(sources=[[1, 2]]))
    assert (known.verdict, known.where) == ("failed", "test row 2 and train row 1")


def test_rows_that_are_alike_within_one_split_share_nothing():
    rows = SPLITS | {"train": [asked(1, "Add 1 and 3."), asked(2, "add 1 and 3")]}
    assert [result.verdict for result in rows_apart(rows)] == ["passed"] * 3


def test_known_groups_replace_near_likeness_and_never_exact():
    """Rows are alike by the rows stage's word alone; that it says nothing does not hide the same prompt."""
    exact, near, _ = rows_apart(SPLITS, Alike([[2, 77, 5], [3, 3]]))
    assert exact.verdict == "passed"
    assert (near.verdict, near.where) == ("failed", "test row 5 and train row 2")
    exact, near, _ = rows_apart(SPLITS | {"test": [asked(7, " add 12  and 35.")]}, Alike())
    assert (exact.verdict, near.verdict) == ("failed", "passed")


def test_rows_altered_since_the_comparison_are_compared_again(tmp_path):
    for name, rows in SPLITS.items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
    assert load_groups(tmp_path) is None
    write_groups(tmp_path, Alike())
    assert load_groups(tmp_path) == Alike([], [])
    leaking = [*SPLITS["validation"], asked(8, SENTENCE.replace("great ", "") + "!")]
    write_rows(tmp_path / "validation.jsonl", leaking)
    assert load_groups(tmp_path) is None
    _, near, _ = rows_apart(SPLITS | {"validation": leaking}, load_groups(tmp_path))
    assert near.verdict == "failed"


def test_groups_found_by_another_rule_are_found_anew(tmp_path, monkeypatch):
    for name, rows in SPLITS.items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
    write_groups(tmp_path, Alike())
    monkeypatch.setattr("tasks.rows.groups.NEAR_DUPLICATES", 0)
    assert load_groups(tmp_path) is None


def test_fine_tuning_preflight_does_not_compare_the_rows_again(data, tmp_path, monkeypatch):
    write_groups(tmp_path, Alike())
    known = sft_data(TUNE, TUNE_LETTERS, tmp_path, 64)
    monkeypatch.setattr("tasks.preflight.splits.prompt_groups", None)
    assert preflight_rows(known).failed == []
    with pytest.raises(TypeError):
        preflight_rows(data)  # written before the groups were


def test_documents_that_stand_in_both_splits_are_named():
    exact, near = documents_apart(TRAIN, split_of(letters(101, 60), letters(7, 47)))
    assert (exact.verdict, exact.where) == ("failed", "validation document 1 and train document 7")
    assert near.verdict == "passed"


def test_a_document_that_nearly_stands_in_train_is_named():
    copied = letters(19, 59)
    exact, near = documents_apart(TRAIN, split_of(letters(101, 60), "f" + copied))
    assert exact.verdict == "passed"
    assert (near.verdict, near.where) == ("failed", "validation document 1, 98% of it in train")


def test_a_document_half_of_which_is_in_train_is_another():
    half = letters(19, 59)[:30] + letters(200, 30)
    assert [result.verdict for result in documents_apart(TRAIN, split_of(half))] == ["passed", "passed"]


def test_few_near_duplicates_among_many_documents_are_noted():
    many = split_of("f" + letters(19, 59), *(letters(seed, 40) for seed in range(1000, 1150)))
    exact, near = documents_apart(TRAIN, many)
    assert (exact.verdict, near.verdict) == ("passed", "info")
    assert near.found == "1 of 151 validation documents"


def test_documents_are_found_across_the_borders_of_chunks(monkeypatch):
    monkeypatch.setattr("tasks.preflight.ngrams.CHUNK", 7)
    _, near = documents_apart(TRAIN, split_of("f" + letters(19, 59)))
    assert near.where == "validation document 0, 98% of it in train"


def test_nothing_that_is_held_out_is_nowhere_else():
    results = documents_apart(TRAIN, Split(TRAIN.tokens[:0], TRAIN.ends[:0]))
    assert [result.verdict for result in results] == ["skipped", "skipped"]


def test_a_corpus_that_repeats_itself_says_what_to_do():
    _, near = documents_apart(split_of("abcdef" * 30), split_of("abcdef" * 5))
    assert near.verdict == "failed"
    assert near.found.startswith("1 of 1 validation documents, for the corpus repeats itself: add text")
    assert "tokenize.validation=0" in near.found


def test_short_documents_recur_by_nature():
    results = documents_apart(split_of("abc", "abc"), split_of("abc"))
    assert [result.verdict for result in results] == ["skipped", "skipped"]


# Rows for fine-tuning

TUNE = FinetuneConfig(template="phi3", max_length=100, batch_size=2, device="cpu")
INSTRUCTIONS = {
    "train": [
        {"id": 10, "instruction": "ab", "input": "", "output": "cd"},
        {"id": 11, "instruction": "abc", "input": "f", "output": "cdef"},
        {"id": 12, "instruction": "ef", "input": "", "output": "c" * 90},
    ],
    "validation": [{"id": 13, "instruction": "fa", "input": "", "output": "e"}],
    "test": [{"id": 14, "instruction": "bb", "input": "", "output": "e"}],
}
TUNE_LETTERS = characters(["abcdef<|user|>\n<|end|><|assistant|>"])


@pytest.fixture
def data(tmp_path):
    for name, rows in INSTRUCTIONS.items():
        write_rows(tmp_path / f"{name}.jsonl", rows)
    return sft_data(TUNE, TUNE_LETTERS, tmp_path, 64)


def broken_labels(data, split, place, change):
    """The data with the labels of one row changed in place by `change(labels, input_ids)`."""
    rows = [dict(row) for row in data.datasets[split]]
    change(rows[place]["labels"], rows[place]["input_ids"])
    return dataclasses.replace(data, datasets=data.datasets | {split: rows})


def failed_labels(data):
    results, _ = check_labels(data)
    return {result.check: result.where for result in results if result.verdict == "failed"}


def hugging_face(vocabulary):
    torch.manual_seed(1)
    shape = GPTConfig(vocab_size=vocabulary, context=64, layers=2, heads=2, width=16, end_token=0)
    return GPT2LMHeadModel(shape.to_hugging_face())


def plain_loss(model, batch):
    return model(**batch).loss


def test_sound_rows_and_their_model_pass(data):
    report = preflight_finetuning(hugging_face(len(TUNE_LETTERS)), data, plain_loss)
    assert report.failed == []
    assert verdicts(report)["cut by the context"] == "info"
    cut = next(result for result in report.results if result.check == "cut by the context")
    lost = 90 + 1 + len("<|user|>\nef<|end|>\n<|assistant|>\n") - 64
    assert cut.found.startswith(f"1 of 4 rows, {lost} of ")


def test_a_trainer_whose_loss_shifts_twice_is_caught(data):
    def twice(model, batch):
        return model(**batch | {"labels": batch["labels"].roll(-1, dims=1)}).loss

    report = preflight_finetuning(hugging_face(len(TUNE_LETTERS)), data, twice)
    assert [result.check for result in report.failed] == ["labels shift once: model"]


def test_pitfall_6_a_row_without_its_end_token_is_named(data):
    def cut(labels, input_ids):
        del labels[-1], input_ids[-1]

    assert failed_labels(broken_labels(data, "train", 1, cut)) == {"end token": "train row 11"}


def test_pitfall_7_collator_that_masks_padding_by_id_is_caught(data):
    """With GPT-2's tokenizer the padding is the end token."""
    data.tokenizer.pad_token, before = data.tokenizer.eos_token, data.tokenizer.pad_token
    collate = dataclasses.replace(data.collator, pad_token_id=0)

    def by_id(examples):
        batch = collate(examples)
        return batch | {"labels": batch["labels"].masked_fill(batch["input_ids"] == 0, IGNORED)}

    try:
        assert failed_labels(dataclasses.replace(data, collator=collate)) == {}
        broken = failed_labels(dataclasses.replace(data, collator=by_id))
    finally:
        data.tokenizer.pad_token = before
    assert broken == {
        "end token": "train row 10 and 2 more",
        "prompt as configured": "train row 10 and 2 more",
    }, "train row 12 is cut, and has no end"


def test_cut_row_that_teaches_to_stop_all_the_same_is_named(data):
    def end(labels, input_ids):
        input_ids[-1] = labels[-1] = TUNE_LETTERS.eos_token_id

    assert failed_labels(broken_labels(data, "train", 2, end)) == {"end token": "train row 12"}


def test_pitfall_6_rows_that_are_all_cut_never_teach_to_stop(tmp_path):
    for name, rows in INSTRUCTIONS.items():
        write_rows(tmp_path / f"{name}.jsonl", [row | {"output": "c" * 90} for row in rows])
    (result, *_), _ = check_labels(sft_data(TUNE, TUNE_LETTERS, tmp_path, 64))
    assert (result.check, result.verdict) == ("end token", "failed")
    assert result.found == "all 4 rows are cut, so no end is learned; raise max_length"


def test_padding_that_is_trained_on_is_caught(data):
    def unmasked(examples):
        batch = data.collator(examples)
        return batch | {"labels": batch["labels"].where(batch["attention_mask"] == 1, 1)}

    found = failed_labels(dataclasses.replace(data, collator=unmasked))
    assert found == {"end token": "train row 10"}, "the one row that is padded"


def test_pitfall_8_a_row_without_a_label_is_named(data):
    def mask(labels, _):
        labels[:] = [IGNORED] * len(labels)

    found = failed_labels(broken_labels(data, "validation", 0, mask))
    assert found["every row is supervised"] == "validation row 13"


def test_a_label_on_the_first_token_alone_trains_nothing(data):
    def first_only(labels, input_ids):
        labels[:] = [input_ids[0], *[IGNORED] * (len(labels) - 1)]

    assert "every row is supervised" in failed_labels(broken_labels(data, "train", 2, first_only))


def test_pitfall_9_a_prompt_that_is_trained_on_is_named(data):
    def unmask(labels, input_ids):
        labels[:] = input_ids

    assert failed_labels(broken_labels(data, "train", 1, unmask)) == {"prompt as configured": "train row 11"}


def test_pitfall_9_one_token_of_prompt_or_completion_too_many(data):
    start = data.examples["train"][1].labels.count(IGNORED)

    def early(labels, input_ids):
        labels[start - 1] = input_ids[start - 1]

    def late(labels, _):
        labels[start] = IGNORED

    for change in (early, late):
        assert failed_labels(broken_labels(data, "train", 1, change)) == {
            "prompt as configured": "train row 11"
        }


def test_pitfall_11_rows_of_another_template_are_caught(data):
    other = dataclasses.replace(
        data.template, chat_template=data.template.chat_template.replace("<|end|>", "")
    )
    found = failed_labels(dataclasses.replace(data, template=other))
    assert found == {"prompt as configured": "train row 10 and 3 more"}


def test_labels_that_are_shifted_already_are_caught(data):
    def shift(labels, _):
        labels[:] = [*labels[1:], IGNORED]

    found = failed_labels(broken_labels(data, "train", 0, shift))
    assert found["labels shift once: data"] == "train row 10"


def test_a_leaking_test_row_fails_the_rows(data):
    rows = data.rows | {"test": [{"id": 14, "instruction": "AB", "input": "", "output": "e"}]}
    report = preflight_rows(dataclasses.replace(data, rows=rows))
    assert [result.where for result in report.failed] == ["test row 14 and train row 10"]


# The report


def test_the_example_shows_what_is_trained_on(data):
    report = preflight_rows(data)
    assert report.examples["fine-tuning"].splitlines() == [
        "train row 10",
        "read only  │<│|│u│s│e│r│|│>│\\n│a│b│<│|│e│n│d│|│>│\\n│<│|│a│s│s│i│s│t│a│n│t│|│>│\\n│",
        "trained on │c│d│<|endoftext|>│",
        "padding    │<|pad|>│<|pad|>│<|pad|>│<|pad|>│<|pad|>│",
    ]


def test_a_long_run_is_shown_by_its_ends():
    text = decoded(LETTERS, [3] * 100 + [0], [True] * 101)
    assert (
        text == f"trained on │{'│'.join(['a'] * 24)}│… 53 more tokens …│{'│'.join(['a'] * 23)}│<|endoftext|>│"
    )


GOOD = CheckResult("causality", "passed", "nothing moved", "nothing moves", training="pretraining")
BAD = CheckResult("end token", "failed", "a | b", "an <end>", "train row 3", training="fine-tuning")


def test_checks_read_the_same_in_markdown_and_terminal():
    skipped = CheckResult("a second one", "skipped", "there is none", "some", training="fine-tuning")
    report = Report((GOOD, skipped, BAD), {"fine-tuning": "trained on │a│"})
    told = document(report.as_json())
    markdown = as_markdown(told)
    assert "**1 of 3 checks failed** (1 failed, 1 passed, 1 skipped)" in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert rows[-2] == r"| end token | failed | a \| b | an \<end\> | train row 3 |"
    assert rows[-1].startswith("| a second one | skipped |")
    assert "```text\ntrained on │a│\n```" in markdown
    file = StringIO()
    show(told, Console(file=file, width=120))
    for word in (BAD.check, BAD.found, BAD.expected, BAD.where, GOOD.check, GOOD.found, "trained on │a│"):
        assert word in file.getvalue()


def test_a_report_comes_back_from_json():
    report = Report((GOOD, BAD), {"pretraining": "trained on │a│"})
    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report


def test_a_preflight_without_checks_is_a_document_all_the_same():
    assert "No check failed" in as_markdown(document({"checks": []}))


def test_no_check_shows_a_secret(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-indeed")
    result = dataclasses.replace(GOOD, found="sk-very-secret-indeed")
    assert "indeed" not in as_markdown(document(Report((result,)).as_json()))


def test_a_refusal_names_every_failed_check_and_where():
    report = Report((GOOD, BAD, dataclasses.replace(BAD, where="row 4")))
    with pytest.raises(RefusedError) as raised:
        refuse(report, "refuse")
    assert raised.value.exit_status == 3
    told = str(raised.value)
    assert told.startswith(
        "2 of 3 checks failed. fine-tuning, end token (train row 3): found a | b, expected"
    )
    assert "(row 4)" in told
    refuse(report, "warn")
    refuse(Report((GOOD,)), "refuse")


def test_failed_check_is_shown_then_refused_and_nothing_is_kept(stage_run):
    pages = []
    run = stage_run(show=lambda *page: pages.append(page))
    with pytest.raises(RefusedError):
        require(run, "refuse", lambda: Report((BAD,)))
    assert [(key, description) for key, _, description in pages] == [("preflight", "Preflight: failed")]
    assert "train row 3" in pages[0][1]
    assert [*run.out.iterdir(), *run.checkpoint.iterdir()] == []


def test_a_later_attempt_takes_over_what_the_first_one_checked(stage_run):
    first = stage_run()
    require(first, "refuse", lambda: Report((GOOD,)))
    written = (first.out / "preflight.json").read_bytes()
    (first.out / "preflight.json").unlink()
    again = stage_run()

    def not_again():
        raise AssertionError("checked a second time")

    assert require(again, "refuse", not_again) == Report((GOOD,))
    assert (again.out / "preflight.json").read_bytes() == written


def test_warnings_are_refused_when_that_is_asked_for(stage_run):
    require(stage_run(), "warn", lambda: Report((BAD,)))
    with pytest.raises(RefusedError):
        require(stage_run(), "refuse", lambda: Report((GOOD,)))


def test_table_and_page_are_in_mlflow_of_a_refused_stage_too(tracking, stage_run):
    run_id = tracking.client.create_run(tracking.experiment_id).info.run_id
    run = stage_run(tracking=tracking, run_id=run_id)
    with pytest.raises(RefusedError):
        require(run, "refuse", lambda: Report((GOOD, BAD)))
    names = {artifact.path for artifact in tracking.client.list_artifacts(run_id)}
    assert {"preflight.json", "preflight.md"} <= names


def test_each_check_is_told_before_it_is_made(data):
    told = []
    pretraining_of = PretrainConfig(size="3x2x16", context=TIME)
    preflight_pretraining(gpt(vocab_size=len(LETTERS)), LETTERS, FILES, pretraining_of, CPU, told.append)
    assert told == [
        "check 1 of 11: causality",
        "check 2 of 11: initial loss",
        "check 3 of 11: labels shift once: model",
        "check 4 of 11: learns one batch",
        "check 5 of 11: end token",
        "check 6 of 11: end token is supervised",
        "check 7 of 11: every row is supervised",
        "check 8 of 11: labels shift once: data",
        "check 9 of 11: packed equals separate",
        "check 10 of 11: splits share no document",
        "check 11 of 11: cut by the context",
    ]
    told.clear()
    preflight_finetuning(hugging_face(len(TUNE_LETTERS)), data, plain_loss, told.append)
    assert told == [
        "check 1 of 9: causality",
        "check 2 of 9: initial loss",
        "check 3 of 9: labels shift once: model",
        "check 4 of 9: learns one batch",
        "check 5 of 9: corpus holds no tested row",
        "check 6 of 9: labels of every row",
        "check 7 of 9: splits share no row",
        "check 8 of 9: cut by the context",
        "check 9 of 9: text comes back",
    ]
