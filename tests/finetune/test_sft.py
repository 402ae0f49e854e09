"""The fine-tuning room: what is learned token by token, token means, and a kill that changes no bit."""

import json
import os
import shutil
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers, processors
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Trainer

from tasks.batches.supervised import supervise
from tasks.config import FinetuneConfig
from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.finetune import sft
from tasks.finetune.sft import TokenMeanTrainer
from tasks.rows import load_split, write_rows
from tasks.tokenize.stage import END, characters, load_gpt2
from tasks.tokenize.templates import Template, load_template
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
from tests.runs import die, summary_of, weights_in

SMALL = FinetuneConfig(
    template="phi3",
    epochs=2,
    batch_size=4,
    learning_rate=2e-2,
    max_length=CONTEXT,
    evaluations=4,
    device="cpu",
)


pytestmark = pytest.mark.usefixtures("one_thread")


def changed(**fields):
    return FinetuneConfig(**SMALL.model_dump() | fields)


# Tokens and labels, literally: > is 3, a to d are 4 to 7, | is 8, the end token is 0

BARE = """\
{%- for message in messages -%}
  {{ message.content | replace('\\n', '|') }}{{ eos_token if message.role == 'assistant' }}
{%- endfor -%}
{%- if add_generation_prompt %}>{% endif -%}
"""
ROW = {"id": 7, "instruction": "ab", "input": "", "output": "cd"}


@pytest.fixture(scope="module")
def bare():
    return Template("bare", BARE, characters(["abcd>|"]))


def test_completion_and_end_token_are_supervised_not_the_prompt(bare):
    """Pitfalls 6, 8 and 9."""
    example = supervise(bare, ROW, max_length=10)
    assert example.input_ids == [4, 5, 3, 6, 7, 0]
    assert example.labels == [IGNORED, IGNORED, IGNORED, 6, 7, 0]
    assert not example.cut


def test_the_input_is_part_of_the_prompt(bare):
    example = supervise(bare, ROW | {"input": "d"}, max_length=10)
    assert example.input_ids == [4, 5, 8, 7, 3, 6, 7, 0]
    assert example.labels == [IGNORED] * 5 + [6, 7, 0]


def test_cut_row_does_not_teach_to_stop_in_mid_sentence(bare):
    """Pitfall 6, its other side: what is left is the beginning of the whole row, all of it learned."""
    whole, cut = (supervise(bare, ROW, max_length=length) for length in (6, 5))
    assert (whole.input_ids, whole.lost) == ([4, 5, 3, 6, 7, 0], 0)
    assert (cut.input_ids, cut.labels, cut.lost) == ([4, 5, 3, 6, 7], [IGNORED] * 3 + [6, 7], 1)


def test_prompt_that_leaves_no_room_is_an_error_naming_the_row(bare):
    """Pitfall 8: cut off in silence, a row would have no label at all."""
    with pytest.raises(StageError, match=r"row 7 .* its prompt has 3 tokens, so max_length 4 leaves no room"):
        supervise(bare, ROW, max_length=4)


def test_an_empty_completion_teaches_to_stop(bare):
    example = supervise(bare, ROW | {"output": ""}, max_length=10)
    assert (example.input_ids, example.labels) == ([4, 5, 3, 0], [IGNORED] * 3 + [0])


def test_a_tokenizer_that_adds_special_tokens_adds_none_here():
    """Pitfall 10: no beginning-of-text token before the prompt, none within, and no second end token."""
    adding = characters(["abcd>|"])
    adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A {END}", special_tokens=[(END, 0)]
    )
    assert adding("ab")["input_ids"] == [0, 4, 5, 0], "the case is to be a tokenizer that adds"
    assert supervise(Template("bare", BARE, adding), ROW, max_length=10).input_ids == [4, 5, 3, 6, 7, 0]


@given(
    instruction=st.text("abcd", max_size=9),
    output=st.text("abcd", max_size=9),
    max_length=st.integers(1, 24),
)
def test_every_row_is_supervised_to_its_end_or_refused(bare, instruction, output, max_length):
    row = {"id": 1, "instruction": instruction, "input": "", "output": output}
    try:
        example = supervise(bare, row, max_length)
    except StageError:
        assert len(instruction) + 1 + 1 >= max_length
        return
    supervised = [label for label in example.labels if label != IGNORED]
    assert supervised == example.input_ids[-len(supervised) :]
    assert example.input_ids.count(0) == (supervised[-1] == 0) == (not example.cut)
    assert len(example.labels) == len(example.input_ids) <= max_length
    assert example.cut == (len(supervised) < len(output) + 1)


