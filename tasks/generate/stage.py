"""The stage: responses to prompts, losses of the references; continued where it was killed."""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.config import GenerateConfig
from tasks.generate import references, served
from tasks.generate.decoding import Prompt, batches
from tasks.generate.outputs import GenerateSummary
from tasks.generate.prompted import has_reference, prompted, require_writes
from tasks.generate.writers import RowDecoder, Writer, writer_of
from tasks.machine.device import pick_device, warn_of_emulation
from tasks.machine.json_files import as_line, read_whole_lines, write_json
from tasks.models.kinds import require_one_stack
from tasks.models.loading import load_model, use_fused_gelu
from tasks.record.stage import StageRun
from tasks.rows import Row
from tasks.rows.responses import write_responses
from tasks.tokenize.templates import Template

Response = dict[str, Any]
REPORTED_EVERY = 1.0  # seconds


def generate(
    config: GenerateConfig, run: StageRun, *, model: Path, rows: Path, base: Path | None = None
) -> None:
    """Respond with `model/model` to every row of `rows`; write `responses.jsonl`, `summary.json`.

    `rows` is the output of a rows stage, of which the test split is meant, or of a responses stage, whose
    rows need no reference. `base` holds the model that kept adapters were trained on. A response that the
    length limit or the context ended is marked `cut`. Beside each response stands the loss of the row's
    reference, where it has one and the model is in this process. Raises StageError for a prompt that leaves
    no room in the context or has no tokens, and for a classifier. An encoder-decoder reads the prompt as its
    source, and writes the response beside it.
    """
    require_writes(model)
    if not config.in_process:
        require_one_stack(model / "model", "generate.backend=openai")
        responses, asked = served.responses(config, run, model, prompted(rows))
        _write(run, config, responses, asked)
        return
    run.phase("loading the model")
    network, tokenizer = load_model(model / "model", base / "model" if base else None)
    respond(config, run, network, tokenizer, prompted(rows))


def respond(
    config: GenerateConfig,
    run: StageRun,
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    test: Sequence[Row],
) -> None:
    """As `generate`, with a model on the CPU that is loaded already, to some rows."""
    device = pick_device(config.device)
    warn_of_emulation(config.precision, device)
    network = use_fused_gelu(network).to(device).eval()
    writer = writer_of(network, config.template, tokenizer)
    prompts = writer.prompts(test)
    expected = _reference_losses(config, run, writer, test, prompts)
    network.to(getattr(torch, config.precision))
    waiting = [Prompt(row, ids, writer.limit(ids, config.max_new_tokens)) for row, ids in prompts.items()]
    responses = Responses(config, run, writer, waiting).finished()
    _write(run, config, [_joined(row, writer.template, responses, expected) for row in test])


def _reference_losses(
    config: GenerateConfig,
    run: StageRun,
    writer: Writer,
    test: Sequence[Row],
    prompts: dict[int, list[int]],
) -> dict[int, dict[str, Any]]:
    """By row: `reference_loss` (nats per token), `reference_tokens`, `reference_cut`.

    A journal keeps what an earlier attempt has computed, a line for each batch: half a batch would have the
    rows after it share other batches, and round otherwise.
    """
    path = run.checkpoint / "references.jsonl"
    done = {facts.pop("id"): facts for line in read_whole_lines(path) for facts in line}
    known = [row for row in test if has_reference(row)]
    waiting = [writer.reference(row, prompts[row["id"]]) for row in known if row["id"] not in done]
    budget = min(writer.slice_tokens, config.batch_tokens)
    with path.open("a", encoding="utf-8") as journal:
        for batch in references.losses(writer.summed_losses, waiting, budget):
            facts = [
                {
                    "id": one.row,
                    "reference_loss": loss / len(one.completion),
                    "reference_tokens": len(one.completion),
                    "reference_cut": one.cut,
                }
                for one, loss in batch
            ]
            journal.write(as_line(facts))
            journal.flush()
            done |= {one.pop("id"): one for one in facts}
            run.phase(f"losses of references: {len(done)} of {len(known)}")
    return done


