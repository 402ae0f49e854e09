"""Training a reward model: it learns an order, counts over pairs, and a death changes no bit."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import logsigmoid
from trl import RewardTrainer

from tasks.errors import StageError
from tasks.models.reward import RewardModel, new_reward_model
from tasks.reward_models.data import columns_of, pair_data
from tasks.reward_models.outputs import RewardEvaluation
from tasks.rows import load_split, write_rows
from tests.finetune.tuning import CONTEXT, assert_same_outputs, history_in, word_tokenizer
from tests.reward_models.pairs import pairs_in, rewarding, told, tuned_in
from tests.runs import summary_of, weights_in

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("error"),  # of a library: a person would see it
]


def test_reward_model_learns_what_is_preferred(trained):
    accuracies = history_in(trained, "validation_reward_accuracy")
    margins = history_in(trained, "validation_reward_margin")
    assert len(accuracies) == len(margins) == 3
    assert accuracies[-1] > 0.8
    assert margins[-1] > margins[0]
    summary = summary_of(trained)
    assert (summary["method"], summary["task"], summary["pairs"]) == ("reward", "reward", 25)
    assert summary["validation_reward_margin"] in margins
    assert len(history_in(trained, "reward_margin")) == summary["steps"] == 14


def test_reward_model_is_a_head_of_one_number(trained):
    weights = weights_in(trained)
    assert weights["score.weight"].shape == (1, 16)
    assert "lm_head.weight" not in weights


def test_validation_is_a_mean_over_pairs(trained, tuned, rows):
    """Pitfall 20: 7 pairs in batches of 4; from the written model, one pair at a time."""
    model = RewardModel.load(trained.out, torch.device("cpu"))
    members = load_split(rows, "validation")
    chosen, rejected = (
        [model.rewards([row[side]], [row])[0] for row in members] for side in ("chosen", "rejected")
    )
    margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
    losses = [math.log1p(math.exp(-margin)) for margin in margins]
    summary = summary_of(trained)
    assert summary["best_validation_loss"] == pytest.approx(sum(losses) / 7, rel=1e-4)
    assert summary["validation_reward_margin"] == pytest.approx(sum(margins) / 7, rel=1e-4)


def test_loss_is_that_of_trl(tuned, rows, tmp_path, monkeypatch):
    """Two ways to one number: TRL's, and ours of the margins."""
    seen = []
    compute = RewardTrainer.compute_loss

    def recording(trainer, model, inputs, *rest, **named):
        loss = compute(trainer, model, inputs, *rest, **named)
        if not model.training:  # the preflight
            margins = trainer.margins([{name: inputs[name] for name in ("input_ids", "attention_mask")}])
            seen.append((loss.item(), -logsigmoid(margins).mean().item()))
        return loss

    monkeypatch.setattr(RewardTrainer, "compute_loss", recording)
    rewarding(told(epochs=0.1, center=0), tuned, rows, tmp_path)
    assert seen
    assert all(one == pytest.approx(other, rel=1e-5) for one, other in seen)


def test_pitfall_17_accumulation_keeps_losses_and_weights(tuned, rows, tmp_path):
    """25 pairs: the last step of the epoch is ragged."""
    whole = rewarding(told(batch_size=8, epochs=1), tuned, rows, tmp_path / "whole")
    split = rewarding(told(batch_size=2, accumulation=4, epochs=1), tuned, rows, tmp_path / "split")
    assert history_in(split, "train_loss") == pytest.approx(history_in(whole, "train_loss"), rel=1e-4)
    for name, weight in weights_in(whole).items():
        torch.testing.assert_close(weights_in(split)[name], weight, atol=5e-5, rtol=0)


class DiedError(Exception):
    pass


@pytest.mark.parametrize(
    "changed",
    [{}, pytest.param({"tune": "lora"}, marks=pytest.mark.slow)],
    ids=["full", "lora"],
)
def test_pitfall_18_a_death_changes_no_bit(trained, tuned, rows, tmp_path, changed):
    def die(done, *_):
        if done == 9:
            raise DiedError

    whole = trained
    if changed:
        whole = rewarding(told(**changed), tuned, rows, tmp_path / "whole")
    with pytest.raises(DiedError):
        rewarding(told(**changed, checkpoint_every=0), tuned, rows, tmp_path, progress=die)
    assert list((tmp_path / "checkpoint").glob("checkpoint-*"))
    again = rewarding(told(**changed), tuned, rows, tmp_path)
    assert_same_outputs(again, whole)
    for name in ("reward.json", "pairs.jsonl"):
        assert (again.out / name).read_bytes() == (whole.out / name).read_bytes()


