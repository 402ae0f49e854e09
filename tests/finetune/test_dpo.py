"""Preference tuning: the chosen gains on the rejected, counted over pairs, and a death changes no bit."""

import json
import math

import pytest
import torch
from trl import DPOTrainer

from tasks.batches.tuning import preference_data
from tasks.config import DpoConfig
from tasks.data.token_files import IGNORED
from tasks.errors import RefusedError, StageError
from tasks.finetune import dpo as room
from tasks.finetune.dpo import completion_log_probs, dpo
from tasks.models.loading import load_model
from tasks.rows import SPLITS, load_split
from tasks.tokenize.templates import load_template
from tests.finetune.tuning import CONTEXT, assert_same_outputs, base_in, history_in, rows_in, word_tokenizer
from tests.runs import stage_run_in, summary_of, weights_in

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = DpoConfig(
    template="phi3",
    epochs=2,
    batch_size=4,
    learning_rate=5e-3,
    max_length=CONTEXT,
    evaluations=3,
    device="cpu",
)


def changed(**fields):
    return DpoConfig(**SMALL.model_dump(exclude_unset=True) | fields)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    return base_in(tmp_path_factory.mktemp("tuned"), word_tokenizer(), dropout=0.1)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("preferences") / "rows")


def preferring(config, tuned, rows, folder, **watching):
    run = stage_run_in(folder, **watching)
    dpo(config, run, tuned=tuned, rows=rows)
    return run


@pytest.fixture(scope="module")
def uninterrupted(tuned, rows, tmp_path_factory):
    return preferring(SMALL, tuned, rows, tmp_path_factory.mktemp("uninterrupted"))


def test_completions_follow_the_prompt_and_close_with_end_token(tuned, rows):
    tokenizer = word_tokenizer()
    data = preference_data(SMALL, tokenizer, rows, CONTEXT)
    found = {row.name: row for row in data.collated()}
    assert len(found) == 2 * (25 + 7)
    for row in load_split(rows, "train"):
        for name in ("chosen", "rejected"):
            collated = found[f"train row {row['id']}, {name}"]
            length, prompt = sum(collated.mask), len(collated.prompt)
            assert collated.given == collated.prompt + data.template.completion_ids(row[name])
            assert collated.input_ids[:length] == collated.given
            assert collated.labels[:prompt] == [IGNORED] * prompt
            assert collated.labels[prompt:length] == collated.given[prompt:]
            assert set(collated.labels[length:]) <= {IGNORED}
            assert collated.given[-1] == tokenizer.eos_token_id


