"""The checks of a masked language model: each passes what is right and catches what it is for."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM

from tasks.batches.masked import MaskedRow, MaskedSequences, Masking
from tasks.config import PretrainConfig
from tasks.data.token_files import IGNORED, Split, load_tokens
from tasks.models.architectures import build_model
from tasks.models.loading import load_tokenizer
from tasks.models.masked import MaskedModel
from tasks.preflight.masked import (
    labels_are_masked,
    loss_of_labels,
    mask_rate,
    padding_ignored,
    replacements,
    rows_supervised,
    sees_both_sides,
    special_stay,
)
from tasks.preflight.model import initial_loss
from tasks.preflight.pretraining import preflight_pretraining
from tests.pretrain.training import tokens_of

VOCABULARY, START, END, MASK, PAD = 50, 48, 0, 49, 1
MASKING = Masking(0.15, START, END, MASK, PAD, np.isin(np.arange(VOCABULARY), [0, 1, 48, 49]))
IDS = torch.randint(2, 48, (1, 24), generator=torch.Generator().manual_seed(3))
OTHERS = (MASK, 2)

pytestmark = pytest.mark.usefixtures("one_thread")


def bert(kind=MaskedModel, scale=1.0, **fields):
    torch.manual_seed(1)
    shape = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.02 * scale}
    return kind(BertForMaskedLM(BertConfig(**shape | fields)))


@pytest.fixture(scope="module")
def rows():
    draw = np.random.default_rng(1)
    tokens = draw.integers(2, 48, 4000).astype(np.uint16)
    tokens[99::100] = END
    split = Split(tokens, np.arange(100, 4001, 100))
    return MaskedSequences(split, MASKING, 32, 123, apart=True).rows(300)


def changed(rows, number, **fields):
    """The rows with one of them changed: `fields` are (place, value) of its arrays."""
    row = rows[number]
    arrays = {}
    for name, (place, value) in fields.items():
        arrays[name] = getattr(row, name).copy()
        arrays[name][place] = value
    return [*rows[:number], dataclasses.replace(row, **arrays), *rows[number + 1 :]]


def unlabelled(row):
    return int(np.flatnonzero((row.labels == IGNORED) & ~MASKING.special[row.original])[0])


# The model


def test_encoder_that_sees_both_sides_passes():
    assert sees_both_sides(bert(), IDS, OTHERS).verdict == "passed"


def test_causal_encoder_is_caught():
    """BERT set up as a decoder: a token does not see those after it, and so cannot be filled in."""
    found = sees_both_sides(bert(is_decoder=True), IDS, OTHERS)
    assert found.verdict == "failed"
    assert found.where == "what stands before a token does not see it"


class PaddingSeen(MaskedModel):
    """The padding's mask is lost on its way to the model."""

    def forward(self, input_ids, labels=None, *, documents=None, per_label=False):
        return super().forward(input_ids, labels, per_label=per_label)


def test_padding_that_is_seen_is_caught():
    assert padding_ignored(bert(), IDS, PAD).verdict == "passed"
    found = padding_ignored(bert(PaddingSeen), IDS, PAD)
    assert found.verdict == "failed"
    assert found.where.startswith("token ")


def test_initial_loss_of_wild_weights_is_caught(rows):
    batch = MASKING.collate(rows[:4], 32)
    assert initial_loss(bert(), batch, "random").verdict == "passed"
    assert initial_loss(bert(scale=60), batch, "random").verdict == "failed"


class Shifted(MaskedModel):
    """Labels are shifted, as of a model that predicts the next token."""

    def forward(self, input_ids, labels=None, *, documents=None, per_label=False):
        labels = None if labels is None else labels.roll(-1, dims=1)
        return super().forward(input_ids, labels, documents=documents, per_label=per_label)


def test_shifted_labels_are_caught(rows):
    batch = MASKING.collate(rows[:4], 32)
    assert loss_of_labels(bert(), batch).verdict == "passed"
    found = loss_of_labels(bert(Shifted, scale=20), batch)
    assert (found.verdict, found.where) == ("failed", "the model's loss")


# What is masked


def test_right_masks_pass_every_check(rows):
    found = [labels_are_masked(rows), rows_supervised(rows)]
    found += [check(rows, MASKING) for check in (special_stay, mask_rate, replacements)]
    assert [result.verdict for result in found] == ["passed"] * 5