def test_adapters_are_merged_and_the_head_is_trained(tuned, rows, tmp_path):
    config = told(tune="lora", lora={"rank": 4, "alpha": 8}, learning_rate=2e-2)
    run = rewarding(config, tuned, rows, tmp_path)
    assert history_in(run, "validation_reward_accuracy")[-1] > 0.8
    weights = weights_in(run)
    assert not any("lora" in name or "modules_to_save" in name for name in weights)
    model, _ = new_reward_model(tuned / "model", config.seed)
    assert not torch.equal(weights["score.weight"], model.score.weight)


def test_adapters_are_trained_on_a_model_with_a_new_padding(rows, tmp_path, monkeypatch):
    """The padding is the end token, and there is no other: the embeddings get a row that is not trained."""
    monkeypatch.setattr("tasks.models.reward.PAD", "<|filler|>")
    tokenizer = word_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tuned = tuned_in(tmp_path / "tuned", tokenizer)
    run = rewarding(told(tune="lora", epochs=0.5, checkpoint_every=0), tuned, rows, tmp_path / "run")
    (embeddings,) = (weight for name, weight in weights_in(run).items() if name.endswith("wte.weight"))
    assert len(embeddings) == len(tokenizer) + 1
    assert not embeddings[-1].any()
    model = RewardModel.load(run.out, torch.device("cpu"))
    assert model.template.tokenizer.pad_token == "<|filler|>"
    assert model.model.config.pad_token_id == len(tokenizer)


def test_rewards_are_centred_where_asked(tuned, rows, tmp_path):
    runs = {
        center: rewarding(told(center=center), tuned, rows, tmp_path / str(center)) for center in (0.0, 0.5)
    }
    apart = {
        center: abs(sum(RewardEvaluation.read(run.out).rewards.values())) for center, run in runs.items()
    }
    assert apart[0.5] < apart[0.0]


def test_without_validation_pairs_the_last_weights_are_kept(tuned, tmp_path):
    rows = pairs_in(tmp_path / "rows", validation=0)
    summary = summary_of(rewarding(told(epochs=0.2), tuned, rows, tmp_path))
    assert (summary["best_step"], summary["validation_reward_margin"]) == (None, None)


def test_pairs_are_prompt_response_and_end_token(tuned, rows):
    _, tokenizer = new_reward_model(tuned / "model", 1)
    data = pair_data(told(), tokenizer, rows, CONTEXT)
    for row, pair in zip(data.rows["train"], data.pairs["train"], strict=True):
        prompt = data.template.prompt_ids(row)
        for side, example in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            assert example.input_ids == prompt + data.template.completion_ids(row[side])
            assert example.input_ids[-1] == tokenizer.eos_token_id
    batch = data.collator([columns_of(pair) for pair in data.pairs["train"][:4]])
    assert batch["input_ids"].shape[0] == 8  # the chosen first
    assert batch["attention_mask"][:, 0].tolist() == [1] * 8  # padded on the right


def test_rows_without_a_preference_are_named(tuned, rows, tmp_path):
    folder = tmp_path / "rows"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        bare = [{name: row[name] for name in row if name != "rejected"} for row in load_split(rows, split)]
        write_rows(folder / f"{split}.jsonl", bare)
    with pytest.raises(StageError, match=r"train row 0 has no 'rejected'.*needs preference rows"):
        rewarding(told(), tuned, folder, tmp_path / "run")


def test_no_test_pair_is_told(tuned, tmp_path):
    rows = pairs_in(tmp_path / "rows", test=0)
    with pytest.raises(StageError, match="there is no test pair"):
        rewarding(told(epochs=0.1), tuned, rows, tmp_path / "run")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"processes": 2}, "a reward model trains in one"),
        ({"tune": "lora", "lora": {"adapters": "kept"}}, "lora.adapters merged"),
        ({"center": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        told(**wrong)
