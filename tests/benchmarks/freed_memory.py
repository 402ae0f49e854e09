"""What keeping freed memory is worth: training steps with and without it, in turn, as a ratio.

    python tests/benchmarks/freed_memory.py

In float32, which every CPU multiplies in. It asserts nothing; the last table is in docs/benchmarks.md.
"""

import json
import resource
import statistics
import subprocess
import sys
import time

import torch

from tasks.machine.device import pick_device
from tasks.models.gpt import GPT, GPTConfig

ROUNDS, WARM_UP, STEPS = 5, 3, 12
SETTINGS = {
    "quickstart (vocabulary 2,048, batch 8 x 256)": (GPTConfig(2048, 256, 3, 4, 128), 8),
    "book (vocabulary 50,257, batch 4 x 256)": (GPTConfig(50257, 256, 4, 4, 128), 4),
}


def measure(name: str, kept: bool) -> None:
    """Print seconds a step and the largest resident memory of this process, as JSON."""
    config, batch = SETTINGS[name]
    device = pick_device("cpu") if kept else torch.device("cpu")
    torch.manual_seed(0)
    model = GPT(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tokens = torch.randint(config.vocab_size, (batch, config.context + 1))
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            started = time.perf_counter()
        (model(tokens[:, :-1], tokens[:, 1:]) / tokens[:, 1:].numel()).backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = (time.perf_counter() - started) / STEPS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "memory": memory}))


def main() -> None:
    print("| setting, in float32 | default | kept | default / kept | memory, default | memory, kept |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in SETTINGS:
        found = {True: [], False: []}
        for _ in range(ROUNDS):
            for kept in (False, True):
                command = [sys.executable, __file__, name, "kept" if kept else "default"]
                found[kept].append(json.loads(subprocess.check_output(command)))
        seconds = {kept: [run["seconds"] for run in runs] for kept, runs in found.items()}
        memory = {kept: statistics.median(run["memory"] for run in runs) for kept, runs in found.items()}
        ratio = statistics.median(d / k for d, k in zip(seconds[False], seconds[True], strict=True))
        medians = {kept: statistics.median(runs) * 1000 for kept, runs in seconds.items()}
        print(
            f"| {name} | {medians[False]:.0f} ms | {medians[True]:.0f} ms | {ratio:.2f} "
            f"| {memory[False]:.0f} MB | {memory[True]:.0f} MB |",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[1], sys.argv[2] == "kept")
    else:
        main()
