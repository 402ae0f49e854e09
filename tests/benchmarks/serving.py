"""Tokens a second of a served model beside plain Transformers, for one request and for eight at once.

    python -m tests.benchmarks.serving MODEL [--tokens 64] [--rounds 3] [--streams 1 8]

MODEL is a folder of Transformers; all ways are greedy, in one process and run, of the
same prompts. It asserts nothing; the last table is in README.md beside it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import openai
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from flows.serving.engines import LLAMA
from flows.serving.serve import Listener, listening
from tasks.machine.kept_files import KeptFiles
from tasks.serve.front import Engine, Front
from tasks.serve.llama_cpp import llama_cpp, threads
from tasks.serve.models import LocalModel, gguf_of, local_model

QUESTIONS = [
    f"Explain in detail how {what} works."
    for what in "a bicycle,rain,a clock,bread,a magnet,the moon,a bank,a violin".split(",")
]
KINDS = ("f32", "f16", "q8_0", "q4_0")

Way = Callable[[Sequence[str], int], int]
"""Answers questions at once, in so many tokens each at most; returns how many tokens came."""


def transformers(model: LocalModel, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Way:
    def answer(questions: Sequence[str], tokens: int) -> int:
        prompts = [model.template.prompt_ids({"instruction": one, "input": ""}) for one in questions]
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(one)) + one for one in prompts])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
        with torch.no_grad():
            made = network.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
                do_sample=False,
                pad_token_id=tokenizer.eos_token_id,
            )
        return (made.shape[1] - longest) * len(questions)

    return answer


@contextmanager
def served(model: LocalModel, kind: str, parallel: int, cache: Path) -> Iterator[Way]:
    with ExitStack() as stack:
        path = stack.enter_context(gguf_of(model, kind, KeptFiles(cache)))
        options = {"context": 512, "parallel": parallel, "exact": kind == "f32"}
        server = stack.enter_context(llama_cpp(path, "model", **options))
        engine = Engine(server.address, server.headers, {**LLAMA, "ignore_eos": True, "cache_prompt": False})
        place = Listener("127.0.0.1", 0)
        at = stack.enter_context(place.open())
        stack.enter_context(listening(Front("model", engine, model.template, server.context), place, at))
        url = f"http://127.0.0.1:{at.getsockname()[1]}/v1"
        client = stack.enter_context(openai.OpenAI(base_url=url, api_key="none", timeout=600))
        pool = stack.enter_context(ThreadPoolExecutor(parallel))

        def one(question: str, tokens: int) -> int:
            asked = [{"role": "user", "content": question}]
            answer = client.chat.completions.create(model="model", messages=asked, max_tokens=tokens)
            return answer.usage.completion_tokens

        yield lambda questions, tokens: sum(pool.map(lambda each: one(each, tokens), questions))


def speed(way: Way, streams: int, tokens: int) -> float:
    """Tokens a second, prompts included."""
    started = time.perf_counter()
    count = way(QUESTIONS[:streams], tokens)
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    options = parser.parse_args()
    torch.set_num_threads(threads())
    model = local_model(options.model)
    network, tokenizer = model.load()
    network.generation_config.eos_token_id = tokenizer.eos_token_id
    print(f"{threads()} threads, {options.tokens} tokens an answer, medians of {options.rounds} rounds")
    print("| streams | way | tokens/s | times Transformers |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        for streams in options.streams:
            with ExitStack() as stack:
                ways = {"Transformers, float32": transformers(model, network.eval(), tokenizer)}
                for kind in options.kinds:
                    serving = served(model, kind, streams, Path(cache))
                    ways[f"served, {kind}"] = stack.enter_context(serving)
                for way in ways.values():
                    speed(way, streams, 2)
                found = {name: [] for name in ways}
                for _ in range(options.rounds):
                    for name, way in ways.items():
                        found[name].append(speed(way, streams, options.tokens))
            medians = {name: statistics.median(each) for name, each in found.items()}
            rival = next(iter(medians.values()))
            for name, each in medians.items():
                print(f"| {streams} | {name} | {each:.1f} | {each / rival:.2f} |", flush=True)


if __name__ == "__main__":
    main()
