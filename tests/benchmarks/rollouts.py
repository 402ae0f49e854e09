"""Responses that GRPO learns from, drawn by our decoder and by TRL's own `generate`, as ratios.

    python -m tests.benchmarks.rollouts FOLDER

`FOLDER` is the output of a finetune stage whose model has the template phi3, such as that of the profile
`rewards`: only a model that has learned to end gives the lengths that training has. It asserts nothing; the
ratio is in docs/training.md. Both draw in turn for the same prompts of made skills, by the same settings.
Beside that, a step's probabilities forward and back, ours and by TRL's tiles.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from trl import GRPOTrainer

from tasks.config import GrpoConfig
from tasks.machine.device import pick_device
from tasks.makers.skills import make_rows
from tasks.models.adapters import load_to_tune
from tasks.models.architectures import longest
from tasks.models.loading import load_tokenizer
from tasks.record.stage import StageRun
from tasks.reinforce import trainer as room
from tasks.reinforce.checks import padded
from tasks.reinforce.prompts import prompt_data
from tasks.reinforce.rewards import rewards_of
from tasks.reinforce.rollouts import grouped
from tasks.rows import write_rows

ROUNDS, GROUP = 7, 8
SIZES = (64, 128, 256)  # responses a step


def trainer_of(tuned: Path, folder: Path, responses: int) -> room.RewardTraining:
    rows = [row | {"id": place} for place, row in enumerate(make_rows(ROUNDS * max(SIZES) // GROUP, 123))]
    for split in ("train", "validation", "test"):
        write_rows(folder / f"{split}.jsonl", rows if split == "train" else [])
    config = GrpoConfig(
        template="phi3",
        temperature=0.5,
        group_size=GROUP,
        batch_size=responses,
        max_new_tokens=40,
        max_length=128,
        device="cpu",
    )
    device = pick_device("cpu")
    model = load_to_tune(config, tuned / "model", device)
    data = prompt_data(config, load_tokenizer(tuned / "model"), folder, longest(model))
    run = StageRun(folder / "o", folder / "a", folder / "c")
    return room.make_trainer(config, run, model, data, rewards_of(config), device)


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(tuned: Path) -> None:
    print("responses  ours s  TRL s  ratio  step's probabilities: ours s  TRL s  ratio")
    for count in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            measure(trainer_of(tuned, Path(folder), count), count)


def measure(trainer: room.RewardTraining, count: int) -> None:
    model, drawn, learned = trainer.model, [], []
    for turn in range(ROUNDS):
        start = turn * count // GROUP
        prompts = grouped(trainer.data.ids["train"][start : start + count // GROUP], GROUP)
        ours = seconds(lambda: trainer.rollouts.drawn(model, prompts, f"{turn}", lambda: None))  # noqa: B023
        theirs = seconds(lambda: GRPOTrainer._generate_single_turn(trainer, prompts, None, {}, GROUP))  # noqa: B023
        drawn.append((ours, theirs))
        responses = trainer.rollouts.drawn(model, prompts, f"{turn}", lambda: None)
        given = padded(trainer, prompts, responses)
        times = []
        for most in (room.LOGITS, 0):
            room.LOGITS, kept = most, room.LOGITS
            log_probs = trainer._get_per_token_logps_and_entropies
            times.append(seconds(lambda: log_probs(model, *given, compute_entropy=True)[0].sum().backward()))  # noqa: B023
            room.LOGITS = kept
        learned.append(times)
    told = [f"{count:9}"]
    for pairs in (drawn, learned):
        ours, theirs = (median(column) for column in zip(*pairs, strict=True))
        told.append(f"{ours:.3f}  {theirs:.3f}  {median(b / a for a, b in pairs):.2f}")
    print("  ".join(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