def test_rows_keep_their_order_and_the_cut_ones_are_counted(bare):
    rows = [ROW | {"output": "c" * length} for length in (1, 5, 2, 6)]
    examples = [supervise(bare, row, max_length=7) for row in rows]
    assert [len(example.input_ids) for example in examples] == [5, 7, 6, 7]
    assert [example.cut for example in examples] == [False, True, False, True]


# The stage


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """With dropout, so that a lost random state shows (pitfall 18)."""
    return base_in(tmp_path_factory.mktemp("base"), word_tokenizer(), dropout=0.1)


@pytest.fixture(scope="module")
def plain_base(tmp_path_factory):
    return base_in(tmp_path_factory.mktemp("plain"), word_tokenizer(), dropout=0.0)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_in(tmp_path_factory.mktemp("instructions") / "rows")


@pytest.fixture(scope="module")
def uninterrupted(base, rows, tmp_path_factory):
    return tuned(SMALL, base, rows, tmp_path_factory.mktemp("uninterrupted"))


def recorded_batches(monkeypatch):
    batches, compute = [], TokenMeanTrainer.compute_loss

    def recording(trainer, model, inputs, *args, **kwargs):
        if model.training:  # the preflight asks for the loss without
            batches.append({name: tensor.clone() for name, tensor in inputs.items()})
        return compute(trainer, model, inputs, *args, **kwargs)

    monkeypatch.setattr(TokenMeanTrainer, "compute_loss", recording)
    return batches


def real_rows(batches):
    """The rows of all batches in order, without their padding."""
    return [
        ids[mask.bool()].tolist()
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]


def gpt2_like_tokenizer(folder):
    """As `load_gpt2` makes it: the padding token is the end token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    (folder / "encoder.json").write_text(
        json.dumps({token: index for index, token in enumerate([*alphabet, "Ġt", END])}), encoding="utf-8"
    )
    (folder / "vocab.bpe").write_text("#version: 0.2\nĠ t\n", encoding="utf-8")
    return load_gpt2(folder)


def test_a_batch_masks_its_padding_and_never_an_end_token(tmp_path, rows, monkeypatch):
    """Pitfall 7, in the batches that the real trainer makes, with GPT-2's padding."""
    tokenizer = gpt2_like_tokenizer(tmp_path)
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 257
    base = base_in(tmp_path / "base", tokenizer, dropout=0)
    batches = recorded_batches(monkeypatch)
    tuned(changed(epochs=1), base, rows, tmp_path / "run")
    expected = {
        tuple(example.input_ids): example.labels
        for example in supervised(tokenizer, load_split(rows, "train"), CONTEXT)
    }
    seen, padded, ended = 0, 0, 0
    for batch in batches:
        for ids, mask, labels in zip(
            *(batch[name].tolist() for name in ("input_ids", "attention_mask", "labels")), strict=True
        ):
            length = sum(mask)
            assert mask == [1] * length + [0] * (len(ids) - length)
            assert labels[:length] == expected[tuple(ids[:length])]
            assert labels[length:] == [IGNORED] * (len(ids) - length)
            seen, padded = seen + 1, padded + len(ids) - length
            ended += labels[length - 1] == 257
    assert seen == 25
    assert padded, "the case is to have padding"
    whole = supervised(tokenizer, load_split(rows, "train"), 10 * CONTEXT)
    assert ended == sum(len(example.input_ids) <= CONTEXT for example in whole) > 0


def accumulating(base, rows, folder, batch, accumulation):
    """A training, and its rows in the order in which it saw them."""
    with pytest.MonkeyPatch.context() as patch:
        batches = recorded_batches(patch)
        config = changed(batch_size=batch, accumulation=accumulation, learning_rate=1e-3)
        return tuned(config, base, rows, folder), real_rows(batches)


@pytest.fixture(scope="module")
def at_once(plain_base, rows, tmp_path_factory):
    """In whole batches of 8, which others accumulate."""
    return accumulating(plain_base, rows, tmp_path_factory.mktemp("whole"), 8, 1)


@pytest.mark.parametrize("accumulated", [(2, 4), (4, 2), (1, 8)], ids=str)
def test_accumulation_changes_neither_losses_nor_weights(at_once, plain_base, rows, tmp_path, accumulated):
    """Pitfall 17, with rows of many lengths and 25 of them, so that the last batch is ragged too."""
    runs, order = zip(at_once, accumulating(plain_base, rows, tmp_path, *accumulated), strict=True)
    assert order[0] == order[1]
    assert len(order[0]) == 2 * 25
    whole, split = (history_in(run, "train_loss") for run in runs)
    assert len(whole) == 8
    assert split == pytest.approx(whole, rel=1e-5)
    for name, weight in weights_in(runs[0]).items():
        torch.testing.assert_close(weights_in(runs[1])[name], weight, atol=2e-5, rtol=0)


