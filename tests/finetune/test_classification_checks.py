"""The checks before classification: each passes what is right and catches what it is for."""

import dataclasses
import math

import pytest
import torch

from tasks.batches.labelled import Text, classifying_tokenizer
from tasks.classify.labels import TASK, mean_loss
from tasks.config import ClassifyConfig
from tasks.models.architectures import longest
from tasks.models.classifier import new_classifier, with_trained_weights
from tasks.preflight.classification import (
    cut_texts,
    initial_loss,
    labels_known,
    no_text_holds_padding,
    only_intended,
    preflight_classification,
    preflight_texts,
    reads_text_alone,
    shares_alike,
)
from tests.finetune.labelled_texts import MODELS, text_rows_in

CONFIG = ClassifyConfig(batch_size=4, max_length=48, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return text_rows_in(tmp_path_factory.mktemp("labelled") / "rows")


@pytest.fixture
def made(families, rows):
    def make(family="gpt2", config=CONFIG):
        tokenizer = classifying_tokenizer(families[family] / "model")
        model = new_classifier(families[family] / "model", ("ham", "spam"), tokenizer, seed=1)
        data = TASK.data(config, tokenizer, TASK.read(rows), longest(model))
        return with_trained_weights(config, model), data

    return make


def checked(model, data, config=CONFIG):
    return preflight_classification(config, model, data, mean_loss)


def verdicts(report):
    return {result.check: result.verdict for result in report.results}


def with_texts(data, **splits):
    return dataclasses.replace(data, texts=data.texts | splits)


@pytest.mark.parametrize(
    ("family", "tune"), [*((family, "last-block") for family in MODELS), ("gpt2", "full"), ("llama", "lora")]
)
def test_sound_classifier_of_every_family_passes_unchanged(made, family, tune):
    config = CONFIG.model_copy(update={"tune": tune})
    model, data = made(family, config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    report = checked(model.train(), data, config)
    assert report.failed == []
    assert verdicts(report)["read at the last token"] == "passed"
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


# Pitfall 16


def read(model, data):
    return reads_text_alone(model, data, data.texts["train"][:4])


@pytest.mark.parametrize("family", MODELS)
def test_pitfall_16_classifier_read_at_its_padding_is_caught(made, family):
    """As it is when the model takes another token for padding, or is told of none and reads the last."""
    model, data = made(family)
    model.config.pad_token_id = 1
    result = read(model, data)
    assert result.verdict == "failed"
    assert result.where.startswith("train row ")


def reading(model, place):
    """The model, its logits taken at the place that `place` gives of an attention mask."""
    forward = model.forward

    def elsewhere(input_ids, attention_mask, **options):
        found = forward(input_ids=input_ids, attention_mask=attention_mask, **options)
        hidden = model.base_model(input_ids, attention_mask=attention_mask).last_hidden_state
        found.logits = model.score(place(hidden, attention_mask))
        return found

    model.forward = elsewhere
    return model


def test_pitfall_16_a_mean_over_all_places_is_caught(made):
    model, data = made()
    result = read(reading(model, lambda hidden, _: hidden.mean(dim=1)), data)
    assert (result.verdict, "in a batch" in result.found) == ("failed", True)


def test_pitfall_16_classifier_read_before_the_end_is_caught(made):
    model, data = made()

    def before_the_last(hidden, mask):
        return hidden[torch.arange(len(hidden)), mask.sum(dim=1) - 2]

    result = read(reading(model, before_the_last), data)
    assert (result.verdict, result.where) == ("failed", "train row 0")
    assert result.found == "another last token does not move the logits: it is not read"


def test_pitfall_16_a_classifier_that_sees_its_padding_is_caught(made):
    """Without the causal mask, what stands behind a text reaches its last token."""
    model, data = made()

    def with_padding(hidden, mask):
        last = hidden[torch.arange(len(hidden)), mask.sum(dim=1) - 1]
        return last + (hidden * (mask == 0)[..., None]).sum(dim=1)

    assert read(reading(model, with_padding), data).verdict == "failed"


def test_pitfall_16_classifier_that_sees_neighbours_is_caught(made):
    model, data = made()

    def with_neighbours(hidden, mask):
        last = hidden[torch.arange(len(hidden)), mask.sum(dim=1) - 1]
        return last + last.mean(dim=0, keepdim=True) - last if len(last) > 1 else last

    assert read(reading(model, with_neighbours), data).verdict == "failed"


def test_pitfall_16_a_text_that_ends_with_the_padding_is_named(made):
    _, data = made()
    padding = data.tokenizer.pad_token_id
    texts = [*data.texts["test"][:1], Text([5, padding], 0, 0)]
    result = no_text_holds_padding(with_texts(data, test=[*texts, *data.texts["test"][2:]]))
    assert (result.verdict, result.where) == ("failed", f"test row {data.rows['test'][1]['id']}")


# What is trained, and how it begins


@pytest.mark.parametrize(
    ("tune", "change", "where"),
    [
        ("last-block", ("transformer.wte.weight", True), "transformer.wte.weight"),
        ("last-block", ("score.weight", False), "score.weight"),
        ("full", ("transformer.h.0.ln_1.bias", False), "transformer.h.0.ln_1.bias"),
    ],
)
def test_a_weight_that_is_trained_or_frozen_by_mistake_is_named(made, tune, change, where):
    config = CONFIG.model_copy(update={"tune": tune})
    model, _ = made(config=config)
    name, trained = change
    model.get_parameter(name).requires_grad_(trained)
    result = only_intended(config, model)
    assert (result.verdict, result.where) == ("failed", where)


def test_adapters_beside_a_trained_backbone_are_caught(made):
    config = CONFIG.model_copy(update={"tune": "lora"})
    model, _ = made(config=config)
    model.get_base_model().transformer.wte.weight.requires_grad_(True)
    assert only_intended(config, model).where.endswith("transformer.wte.weight")


@pytest.mark.parametrize("scale", [1e4, math.nan])
def test_a_head_that_does_not_begin_by_guessing_is_caught(made, scale):
    model, data = made()
    assert initial_loss(model, data, data.texts["train"][:4], mean_loss).verdict == "passed"
    model.score.weight.data *= scale
    assert initial_loss(model, data, data.texts["train"][:4], mean_loss).verdict == "failed"


def test_a_model_that_nothing_of_is_trained_does_not_learn(made):
    model, data = made()
    model.requires_grad_(False)
    failed = {result.check for result in checked(model, data).failed}
    assert failed == {"only the intended weights are trained", "learns one batch"}


# The rows


def test_a_label_that_no_training_row_has_is_named(made):
    _, data = made()
    unknown = dataclasses.replace(data, labels=("ham", "spam", "threat"))
    texts = [*data.texts["test"][:3], dataclasses.replace(data.texts["test"][3], label=2)]
    assert labels_known(unknown).verdict == "passed"
    result = labels_known(with_texts(unknown, test=[*texts, *data.texts["test"][4:]]))
    assert (result.verdict, result.where) == ("failed", f"test row {data.rows['test'][3]['id']}")


def test_label_shares_are_noted_and_unlike_ones_pointed_at(made):
    _, data = made()
    assert shares_alike(data).where == ""
    ham = [text for text in data.texts["test"] if text.label == 0]
    result = shares_alike(with_texts(data, test=ham))
    assert (result.verdict, result.where) == ("info", "test: ham, test: spam")
    assert "train ham 52.0%, spam 48.0%" in result.found


def test_a_text_that_stands_in_two_splits_is_named(made):
    _, data = made()
    copied = data.rows["train"][2] | {"id": 500}
    leaking = dataclasses.replace(
        data,
        rows=data.rows | {"test": [copied]},
        texts=data.texts | {"test": [data.texts["train"][2]]},
    )
    (failed,) = preflight_texts(leaking).failed
    assert (failed.check, failed.where) == ("splits share no row", "test row 500 and train row 2")


def test_cut_texts_are_noted(made):
    _, data = made(config=CONFIG.model_copy(update={"max_length": 5}))
    result = cut_texts(data)
    every = [text for texts in data.texts.values() for text in texts]
    cut, lost = sum(text.lost > 0 for text in every), sum(text.lost for text in every)
    total = sum(len(text.input_ids) for text in every) + lost
    assert result.verdict == "info"
    assert result.found.startswith(f"{cut} of {len(every)} texts, {lost} of {total} tokens")
    assert cut > 0