def test_label_that_is_not_what_stood_there_is_caught(rows):
    place = int(np.flatnonzero(rows[3].labels != IGNORED)[0])
    found = labels_are_masked(changed(rows, 3, labels=(place, (rows[3].labels[place] - 1) % 40 + 2)))
    assert (found.verdict, found.where) == ("failed", f"row 3, token {place}")


def test_masked_token_without_a_label_is_caught(rows):
    place = unlabelled(rows[2])
    found = labels_are_masked(changed(rows, 2, inputs=(place, MASK)))
    assert (found.verdict, found.where) == ("failed", f"row 2, token {place}")


def test_labels_outside_the_mask_are_caught(rows):
    """Every token has its label, as where labels are a copy of the inputs: most of them are to be seen."""
    every = [MaskedRow(row.original, row.inputs, row.original) for row in rows]
    assert mask_rate(every, MASKING).verdict == "failed"
    assert replacements(every, MASKING).verdict == "failed"
    assert special_stay(every, MASKING).verdict == "failed"


@pytest.mark.parametrize("place", [0, -1])
def test_masked_special_token_is_caught(rows, place):
    found = special_stay(
        changed(rows, 1, inputs=(place, MASK), labels=(place, rows[1].original[place])), MASKING
    )
    assert (found.verdict, found.where.partition(",")[0]) == ("failed", "row 1")


def test_special_token_in_place_of_another_is_caught(rows):
    place = int(np.flatnonzero(rows[1].labels != IGNORED)[0])
    assert special_stay(changed(rows, 1, inputs=(place, PAD)), MASKING).verdict == "failed"


@pytest.mark.parametrize("rate", [0.12, 0.19])
def test_another_mask_rate_is_caught(rows, rate):
    wanted = dataclasses.replace(MASKING, rate=rate)
    assert mask_rate(rows, wanted).verdict == "failed"


def test_word_masked_in_part_is_caught():
    whole = dataclasses.replace(MASKING, words=_Pairs())
    row = whole.row(np.arange(2, 12), np.random.default_rng(1))
    assert mask_rate([row] * 2, dataclasses.replace(whole, rate=0.2)).verdict == "passed"
    place = int(np.flatnonzero(row.labels != IGNORED)[0])
    (halved,) = changed([row], 0, labels=(place, IGNORED))
    assert mask_rate([halved], whole).where == "row 0"


class _Pairs:
    """Every two tokens are a word."""

    def begins(self, tokens):
        return np.arange(len(tokens)) % 2 == 1


def test_only_masks_and_no_random_tokens_is_caught(rows):
    masked = [
        dataclasses.replace(row, inputs=np.where(row.labels != IGNORED, MASK, row.inputs)) for row in rows
    ]
    found = replacements(masked, MASKING)
    assert (found.verdict, found.where) == ("failed", "masked, random, kept")


def test_row_without_a_label_is_caught(rows):
    bare = dataclasses.replace(rows[0], labels=np.full_like(rows[0].labels, IGNORED))
    assert rows_supervised([rows[1], bare]).where == "row 1"


# All of them


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("masking", ["tokens", "words"])
def test_a_masked_training_passes_its_checks(tmp_path, apart, masking):
    texts = [f"the cat number {number} sat on mat {number * 7}" for number in range(200)]
    tokens = tokens_of(texts, tmp_path, mask_token=True)
    config = PretrainConfig(
        objective="masked",
        architecture="bert",
        size="2x2x16",
        context=16,
        document_mask=apart,
        masking=masking,
    )
    files = load_tokens(tokens)
    report = preflight_pretraining(
        build_model(config, files), load_tokenizer(tokens / "tokenizer"), files, config, torch.device("cpu")
    )
    assert [result.check for result in report.failed] == []
    assert {"mask rate", "80/10/10", "sees both sides", "padding does not matter"} <= {
        result.check for result in report.results if result.verdict == "passed"
    }
    first = next(result for result in report.results if result.check == "initial loss")
    assert f"{math.log(files.vocab_size):.3f}" in first.expected
    assert "trained on" in report.examples["pretraining"]


def test_model_that_learns_nothing_is_caught(tmp_path):
    """Its weights are frozen."""
    tokens = tokens_of(["the cat sat on the mat"] * 30, tmp_path, mask_token=True)
    config = PretrainConfig(objective="masked", architecture="bert", size="1x1x8", context=16)
    files = load_tokens(tokens)
    model: nn.Module = build_model(config, files).requires_grad_(False)
    report = preflight_pretraining(
        model, load_tokenizer(tokens / "tokenizer"), files, config, torch.device("cpu")
    )
    assert "learns one batch" in [result.check for result in report.failed]