def losses_of_rows(run, rows):
    """The loss of every supervised token, a list a row, from the written folder and one row at a time."""
    model = AutoModelForCausalLM.from_pretrained(run.out / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run.out / "model")
    found = []
    for example in supervised(tokenizer, load_split(rows, "validation"), CONTEXT):
        with torch.no_grad():
            logits = model(torch.tensor([example.input_ids])).logits[0, :-1]
        losses = F.cross_entropy(logits, torch.tensor(example.labels[1:]), reduction="none").tolist()
        found.append([loss for loss, label in zip(losses, example.labels[1:], strict=True) if label >= 0])
    return found


def test_evaluation_is_a_mean_over_tokens(uninterrupted, rows):
    """Pitfall 20: neither of batch means nor of row means."""
    losses = losses_of_rows(uninterrupted, rows)
    assert len({len(row) for row in losses}) > 2, "the case is to be ragged"
    best = summary_of(uninterrupted)["best_validation_loss"]
    assert best == pytest.approx(sum(map(sum, losses)) / sum(map(len, losses)), rel=1e-5)
    assert best != pytest.approx(sum(sum(row) / len(row) for row in losses) / len(losses), rel=1e-3)


def test_it_learns_the_completions(uninterrupted):
    losses = history_in(uninterrupted, "validation_loss")
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * history_in(uninterrupted, "train_loss")[0]


def test_the_history_has_every_step_and_every_evaluation(uninterrupted):
    steps = 14  # 25 rows in batches of 4, twice
    assert len(history_in(uninterrupted, "train_loss")) == steps
    assert len(history_in(uninterrupted, "validation_loss")) == 4
    assert summary_of(uninterrupted)["steps"] == steps
    lines = (uninterrupted.out / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines if "validation_loss" in line] == [4, 8, 12, 14]