class Responses:
    """The tokens of every row, in a journal as rows are finished."""

    def __init__(
        self,
        config: GenerateConfig,
        run: StageRun,
        writer: Writer,
        prompts: Sequence[Prompt],
    ) -> None:
        self.config, self.run, self.writer, self.prompts = config, run, writer, prompts
        self.path = run.checkpoint / "responses.jsonl"
        self.done: dict[int, Response] = {line.pop("id"): line for line in read_whole_lines(self.path)}
        self.rows = self.tokens = 0
        """Of this attempt."""

    def finished(self) -> dict[int, Response]:
        """By row: `ids`, and whether they were `cut`."""
        decoder, ends = self.writer.decoder(self.config), self.writer.ends
        started, reported = time.monotonic(), 0.0
        with self.path.open("a", encoding="utf-8") as journal:
            for batch in self._batches():
                for finished in self._decoded(decoder, batch):
                    for prompt, ids in finished:
                        if prompt.row not in self.done:
                            self.done[prompt.row] = {"ids": ids, "cut": ids[-1] not in ends}
                            journal.write(as_line({"id": prompt.row, **self.done[prompt.row]}))
                    journal.flush()
                    now = time.monotonic()
                    if finished or now - reported > REPORTED_EVERY:
                        reported = now
                        self._report(now - started)
        self._keep_speed(time.monotonic() - started, decoder.read_alone)
        return self.done

    def _batches(self) -> Iterator[list[Prompt]]:
        """What is to be decoded.

        Rows that do not depend on their batch are left out of it when they are done. Others are decoded with
        it again, or rounding might give their neighbours another response than without the kill.
        """
        config = self.config
        independent = config.decoding == "greedy" and config.precision == "float32"
        beams_each = config.beams if config.decoding == "beam" else 1
        for batch in batches(self.prompts, config.batch_tokens, beams_each):
            waiting = [prompt for prompt in batch if prompt.row not in self.done]
            if waiting:
                yield waiting if independent else batch

    def _decoded(self, decoder: RowDecoder, batch: list[Prompt]) -> Iterator[list[tuple[Prompt, list[int]]]]:
        if self.config.decoding == "beam":
            decoded = self.writer.search(batch, self.config.beams)
        else:
            decoded = decoder.decode(batch)
        for finished in decoded:
            self.rows += len(finished)
            self.tokens += sum(len(ids) for _, ids in finished)
            yield finished

    def _report(self, seconds: float) -> None:
        note = f"{self.rows / seconds:.1f} rows/s, {self.tokens / seconds:,.0f} tokens/s"
        self.run.progress(len(self.done), len(self.prompts), "rows", note)

    def _keep_speed(self, seconds: float, read_alone: int) -> None:
        """Tokens generated over the time of their decoding, prompts included, in this attempt."""
        if not self.rows:
            return
        speed = {"rows_per_second": self.rows / seconds, "tokens_per_second": self.tokens / seconds}
        self.run.log_metrics(speed)
        counts = {"rows": self.rows, "tokens": self.tokens, "seconds": seconds, "read_alone": read_alone}
        write_json(self.run.auxiliary / "speed.json", {**counts, **speed})


def _joined(
    row: Row, template: Template, responses: dict[int, Response], expected: dict[int, dict[str, Any]]
) -> Response:
    response = responses[row["id"]]
    return {
        **row,
        "prompt": template.prompt(row),
        "response": template.response(response["ids"]),
        "tokens": len(response["ids"]),
        "cut": response["cut"],
        **expected.get(row["id"], {}),
    }


def _write(
    run: StageRun, config: GenerateConfig, responses: list[Response], asked: served.Asked | None = None
) -> None:
    write_responses(run.out, responses)
    summary = {
        "rows": len(responses),
        "cut": sum(response["cut"] for response in responses),
        "empty": sum(not response["response"] for response in responses),
        "mean_tokens": sum(response["tokens"] for response in responses) / len(responses),
        **_of_references([response for response in responses if "reference_loss" in response]),
    }
    told = {"served": asked.as_json()} if asked else {}
    GenerateSummary(**summary, **told, decoding=_decoding(config)).write(run.out)
    run.log_metrics({name: value for name, value in summary.items() if value is not None})
    columns = ("instruction", "input", "output", "response", "tokens", "cut", "reference_loss")
    run.log_table(
        [{name: response.get(name) for name in columns} for response in responses], "responses.json"
    )


def _of_references(responses: list[Response]) -> dict[str, Any]:
    """How well the references were expected; None where there is none, or their losses cannot be had."""
    if not responses:
        return {"reference_perplexity": None, "reference_cut": 0}
    tokens = sum(response["reference_tokens"] for response in responses)
    nats = sum(response["reference_loss"] * response["reference_tokens"] for response in responses)
    return {
        "reference_perplexity": math.exp(nats / tokens),
        "reference_cut": sum(response["reference_cut"] for response in responses),
    }


def _decoding(config: GenerateConfig) -> dict[str, Any]:
    """The settings that chose the tokens."""
    drawn = ("temperature", "top_k", "top_p", "seed")
    used = {"greedy": (), "sample": drawn, "beam": ("beams",)}[config.decoding]
    own = ("precision",) if config.in_process else ()
    if config.in_process and config.decoding != "beam":
        own = ("repetition_penalty", *own)
    return config.model_dump(include={"decoding", "max_new_tokens", *used, *own})
