"""The checks before a reward model is trained: each passes what is right, and fails of its own mistake."""

import pytest
import torch

from tasks.config import LoraConfig
from tasks.machine.device import pick_device
from tasks.models.reward import new_reward_model
from tasks.reward_models.checks import preflight_preferred, preflight_rewards
from tasks.reward_models.data import pair_data
from tasks.reward_models.stage import make_trainer
from tests.finetune.tuning import CONTEXT
from tests.reward_models.pairs import mixed, pairs_in, told
from tests.runs import stage_run_in

pytestmark = pytest.mark.usefixtures("one_thread")

CHECKS = [
    "pairs as trained",
    "responses differ",
    "cut tells none apart",
    "splits share no row",
    "splits share no near duplicate",
    "splits share no source",
    "reads the last token",
    "padding shifts nothing",
    "initial loss",
    "learns one batch",
]


@pytest.fixture
def checked(tuned, rows, tmp_path):
    """The checks that failed of a training that something is done to before."""

    def check(spoil=lambda model, data: None, folder=rows, **changed):
        config = told(**changed)
        model, tokenizer = new_reward_model(tuned / "model", config.seed)
        data = pair_data(config, tokenizer, folder, CONTEXT)
        spoil(model, data)
        trainer = make_trainer(config, stage_run_in(tmp_path / "run"), model, data, pick_device("cpu"))
        return preflight_rewards(trainer.model, data, tuned, trainer.compute_loss)

    return check


@pytest.mark.parametrize("changed", [{}, {"tune": "lora", "lora": LoraConfig(rank=4)}], ids=["full", "lora"])
def test_checks_pass_of_what_is_right(checked, changed):
    report = checked(**changed)
    assert [result.check for result in report.results if result.verdict == "passed"] == CHECKS
    assert "train row 0, chosen" in report.examples["reward model"]


def failed_of(report):
    return {result.check: result for result in report.failed}


def test_check_of_another_template(checked):
    failed = failed_of(checked(template="plain"))
    assert failed["pairs as trained"].where == "train row 0, chosen"
    assert "in the template of fine-tuning" in failed["pairs as trained"].found


def test_check_of_an_end_token_that_is_missing(checked):
    """Pitfall 6."""

    def spoil(_model, data):
        data.pairs["train"][3].rejected.input_ids.pop()

    assert failed_of(checked(spoil))["pairs as trained"].where == "train row 3, rejected"


def test_check_of_padding_that_is_the_end_token(checked):
    """Pitfalls 7 and 16: the last token would be taken for padding, and that before it be read."""

    def spoil(model, data):
        data.tokenizer.pad_token = data.tokenizer.eos_token
        model.config.pad_token_id = data.tokenizer.eos_token_id

    failed = failed_of(checked(spoil))
    assert "its last token is the padding" in failed["pairs as trained"].found
    assert "reads the last token" in failed


def test_check_of_responses_that_are_the_same(checked, tmp_path):
    def pair(index):
        row = mixed(index)
        return row | {"rejected": row["chosen"]} if index == 5 else row

    rows = pairs_in(tmp_path / "same", pair=pair)
    failed = failed_of(checked(folder=rows))
    assert list(failed) == ["responses differ"]
    assert failed["responses differ"].where == "train row 5"


def longer(index):
    """Responses that begin alike, and differ where a short context has cut them."""
    row = mixed(index)
    begin = "fig " * 10
    return row | {"chosen": begin + row["chosen"], "rejected": begin + row["rejected"]}


def test_check_of_a_cut_before_they_differ(checked, tmp_path):
    rows = pairs_in(tmp_path / "cut", pair=longer)
    failed = failed_of(checked(folder=rows, max_length=28))
    assert "max_length 28 cuts both before they differ" in failed["responses differ"].found


def test_check_of_a_cut_that_tells_them_apart(checked, tmp_path):
    rows = pairs_in(tmp_path / "cut", pair=lambda index: mixed(index) | {"rejected": "none " * 30})
    failed = failed_of(checked(folder=rows, max_length=36))
    assert list(failed) == ["cut tells none apart"]
    assert "Raise max_length, now 36" in failed["cut tells none apart"].found


def test_check_of_a_row_in_two_splits(checked, tmp_path):
    rows = pairs_in(tmp_path / "leak", pair=lambda index: mixed(index % 30) | {"id": index})
    assert "splits share no row" in failed_of(checked(folder=rows))


def test_pitfall_15_check_of_padding_that_is_seen(checked, monkeypatch):
    """What a mask that is left out does: rewards then depend on what stands beside in the batch."""
    from tasks.reward_models import checks as room

    def reading(model, sequences):
        longest = max(map(len, sequences))
        ids = [[7] * (longest - len(own)) + list(own) for own in sequences]
        with torch.no_grad():
            return model(input_ids=torch.tensor(ids)).logits[:, 0].tolist()

    monkeypatch.setattr(room, "sequence_rewards", reading)
    assert list(failed_of(checked())) == ["padding shifts nothing"]


def test_check_of_a_head_that_is_too_large(checked):
    def spoil(model, _data):
        with torch.no_grad():
            model.score.weight *= 100

    assert "initial loss" in failed_of(checked(spoil))


def test_check_of_a_model_that_does_not_learn(checked):
    def spoil(model, _data):
        model.requires_grad_(False)
        model.transformer.ln_f.bias.requires_grad_(True)  # which moves both rewards of a pair alike

    assert "learns one batch" in failed_of(checked(spoil))


def test_checks_of_rows_alone_need_no_model(tuned, rows, tmp_path):
    _, tokenizer = new_reward_model(tuned / "model", 1)
    report = preflight_preferred(pair_data(told(), tokenizer, rows, CONTEXT))
    assert [result.check for result in report.results] == CHECKS[:6]
    assert not report.failed
