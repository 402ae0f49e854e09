"""What supervised fine-tuning can be asked for: loss on everything, packing, adapters."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, BloomConfig, BloomForCausalLM

from tasks.batches.tuning import PLACE, PackedCollator, sft_data
from tasks.config import FinetuneConfig, LoraConfig
from tasks.data.token_files import IGNORED
from tasks.errors import RefusedError, StageError
from tasks.finetune import sft
from tasks.finetune.sft import completion_losses
from tasks.models.loading import ADAPTER, load_model
from tasks.rows import load_split, write_rows
from tests.finetune.tuning import (
    CONTEXT,
    assert_same_outputs,
    base_in,
    history_in,
    row_of,
    rows_in,
    supervised,
    tuned,
    word_tokenizer,
)
from tests.runs import summary_of, weights_in

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = FinetuneConfig(
    template="phi3",
    epochs=1,
    batch_size=4,
    learning_rate=2e-2,
    max_length=CONTEXT,
    evaluations=2,
    device="cpu",
)
LORA = {"tune": "lora", "lora": {"rank": 4, "alpha": 8}, "epochs": 3}


def changed(**fields):
    return FinetuneConfig(**SMALL.model_dump(exclude_unset=True) | fields)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_in(tmp_path_factory.mktemp("base"), word_tokenizer(), dropout=0.0)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("instructions") / "rows")


def checks_of(run):
    results = json.loads((run.out / "preflight.json").read_text())["checks"]
    return {result["check"]: result["verdict"] for result in results}


# Loss on everything


def test_loss_on_everything_labels_every_token_but_the_first(base, rows):
    tokenizer = word_tokenizer()
    data = sft_data(changed(loss="all"), tokenizer, rows, CONTEXT)
    for example, masked in zip(
        data.examples["train"], supervised(tokenizer, load_split(rows, "train"), CONTEXT), strict=True
    ):
        assert example.input_ids == masked.input_ids
        assert example.labels == [IGNORED, *example.input_ids[1:]]


def test_the_preflight_knows_which_loss_was_asked_for(base, rows, tmp_path):
    run = tuned(changed(loss="all"), base, rows, tmp_path)
    assert checks_of(run)["prompt as configured"] == "passed"
    assert summary_of(run)["loss"] == "all"


def test_pitfall_9_a_prompt_that_is_learned_unasked_is_refused(base, rows, tmp_path, monkeypatch):
    make = sft.sft_data
    monkeypatch.setattr(
        sft, "sft_data", lambda config, *rest: make(config.model_copy(update={"loss": "all"}), *rest)
    )
    monkeypatch.setattr(sft, "_held", lambda data, _: type(data)(**vars(data) | {"loss": "completion"}))
    with pytest.raises(RefusedError, match=r"prompt as configured .*token 1 is trained on"):
        tuned(SMALL, base, rows, tmp_path)


# Packing (pitfall 13)


def packed_batches(base, rows, collator=None):
    _, tokenizer = load_model(base / "model")
    data = sft_data(changed(packing=True), tokenizer, rows, CONTEXT)
    collator = collator or data.collator
    return data, [collator([data.datasets["train"][place]]) for place in range(len(data.datasets["train"]))]


def test_packed_rows_are_whole_and_fill_most_of_each_sequence(base, rows):
    data, batches = packed_batches(base, rows)
    found = {row.name: row for row in data.collated() if row.name.startswith("train")}
    assert len(found) == 25 > len(batches)
    for row, example in zip(load_split(rows, "train"), data.examples["train"], strict=True):
        collated = found[f"train row {row['id']}"]
        assert collated.given == collated.input_ids == example.input_ids
        assert collated.labels == example.labels
    assert sum(len(example.input_ids) for example in data.examples["train"]) > 0.8 * CONTEXT * len(batches)


def test_positions_begin_anew_with_each_packed_row():
    examples = [
        {"input_ids": [5, 6, 7, 8], "labels": [IGNORED, 6, IGNORED, 8], PLACE: [3, 3, 1, 1]},
        {"input_ids": [9], "labels": [9], PLACE: [2]},
    ]
    batch = PackedCollator(pad_token_id=0)(examples)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[5, 6, 7, 8], [9, 0, 0, 0]],
        "labels": [[IGNORED, 6, IGNORED, 8], [9, IGNORED, IGNORED, IGNORED]],
        PLACE: [[3, 3, 1, 1], [2, -1, -1, -1]],
        "position_ids": [[0, 1, 0, 1], [0, 0, 1, 2]],
    }


def test_pitfall_13_packed_loss_is_that_of_the_rows_apart(base, rows):
    model, tokenizer = load_model(base / "model")
    _, batches = packed_batches(base, rows)
    apart = sft_data(SMALL, tokenizer, rows, CONTEXT)
    alone = [apart.collator([apart.datasets["train"][place]]) for place in range(25)]
    device = torch.device("cpu")
    assert completion_losses(model, batches, device) == pytest.approx(
        completion_losses(model, alone, device), rel=1e-6
    )


def test_pitfall_13_rows_that_see_each_other_are_refused(base, rows, tmp_path, monkeypatch):
    class Seeing(PackedCollator):
        def __call__(self, examples):
            batch = super().__call__(examples)
            times = torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
            return batch | {"position_ids": times}

    monkeypatch.setattr("tasks.batches.tuning.PackedCollator", Seeing)
    with pytest.raises(RefusedError, match="labels shift once: model"):
        tuned(changed(packing=True), base, rows, tmp_path)


def test_packing_takes_fewer_steps_and_checks_rows_are_apart(base, rows, tmp_path):
    packed = tuned(changed(packing=True), base, rows, tmp_path / "packed")
    plain = tuned(SMALL, base, rows, tmp_path / "plain")
    assert summary_of(packed)["steps"] < summary_of(plain)["steps"]
    assert summary_of(packed)["supervised_tokens"] == summary_of(plain)["supervised_tokens"]
    results = checks_of(packed)
    assert results["packed equals separate"] == "passed"
    assert "failed" not in results.values()


def test_a_model_without_positions_cannot_pack(rows, tmp_path):
    tokenizer = word_tokenizer()
    shape = BloomConfig(vocab_size=len(tokenizer), hidden_size=16, n_layer=1, n_head=2)
    BloomForCausalLM(shape).save_pretrained(tmp_path / "base" / "model")
    tokenizer.save_pretrained(tmp_path / "base" / "model")
    with pytest.raises(StageError, match=r"takes no position_ids.*Set finetune\.packing=false"):
        tuned(changed(packing=True), tmp_path / "base", rows, tmp_path / "run")


# Adapters


@pytest.fixture(scope="module")
def merged(base, rows, tmp_path_factory):
    return tuned(changed(**LORA), base, rows, tmp_path_factory.mktemp("merged"))


def test_adapters_train_few_weights_and_learn(merged):
    summary = summary_of(merged)
    assert summary["tune"] == "lora"
    assert 0 < summary["trainable_parameters"] < summary["parameters"] / 3
    losses = history_in(merged, "train_loss")
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.2


def test_merged_adapters_compute_what_the_best_adapters_did(merged, base, rows):
    weights = weights_in(merged)
    assert not any("lora" in name for name in weights)
    assert not (merged.out / "model" / ADAPTER).exists()
    before = AutoModelForCausalLM.from_pretrained(base / "model").state_dict()
    moved = {name for name in weights if not torch.equal(weights[name], before[name])}
    assert moved == {
        name for name in weights if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
    }
    model, tokenizer = load_model(merged.out / "model")
    data = sft_data(SMALL, tokenizer, rows, CONTEXT)
    batches = [data.collator(list(data.datasets["validation"]))]
    loss, tokens = completion_losses(model, batches, torch.device("cpu"))
    assert loss / tokens == pytest.approx(summary_of(merged)["best_validation_loss"], rel=1e-5)


def test_kept_adapters_are_small_and_merge_to_the_same_bits(merged, base, rows, tmp_path):
    kept = tuned(changed(**LORA | {"lora": LORA["lora"] | {"adapters": "kept"}}), base, rows, tmp_path)
    assert (kept.out / "model" / ADAPTER).exists()
    assert not (kept.out / "model" / "model.safetensors").exists()
    model, tokenizer = load_model(kept.out / "model", base / "model")
    whole, _ = load_model(merged.out / "model")
    assert all(
        torch.equal(one, other)
        for one, other in zip(model.state_dict().values(), whole.state_dict().values(), strict=True)
    )
    assert tokenizer.chat_template is not None
    with pytest.raises(StageError, match="adapters alone: the model that they were trained on is needed"):
        load_model(kept.out / "model")


class DiedError(Exception):
    pass


def test_adapters_continue_to_the_same_bits(merged, base, rows, tmp_path):
    def die(done, *_):
        if done == 14:
            raise DiedError

    with pytest.raises(DiedError):
        tuned(changed(**LORA), base, rows, tmp_path, progress=die)
    assert list((tmp_path / "checkpoint").glob("checkpoint-*"))
    assert_same_outputs(tuned(changed(**LORA), base, rows, tmp_path), merged)


def test_a_layer_that_the_model_has_not_is_named(base, rows, tmp_path):
    config = changed(tune="lora", lora={"targets": ["q_proj"]})
    with pytest.raises(StageError, match=r"lora\.targets does not fit the model: .*q_proj"):
        tuned(config, base, rows, tmp_path)


def test_four_bits_need_a_gpu(base, rows, tmp_path):
    config = changed(tune="lora", lora={"quantize": "4bit"})
    with pytest.raises(StageError, match=r"lora\.quantize is 4bit, and a GPU is missing"):
        tuned(config, base, rows, tmp_path)


def test_lora_settings_without_lora_are_refused():
    with pytest.raises(ValueError, match="lora is set, but tune is full"):
        FinetuneConfig(lora=LoraConfig(rank=4))


# Rows of plain text


def test_plain_text_is_learned_whole(base, tmp_path):
    folder = rows_in(tmp_path / "rows")
    for split in ("train", "validation"):
        texts = [row_of(index)["output"] for index in range(6)]
        write_rows(
            folder / f"{split}.jsonl",
            [
                {"id": index, "instruction": "", "input": "", "output": text, "plain": True}
                for index, text in enumerate(texts)
            ],
        )
    tokenizer = word_tokenizer()
    data = sft_data(SMALL, tokenizer, folder, CONTEXT)
    example = data.examples["train"][0]
    assert tokenizer.decode(example.input_ids) == row_of(0)["output"] + tokenizer.eos_token
    assert example.labels == [IGNORED, *example.input_ids[1:]]
    assert isinstance(data.datasets["train"], Dataset)
