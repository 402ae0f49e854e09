"""Llama from scratch beside GPT-2 at equal parameters, and beside Hugging Face's Llama: steps, and responses.

    python -m tests.benchmarks.llama [--size 124M] [--rounds 5] [--steps 2] [--rows 32] [--new 32]

It asserts nothing; the last table is in docs/benchmarks.md. All ways take turns in one process, so that what
else the machine does meets them alike; ratios are medians over the rounds. Hugging Face's model has our
weights, and the attention that is fastest here (`sdpa`). A step is forward, loss, backward, clipping and
AdamW in the precision that this machine multiplies in, 2 sequences of 256 tokens. Responses are greedy, from
token ids to token ids, by random weights; none ends before its limit.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LlamaForCausalLM

from tasks.config import LLAMA_SIZES, GenerateConfig, PretrainConfig
from tasks.generate.decoding import Decoder, Prompt, batches
from tasks.machine.device import autocast, pick_device
from tasks.models.architectures import HuggingFaceCausal
from tasks.models.gpt import GPT
from tasks.models.llama import Llama
from tasks.pretrain.speed import attention_kernel
from tests.benchmarks.precision import fastest

BATCH, CONTEXT, VOCAB = 2, 256, 50257
PRECISION = fastest()
Ways = dict[str, Callable[[], int]]
"""What is timed; returns how many tokens it made or read."""


def llama(size: str, key_heads: int | None = None) -> Llama:
    config = PretrainConfig(architecture="llama", size=size, context=CONTEXT, key_heads=key_heads)
    torch.manual_seed(0)
    return Llama.from_settings(config, VOCAB, None)


def of_hugging_face(ours: Llama) -> LlamaForCausalLM:
    """Theirs, with the weights of ours."""
    config = ours.config.to_hugging_face()
    config._attn_implementation = "sdpa"
    theirs = LlamaForCausalLM(config)
    missing, unknown = theirs.load_state_dict(ours.state_dict(), strict=False)
    if unknown or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"Hugging Face's Llama does not take our weights: {missing} {unknown}")
    theirs.tie_weights()
    return theirs


def step_of(model: nn.Module, tokens: Tensor) -> Callable[[], int]:
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    device = torch.device("cpu")

    def step() -> int:
        with autocast(device, PRECISION), attention_kernel(device, PRECISION, CONTEXT):
            loss = model(tokens[:, :-1], tokens[:, 1:])
        (loss / BATCH / CONTEXT).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return BATCH * CONTEXT

    return step


def training(size: str) -> Ways:
    tokens = torch.randint(VOCAB, (BATCH, CONTEXT + 1), generator=torch.Generator().manual_seed(0))
    ours = llama(size, LLAMA_SIZES[size][1])  # a key for each query, which makes it as large as the GPT-2
    gpt2 = GPT.from_settings(PretrainConfig(size=size, context=CONTEXT), VOCAB, None)
    print(f"Llama {ours.parameter_count():,} parameters, GPT-2 {gpt2.parameter_count():,}", flush=True)
    models = {
        "Hugging Face Llama, sdpa": HuggingFaceCausal(of_hugging_face(ours)),
        "Touchstone Llama": ours,
        "Touchstone GPT-2": gpt2,
    }
    return {name: step_of(model.train(), tokens) for name, model in models.items()}


def generating(size: str, rows: int, new: int) -> Ways:
    draw = torch.Generator().manual_seed(1)
    prompts = [
        torch.randint(VOCAB, (int(length),), generator=draw).tolist()
        for length in torch.randint(36, 65, (rows,), generator=draw)
    ]
    grouped = of_hugging_face(llama(size)).eval().to(getattr(torch, PRECISION))
    heads = LLAMA_SIZES[size][1]
    alone = of_hugging_face(llama(size, heads)).eval().to(getattr(torch, PRECISION))
    return {
        "Hugging Face generate": lambda: theirs(grouped, prompts, new),
        "Touchstone decoder": lambda: ours(grouped, prompts, new),
        f"Touchstone decoder, a key for each of the {heads} heads": lambda: ours(alone, prompts, new),
    }


@torch.no_grad()
def theirs(model: LlamaForCausalLM, prompts: list[list[int]], new: int) -> int:
    config = GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=0)
    longest = max(map(len, prompts))
    padded = [[0] * (longest - len(ids)) + ids for ids in prompts]
    mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
    output = model.generate(torch.tensor(padded), attention_mask=torch.tensor(mask), generation_config=config)
    return output[:, longest:].numel()


def ours(model: LlamaForCausalLM, prompts: list[list[int]], new: int) -> int:
    config = GenerateConfig(max_new_tokens=new, precision=PRECISION)
    decoder = Decoder(model, config, frozenset())
    rows = [Prompt(row, ids, new) for row, ids in enumerate(prompts)]
    return sum(
        len(tokens)
        for batch in batches(rows, config.batch_tokens)
        for finished in decoder.decode(batch)
        for _, tokens in finished
    )


def measure(ways: Ways, rounds: int, repeats: int) -> None:
    """Print of each way its median rate, and its median ratio to the first way's of the same round.

    Also by the processor's time, which other work on the machine disturbs less.
    """
    rates: dict[str, list[float]] = {way: [] for way in ways}
    computing: dict[str, list[float]] = {way: [] for way in ways}
    for make in ways.values():  # the first time allocates
        make()
    for _ in range(rounds):
        for way, make in ways.items():
            started, computed = time.perf_counter(), time.process_time()
            tokens = sum(make() for _ in range(repeats))
            rates[way].append(tokens / (time.perf_counter() - started))
            computing[way].append(tokens / (time.process_time() - computed))
    rival = next(iter(ways))
    print(f"| way | tokens/s | times {rival} | least and most | by processor time |\n|---|---|---|---|---|")
    for way, own in rates.items():
        ratios, computed = (
            [one / other for one, other in zip(of[way], of[rival], strict=True)] for of in (rates, computing)
        )
        print(
            f"| {way} | {statistics.median(own):,.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} | {statistics.median(computed):.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=sorted(LLAMA_SIZES), default="124M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--new", type=int, default=32)
    arguments = parser.parse_args()
    pick_device("cpu")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {PRECISION}, "
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"
    )
    print("\nTraining steps\n")
    measure(training(arguments.size), arguments.rounds, arguments.steps)
    print("\nResponses\n")
    measure(generating(arguments.size, arguments.rows, arguments.new), arguments.rounds, 1)


if __name__ == "__main__":
    main()
