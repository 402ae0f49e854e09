"""Responses to the test prompts: batched greedy decoding, continued where it was killed."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from tasks.config import GenerateConfig
from tasks.device import pick_device
from tasks.errors import StageError
from tasks.finetune.supervised import prompt_ids
from tasks.models import load_model
from tasks.record import StageRun
from tasks.rows import Row, load_split
from tasks.templates import TEMPLATES

Response = dict[str, Any]


def generate(config: GenerateConfig, run: StageRun, *, model: Path, rows: Path) -> None:
    """Respond to every row of the test split with `model/model`; write `responses.jsonl`, `summary.json`.

    A response that the length limit or the context ended is marked `cut`. Raises StageError for a prompt
    that leaves no room in the context.
    """
    device = pick_device(config.device)
    network, tokenizer = load_model(model / "model")
    network.to(device).eval()
    test = load_split(rows, "test")
    prompts = {row["id"]: prompt_ids(tokenizer, TEMPLATES[config.template], row) for row in test}
    context = network.config.max_position_embeddings
    _check_room(prompts, context)
    limits = {row: min(config.max_new_tokens, context - len(ids)) for row, ids in prompts.items()}
    path = run.checkpoint / "responses.jsonl"
    done = {response["id"]: response for response in _read_whole_lines(path)}
    waiting = sorted((row for row in test if row["id"] not in done), key=lambda row: len(prompts[row["id"]]))
    before, started = len(done), time.monotonic()
    with path.open("a", encoding="utf-8") as file:
        for batch in _batches(waiting, limits, config.batch_size):
            ids, limit = [prompts[row["id"]] for row in batch], limits[batch[0]["id"]]
            for row, tokens in zip(batch, _decode(network, tokenizer, ids, limit, device), strict=True):
                response = _response(row, tokens, tokenizer, TEMPLATES[config.template].prompt(row))
                done[row["id"]] = response
                file.write(json.dumps(response, ensure_ascii=False) + "\n")
            file.flush()
            rate = (len(done) - before) / (time.monotonic() - started)
            run.progress(len(done), len(test), "rows", f"{rate:.1f} rows/s")
    _write(run, [done[row["id"]] for row in test])


def _check_room(prompts: dict[int, list[int]], context: int) -> None:
    for row, ids in prompts.items():
        if len(ids) >= context:
            raise StageError(
                f"row {row} cannot be answered: its prompt has {len(ids)} tokens and the model's context is "
                f"{context}. Pretrain with a larger context, or leave the row out"
            )


def _batches(waiting: Iterable[Row], limits: Mapping[int, int], size: int) -> Iterator[list[Row]]:
    """Up to `size` neighbours of one limit: a long prompt takes no room in the context from a short one."""
    for _, rows in groupby(waiting, key=lambda row: limits[row["id"]]):
        while batch := list(islice(rows, size)):
            yield batch


def _read_whole_lines(path: Path) -> Iterator[Response]:
    """Responses of an earlier attempt; a last line that a kill cut short is dropped from the file."""
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        path.write_bytes(whole)
    for line in whole.decode().split("\n")[:-1]:
        yield json.loads(line)


@torch.no_grad()
def _decode(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[list[int]],
    limit: int,
    device: torch.device,
) -> list[list[int]]:
    """Up to `limit` new tokens of each prompt, the end token included where the model came to one."""
    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    padded = [[pad] * (longest - len(ids)) + ids for ids in prompts]
    mask = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in prompts]
    output = network.generate(
        input_ids=torch.tensor(padded, device=device),
        attention_mask=torch.tensor(mask, device=device),
        generation_config=GenerationConfig(
            max_new_tokens=limit,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=pad,
        ),
    )
    return [_up_to_end(tokens, tokenizer.eos_token_id) for tokens in output[:, longest:].tolist()]


def _up_to_end(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens


def _response(row: Row, tokens: list[int], tokenizer: PreTrainedTokenizerBase, prompt: str) -> Response:
    return {
        **row,
        "prompt": prompt,
        "response": tokenizer.decode(tokens, skip_special_tokens=True).strip(),
        "tokens": len(tokens),
        "cut": tokens[-1] != tokenizer.eos_token_id,
    }


def _write(run: StageRun, responses: list[Response]) -> None:
    with (run.out / "responses.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(response, ensure_ascii=False) + "\n" for response in responses)
    summary = {
        "rows": len(responses),
        "cut": sum(response["cut"] for response in responses),
        "empty": sum(not response["response"] for response in responses),
        "mean_tokens": sum(response["tokens"] for response in responses) / len(responses),
    }
    (run.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    run.log_metrics(summary)
    columns = ("instruction", "input", "output", "response", "tokens", "cut")
    run.log_table([{name: response[name] for name in columns} for response in responses], "responses.json")
