"""The stages of a comparison, for a flow that makes them, and for a command that finds them all."""

from collections.abc import Sequence
from typing import Any

from flows.dispatch.cards import labels_output
from flows.dispatch.lookup import Runs
from flows.dispatch.runs import read_output
from flows.judging.audits import audits, refusal
from flows.judging.inputs import ComparisonInput
from tasks.config import CompareConfig, JudgeConfig, ResponsesConfig
from tasks.judge.compare.outputs import Comparison
from tasks.judge.compare.pairs import paired
from tasks.judge.protocol.responses import read_rows
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.work import Reference


def compared(
    run: Runs,
    name_a: str,
    name_b: str,
    sides: tuple[ComparisonInput, ComparisonInput],
    responses: ResponsesConfig,
    judge: JudgeConfig,
    config: CompareConfig,
) -> tuple[dict[str, Any], str | None]:
    """What is told of A and B, and why the judges' scores do not count, if they do not."""
    ours, theirs = (_responses(run, side, "ab"[place], responses) for place, side in enumerate(sides))
    _require_pairs(run, ours[0], theirs[0], config)
    audited = audits(run, judge, ours[0])
    chosen = audits(run, judge, ours[0], "pairwise") if config.mode == "pairwise" else {}
    inputs = {}
    for name, own in (("a", ours), ("b", theirs)):
        for place, answers in enumerate(own):
            label, seed = (
                (f"judge {name} seed {place + 1}", f"_{place + 1}") if place else (f"judge {name}", "")
            )
            inputs[f"{name}_responses{seed}"] = answers
            inputs[f"{name}_scores{seed}"] = run.stage("judge", judge, label, responses=answers, **audited)
    labels = {
        f"{name}_labels": found
        for name, own in (("a", ours), ("b", theirs))
        if len(own) == 1 and (found := labels_output(run, own[0], f"labels {name}"))
    }
    made = run.stage("compare", config, **inputs, **labels, **chosen)
    told = {"a": name_a, "b": name_b, **read_output(run.tracking, made, Comparison.read).as_json()}
    return told, refusal(run, audited, judge) or refusal(run, chosen, judge)


def _require_pairs(run: Runs, a: Reference, b: Reference, config: CompareConfig) -> None:
    """Raises UsageError when the two are not of the same rows, before a judge is asked about them."""
    rows = [read_rows(fetch(run.tracking, side) / OUTPUT) for side in (a, b)]
    paired(*rows, only_common=config.only_common)


def _responses(run: Runs, side: ComparisonInput, name: str, config: ResponsesConfig) -> Sequence[Reference]:
    if side.responses:
        return side.responses
    downloaded = run.stage("download", side.file, f"download {name}")
    return (run.stage("responses", config, f"responses {name}", source=downloaded),)
