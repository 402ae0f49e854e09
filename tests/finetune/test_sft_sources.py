"""The validation loss on each source of instruction rows that were mixed."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.models.loading import load_tokenizer
from tasks.models.summary import SOURCE_LOSS
from tasks.report.training import sources_losses_text
from tasks.rows import MIXED_FROM, load_split
from tests.finetune.test_sft import changed
from tests.finetune.tuning import (
    CONTEXT,
    base_in,
    history_in,
    mixed_rows_in,
    rows_in,
    supervised,
    tuned,
    word_tokenizer,
)
from tests.runs import summary_of

SOURCES = ["own.json", "own.json", "more (2).json", "own.json", None, "more (2).json", "more (2).json"]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_in(tmp_path_factory.mktemp("base"), word_tokenizer(), dropout=0.1)


@pytest.fixture(scope="module")
def plain_rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("plain") / "rows")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """The same, of which validation names sources; one row is of none."""
    return mixed_rows_in(tmp_path_factory.mktemp("mixed") / "rows", SOURCES)


@pytest.fixture(scope="module", params=[False, True], ids=["rows", "packed"])
def trained(request, base, rows, tmp_path_factory):
    return tuned(changed(packing=request.param), base, rows, tmp_path_factory.mktemp("trained"))


def loss_of(run, rows, source):
    """The mean loss a token of the rows of a source, each read alone."""
    model = AutoModelForCausalLM.from_pretrained(run.out / "model").double().eval()
    members = [row for row in load_split(rows, "validation") if source in (None, row.get(MIXED_FROM))]
    losses = []
    for example in supervised(load_tokenizer(run.out / "model"), members, CONTEXT):
        with torch.no_grad():
            log_probs = model(torch.tensor([example.input_ids])).logits[0].log_softmax(dim=-1)
        places = [place for place, label in enumerate(example.labels) if label >= 0]
        losses += [-log_probs[place - 1, example.labels[place]].item() for place in places]
    return sum(losses) / len(losses)


def test_loss_of_a_source_is_that_of_its_rows_alone(trained, rows):
    summary = summary_of(trained)
    expected = {name: loss_of(trained, rows, name) for name in ("own.json", "more (2).json")}
    assert summary["source_losses"] == pytest.approx(expected, rel=1e-5)
    assert summary["best_validation_loss"] == pytest.approx(loss_of(trained, rows, None), rel=1e-5)


def test_every_evaluation_measures_each_source_of_rows(trained):
    count = len(history_in(trained, "validation_loss"))
    for name in ("own.json", "more (2).json"):
        assert len(history_in(trained, f"{SOURCE_LOSS}{name}")) == count > 1
    assert not history_in(trained, SOURCE_LOSS)


def test_rows_of_no_mixture_have_no_losses_by_source(base, plain_rows, tmp_path):
    run = tuned(changed(epochs=0.5), base, plain_rows, tmp_path)
    assert "source_losses" not in summary_of(run)
    assert sources_losses_text(summary_of(run)) == ""


def test_loss_of_a_source_has_a_name_that_mlflow_takes(trained):
    assert f"{SOURCE_LOSS}more _2_.json" in trained.metrics
    told = sources_losses_text(summary_of(trained))
    assert told.startswith("validation loss of the kept weights by source: of own.json ")
