"""Small pairs and models for the trials of reward models."""

from tasks.config import RewardModelConfig
from tasks.machine.json_files import write_json
from tasks.reward_models.stage import reward
from tasks.rows import write_rows
from tests.finetune.tuning import CONTEXT, base_in, row_of
from tests.runs import stage_run_in

SMALL = {
    "template": "phi3",
    "epochs": 2,
    "batch_size": 4,
    "learning_rate": 1e-2,
    "max_length": CONTEXT,
    "evaluations": 3,
    "device": "cpu",
}


def told(**changed):
    return RewardModelConfig(**SMALL | changed)


def mixed(index):
    """Of 40 rows in another order, so that each split has short and long ones."""
    return row_of(7 * index % 40) | {"id": index}


def pairs_in(folder, train=25, validation=7, test=8, pair=mixed):
    """Rows whose rejected response says `none`, and is the longer of the two in a third of them."""
    folder.mkdir()
    every = [pair(index) for index in range(train + validation + test)]
    for name, members in {
        "train": every[:train],
        "validation": every[train : train + validation],
        "test": every[train + validation :],
    }.items():
        write_rows(folder / f"{name}.jsonl", members)
    return folder


def tuned_in(folder, tokenizer, dropout=0.1):
    base_in(folder, tokenizer, dropout)
    write_json(folder / "summary.json", {"template": "phi3"})
    return folder


def rewarding(config, tuned, rows, folder, **watching):
    run = stage_run_in(folder, **watching)
    reward(config, run, tuned=tuned, rows=rows)
    return run
