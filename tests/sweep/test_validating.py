"""A trained model's loss on held-out rows, one by one, against each row read alone in float64."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from tasks.config import FinetuneConfig, ValidateConfig
from tasks.models.loading import load_tokenizer
from tasks.rows import load_split, write_rows
from tasks.sweep.outputs import RowValues
from tasks.sweep.validating import validate
from tests.finetune.tuning import CONTEXT, base_in, rows_in, supervised, word_tokenizer
from tests.runs import stage_run_in

TUNED = FinetuneConfig(template="phi3", max_length=CONTEXT, batch_size=4, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def base(tmp_path):
    return base_in(tmp_path / "base", word_tokenizer(), dropout=0.1)


@pytest.fixture
def rows(tmp_path):
    return rows_in(tmp_path / "rows")


def loss_of(base, rows, split):
    """The summed loss and the number of the supervised tokens of each row."""
    model = AutoModelForCausalLM.from_pretrained(base / "model").double().eval()
    found = []
    for example in supervised(load_tokenizer(base / "model"), load_split(rows, split), CONTEXT):
        with torch.no_grad():
            log_probs = model(torch.tensor([example.input_ids])).logits[0].log_softmax(dim=-1)
        learned = [place for place, label in enumerate(example.labels) if label >= 0]
        loss = -sum(log_probs[place - 1, example.labels[place]].item() for place in learned)
        found.append((loss, len(learned)))
    return found


def validated(base, rows, folder, **asked):
    run = stage_run_in(folder)
    validate(ValidateConfig(finetune=TUNED, **asked), run, model=base, rows=rows)
    return RowValues.read(run.out)


def test_losses_of_rows_are_those_of_each_alone(base, rows, tmp_path):
    found = validated(base, rows, tmp_path / "run", test=True)
    for split, values in (("validation", found.validation), ("test", found.test)):
        losses, counts = zip(*loss_of(base, rows, split), strict=True)
        assert values["sums"] == pytest.approx(losses, rel=1e-6)
        assert values["counts"] == list(map(float, counts))


def test_rows_of_one_source_are_one_part(base, rows, tmp_path):
    members = load_split(rows, "validation")
    sources = ["a", None, "b", "a", None, "a", "b"]
    write_rows(
        rows / "validation.jsonl",
        [row | ({"source": name} if name else {}) for row, name in zip(members, sources, strict=True)],
    )
    losses = [loss for loss, _ in loss_of(base, rows, "validation")]
    parts = [(0, 3, 5), (1,), (2, 6), (4,)]
    expected = [sum(losses[place] for place in part) for part in parts]
    found = validated(base, rows, tmp_path / "run").validation
    assert found["sums"] == pytest.approx(expected, rel=1e-6)