def test_it_learns_what_is_preferred(uninterrupted):
    assert history_in(uninterrupted, "train_loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    accuracies = history_in(uninterrupted, "validation_reward_accuracy")
    margins = history_in(uninterrupted, "validation_reward_margin")
    assert len(accuracies) == len(margins) == 3
    assert margins == sorted(margins)
    assert margins[0] > 0
    assert accuracies[-1] > 0.9
    summary = summary_of(uninterrupted)
    assert summary["method"] == "dpo"
    assert summary["validation_reward_margin"] == margins[-1]
    assert len(history_in(uninterrupted, "reward_margin")) == summary["steps"] == 14


def test_validation_is_a_mean_over_pairs(uninterrupted, tuned, rows):
    """Pitfall 20: 7 pairs in batches of 4; from the written model, one pair at a time."""
    (model, tokenizer), (reference, _) = (
        load_model(folder / "model") for folder in (uninterrupted.out, tuned)
    )
    data = preference_data(SMALL, tokenizer, rows, CONTEXT)
    margins = []
    for pair in data.datasets["validation"]:
        batch = data.collator([pair])
        with torch.no_grad():
            gained = completion_log_probs(model.eval(), batch) - completion_log_probs(reference.eval(), batch)
        margins.append(0.1 * (gained[0] - gained[1]).item())
    losses = [math.log1p(math.exp(-margin)) for margin in margins]
    summary = summary_of(uninterrupted)
    assert summary["best_validation_loss"] == pytest.approx(sum(losses) / 7, rel=1e-4)
    assert summary["validation_reward_margin"] == pytest.approx(sum(margins) / 7, rel=1e-4)


def accumulating(tuned, rows, folder, batch, accumulation):
    return preferring(changed(batch_size=batch, accumulation=accumulation, epochs=1), tuned, rows, folder)


@pytest.fixture(scope="module")
def at_once(tuned, rows, tmp_path_factory):
    """In whole batches of 8, which others accumulate."""
    return accumulating(tuned, rows, tmp_path_factory.mktemp("whole"), 8, 1)


@pytest.mark.parametrize("accumulated", [(2, 4), (4, 2), (1, 8)], ids=str)
def test_pitfall_17_accumulation_keeps_losses_and_weights(at_once, tuned, rows, tmp_path, accumulated):
    """25 pairs: the last step of each epoch is ragged."""
    runs = [at_once, accumulating(tuned, rows, tmp_path, *accumulated)]
    whole, split = (history_in(run, "train_loss") for run in runs)
    assert len(whole) == 4
    assert split == pytest.approx(whole, rel=1e-4)
    for name, weight in weights_in(runs[0]).items():
        torch.testing.assert_close(weights_in(runs[1])[name], weight, atol=5e-5, rtol=0)


class DiedError(Exception):
    pass


def test_pitfall_18_a_death_changes_no_bit(uninterrupted, tuned, rows, tmp_path):
    def die(done, *_):
        if done == 7:
            raise DiedError

    with pytest.raises(DiedError):
        preferring(SMALL, tuned, rows, tmp_path, progress=die)
    assert list((tmp_path / "checkpoint").glob("checkpoint-*"))
    assert_same_outputs(preferring(SMALL, tuned, rows, tmp_path), uninterrupted)


@pytest.mark.filterwarnings("error::FutureWarning")  # of a library: a person would see it
def test_adapters_prefer_against_the_model_without_them(tuned, rows, tmp_path):
    config = changed(tune="lora", lora={"rank": 4, "alpha": 8}, learning_rate=2e-2)
    run = preferring(config, tuned, rows, tmp_path)
    assert history_in(run, "train_loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    assert history_in(run, "validation_reward_margin")[-1] > 0
    assert not any("lora" in name for name in weights_in(run))


def test_a_reference_that_is_another_model_is_refused(tuned, rows, tmp_path, monkeypatch):
    """The first loss would not be ln 2: the model is held to what it never was."""
    make = room.reference_of

    def other(config, model):
        torch.manual_seed(5)
        reference = make(config, model)
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return reference

    monkeypatch.setattr(room, "reference_of", other)
    with pytest.raises(RefusedError, match=r"preferences, initial loss: found .* expected ln 2"):
        preferring(SMALL, tuned, rows, tmp_path)


def test_the_trainers_own_loss_is_what_is_validated_by(tuned, rows, tmp_path, monkeypatch):
    """Two ways to one number: TRL's, on its fused head, and ours, on plain logits."""
    seen = []
    compute = DPOTrainer.compute_loss

    def recording(trainer, model, inputs, *rest, **named):
        loss = compute(trainer, model, inputs, *rest, **named)
        if not model.training:  # the preflight, before any step
            gained = completion_log_probs(model, inputs) - completion_log_probs(trainer.ref_model, inputs)
            chosen, rejected = gained.chunk(2)
            seen.append(
                (loss.item(), -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean().item())
            )
        return loss

    monkeypatch.setattr(DPOTrainer, "compute_loss", recording)
    preferring(changed(epochs=0.1), tuned, rows, tmp_path)
    assert seen
    assert all(one == pytest.approx(other, rel=1e-5) for one, other in seen)


def test_rows_without_a_preference_are_named(tuned, tmp_path):
    folder = rows_in(tmp_path / "rows")
    for split in ("train", "validation", "test"):
        lines = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        bare = [{name: row[name] for name in ("id", "instruction", "input", "output")} for row in lines]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    with pytest.raises(StageError, match=r"train row 0 has no 'rejected'.*needs preference rows"):
        preferring(SMALL, tuned, folder, tmp_path / "run")


def test_a_completion_that_is_cut_has_no_end_token_to_prefer(tuned, rows, tmp_path):
    """Pitfall 6."""
    tokenizer = word_tokenizer()
    prompts = load_template("phi3", tokenizer).prompt_ids
    longest = max(len(prompts(row)) for split in SPLITS for row in load_split(rows, split))
    data = preference_data(changed(max_length=longest + 2), tokenizer, rows, CONTEXT)
    cut = [example for example in data.examples["train"] if example.cut]
    assert cut
    assert all(tokenizer.eos_token_id not in example.input_ids[longest:] for example in cut)
    ends = [row.input_ids[row.mask.index(0) - 1 if row.padded else -1] for row in data.collated()]
    assert [row.cut for row in data.collated()] == [end != tokenizer.eos_token_id for end in ends]
