"""Rewards of responses: what Transformers gives of the unpadded text, read at its end."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tasks.errors import StageError, UsageError
from tasks.models.folders import find_files, require_text
from tasks.models.reward import RewardModel, new_reward_model, sequence_rewards
from tasks.rows import load_split
from tests.finetune.labelled_texts import MODELS, model_in

pytestmark = pytest.mark.usefixtures("one_thread")


def test_rewards_are_the_logits_of_the_unpadded_text(trained, rows):
    """By nothing of ours: the folder as Transformers loads it, each text alone, from its words on."""
    members = load_split(rows, "test") + load_split(rows, "train")
    responses = [row[side] for row, side in zip(members, ["chosen", "rejected"] * 20, strict=False)]
    model = RewardModel.load(trained.out, torch.device("cpu"))
    folder = trained.out / "model"
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for row, response in zip(members, responses, strict=True):
        turns = [{"role": "user", "content": row["instruction"]}]
        asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        text = asked + response + tokenizer.eos_token
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            expected.append(theirs(input_ids=ids).logits.item())
    assert model.rewards(responses, members) == pytest.approx(expected, abs=1e-5)
    assert len(set(map(len, responses))) > 2  # some were padded


def test_prompt_that_leaves_no_room_is_named(trained):
    model = RewardModel.load(trained.out, torch.device("cpu"))
    row = {"id": 7, "instruction": "Say fig. " * 40, "input": ""}
    with pytest.raises(StageError, match=r"row 7 leaves the reward model no room .*reward.max_length"):
        model.rewards(["fig"], [row])


def test_response_that_is_too_long_is_read_to_the_limit(trained):
    model = RewardModel.load(trained.out, torch.device("cpu"))
    row = {"id": 7, "instruction": "Say fig.", "input": ""}
    one, other = model.rewards(["fig " * 100, "fig " * 100 + "none"], [row, row])
    assert one == other


@pytest.mark.parametrize("family", MODELS)
def test_pitfall_16_padding_is_never_the_end_token(tmp_path, family):
    """A model whose padding is its end token would be read at the token before the end."""
    model, tokenizer = new_reward_model(model_in(tmp_path, family) / "model", 1)
    end, padding = tokenizer.eos_token_id, tokenizer.pad_token_id
    assert padding != end
    assert tokenizer.padding_side == "right"
    assert model.config.get_text_config().pad_token_id == padding
    assert model.get_input_embeddings().num_embeddings > padding
    model.eval()
    sequences = [[5, 6, 7, 8, end], [5, 9, end], [5, 6, 9, 10]]
    together = sequence_rewards(model, sequences)
    assert together == pytest.approx([sequence_rewards(model, [own])[0] for own in sequences], abs=1e-5)
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([sequences[1]])).last_hidden_state[0, -1]
    assert together[1] == pytest.approx(model.score(hidden).item(), abs=1e-5)


def test_reward_that_is_no_number_is_told(tuned):
    model, _ = new_reward_model(tuned / "model", 1)
    with torch.no_grad():
        model.score.weight[0, 0] = float("nan")
    with pytest.raises(StageError, match="gives nan, which is no finite number"):
        sequence_rewards(model.eval(), [[1, 2, 3]])


def test_new_head_is_drawn_by_the_seed_alone(tuned):
    one, again, other = (new_reward_model(tuned / "model", seed)[0].score.weight for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_reward_model_writes_no_text(trained):
    found = find_files(trained.out)
    assert found.task == "reward"
    with pytest.raises(UsageError, match="is a reward model: it says what a response is worth"):
        require_text("own", found.task, found.labels, "Expected another")


def test_another_model_is_no_reward_model(tuned):
    with pytest.raises(StageError, match="holds no reward model"):
        RewardModel.load(tuned, torch.device("cpu"))