def test_what_was_supervised_and_cut_is_counted(base, rows, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    longest = max(len(load_template("phi3", tokenizer).prompt_ids(row)) for row in load_split(rows, "train"))
    config = changed(max_length=longest + 3, epochs=0.5)
    examples = supervised(tokenizer, load_split(rows, "train"), longest + 3)
    summary = summary_of(tuned(config, base, rows, tmp_path))
    assert summary["rows_cut"] == sum(example.cut for example in examples) > 0
    assert summary["supervised_tokens"] == sum(
        label != IGNORED for example in examples for label in example.labels
    )


def test_rows_are_cut_to_the_context_of_the_model(base, tmp_path):
    rows = rows_in(tmp_path / "rows", train=60)
    summary = summary_of(tuned(changed(max_length=10_000, epochs=0.2), base, rows, tmp_path / "run"))
    lengths = [
        len(example.input_ids)
        for example in supervised(
            AutoTokenizer.from_pretrained(base / "model"), load_split(rows, "train"), 10_000
        )
    ]
    assert summary["rows_cut"] == sum(length > CONTEXT for length in lengths)


def test_a_row_that_does_not_fit_is_named(base, tmp_path):
    rows = rows_in(tmp_path / "rows")
    write_rows(rows / "train.jsonl", [row_of(0), row_of(1) | {"instruction": "fig " * 50}])
    with pytest.raises(StageError, match="row 1 cannot be trained on"):
        tuned(SMALL, base, rows, tmp_path / "run")


def test_the_best_model_is_written_and_not_the_last(base, rows, tmp_path, monkeypatch):
    scripted, states = iter([3.0, 1.0, 2.0, 1.5]), []

    def scripted_loss(model, *_):
        states.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(scripted), 1

    monkeypatch.setattr(sft, "completion_losses", scripted_loss)
    run = tuned(SMALL, base, rows, tmp_path)
    written = weights_in(run)
    assert [all(torch.equal(state[name], written[name]) for name in written) for state in states] == [
        False,
        True,
        False,
        False,
    ]
    assert (summary_of(run)["best_step"], summary_of(run)["best_validation_loss"]) == (8, 1.0)


def test_without_a_validation_split_the_last_model_is_written(base, tmp_path, monkeypatch):
    last = {}

    def remember(trainer, *args, **kwargs):
        result = train(trainer, *args, **kwargs)
        last.update({name: tensor.clone() for name, tensor in trainer.model.state_dict().items()})
        return result

    train = Trainer.train
    monkeypatch.setattr(Trainer, "train", remember)
    run = tuned(SMALL, base, rows_in(tmp_path / "rows", validation=0), tmp_path / "run")
    assert all(torch.equal(last[name], tensor) for name, tensor in weights_in(run).items())
    assert history_in(run, "validation_loss") == []
    assert (summary_of(run)["steps"], summary_of(run)["best_validation_loss"]) == (14, None)


@pytest.mark.parametrize(
    ("epochs", "message"),
    [(2, r"training loss became nan at step"), (0.01, r"validation loss became nan at step 1")],
)
def test_a_loss_that_is_not_a_number_is_an_error(base, rows, tmp_path, epochs, message):
    with pytest.raises(StageError, match=message + r".*Lower the stage's learning_rate"):
        tuned(changed(learning_rate=1e30, epochs=epochs, warmup=0, evaluations=1), base, rows, tmp_path)
    assert not (tmp_path / "output" / "model").exists()


def test_nothing_is_printed_on_standard_output(base, rows, tmp_path, capfd):
    tuned(changed(epochs=0.5), base, rows, tmp_path)
    assert capfd.readouterr().out == ""


def test_the_folder_loads_with_its_tokenizer(uninterrupted, base):
    model = AutoModelForCausalLM.from_pretrained(uninterrupted.out / "model")
    tokenizer, before = (AutoTokenizer.from_pretrained(f / "model") for f in (uninterrupted.out, base))
    assert tokenizer.get_vocab() == before.get_vocab()
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert summary_of(uninterrupted)["template"] == "phi3"
    assert tokenizer.chat_template == load_template("phi3", before).chat_template


def test_what_is_done_before_between_and_after_the_steps_is_told(base, rows, tmp_path):
    """Each of these takes minutes with a large model on an old machine."""
    told = []
    config = changed(epochs=1, evaluations=1)
    run = tuned(config, base, rows, tmp_path, phase=told.append, progress=lambda *news: told.append(news[2]))
    checks = [what for what in told if what.startswith("check ")]
    assert checks[0] == "check 1 of 9: causality"
    assert len(checks) == 9
    steps = len(history_in(run, "train_loss"))
    assert told == [
        "loading the base model",
        "tokenizing the rows",
        *checks,
        "the first step",
        *["steps"] * steps,
        "evaluating",
        "writing the model",
    ]


# Resume (pitfall 18)


def at_step(last):
    def watch(done, *_):
        if done == last:
            die()

    return {"progress": watch}


def half_way_through_checkpoint(number):
    """Die with the model of a checkpoint on the disk, and its optimizer, states and marker not."""
    save = Trainer._save_optimizer_and_scheduler

    def dying(trainer, folder):
        if folder.endswith(f"checkpoint-{number}"):
            die()
        save(trainer, folder)

    Trainer._save_optimizer_and_scheduler = dying
    return {}


def while_a_checkpoint_is_removed():
    def dying(folder, *_, **__):
        os.unlink(f"{folder}/optimizer.pt")  # noqa: PTH108
        die()

    shutil.rmtree = dying
    return {}


def while_the_model_is_written():
    save = PreTrainedModel.save_pretrained

    def dying(model, folder, *args, **kwargs):
        save(model, folder, *args, **kwargs)
        if "output" in str(folder):
            die()

    PreTrainedModel.save_pretrained = dying
    return {}


# In the child alone: each prepares the process that is then killed.
MOMENTS = {
    "before the first checkpoint": lambda: at_step(2),
    "after the first checkpoint": lambda: at_step(5),
    "half of the first checkpoint is written": lambda: half_way_through_checkpoint(4),
    "half of the second checkpoint is written": lambda: half_way_through_checkpoint(8),
    "an old checkpoint is being removed": while_a_checkpoint_is_removed,
    "the outputs are being written": while_the_model_is_written,
}


def tune_until(moment, base, rows, folder):
    torch.set_num_threads(1)
    tuned(SMALL, base, rows, folder, **MOMENTS[moment]())


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_is_continued_to_the_same_bits(
    uninterrupted, base, rows, tmp_path, processes, moment
):
    process = processes.Process(target=tune_until, args=(moment, base, rows, tmp_path))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    steps = []
    run = tuned(SMALL, base, rows, tmp_path, progress=lambda done, *_: steps.append(done))
    assert_same_outputs(run, uninterrupted)
    from_the_start = moment in ("before the first checkpoint", "half of the first checkpoint is written")
    assert (steps[:1] == [1]) == from_the_start
