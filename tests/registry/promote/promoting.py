"""Small outputs that promotion reads, and the stage that promotes them."""

import json
from functools import cache

import torch

from flows.dispatch.lookup import work_of
from tasks.config import StageConfig, on
from tasks.machine.json_files import write_json
from tasks.models.gpt import GPT, GPTConfig
from tasks.preflight.report import CheckResult, Report
from tasks.record.stage import execute
from tasks.record.work import Stage, Work
from tasks.rows import write_rows
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.templates import load_template

SCORER = "metric:chrf"
JUDGE = "ollama:llama3.2"
QUESTIONS = [
    {"id": 100 + index, "instruction": f"Name city {index}.", "input": "", "output": f"City{index} 学"}
    for index in range(31)
]
LINEAGE = {"touchstone.git_commit": "0123abcd", "touchstone.prefect_flow_run_id": "flow-7"}
PROMOTE = Stage(
    "promote", 1, "tasks.registry.promote.stage:promote", holds="tasks.registry.versions:still_registered"
)


class Chained:
    """Runs stages one after another, as a pipeline run does, and remembers which."""

    refresh, reuse = (), "auto"

    def __init__(self, tracking):
        self.tracking, self.labels = tracking, []

    def stage(self, stage, config, label=None, **inputs):
        self.labels.append(label or stage)
        return execute(self.tracking, work_of(stage, config, inputs), label=label)


class Made(StageConfig):
    """What a stage of these tests makes, as JSON."""

    what: str


def made(tracking, name, what):
    """The output of a stage that is there for promotion to read: a model, rows, scores or responses."""
    config = Made(what=json.dumps(what))
    return execute(tracking, Work(Stage(f"made-{name}", 1, f"{__name__}:make_{name}"), config))


def asked(row):
    """The prompt by the template phi3, whose turns do not depend on the tokenizer."""
    return f"<|user|>\n{row['instruction']}<|end|>\n<|assistant|>\n"


def make_model(config, run):
    """A fine-tuned model: its seed, and the check that failed before it was trained, if one did."""
    seed, failed = json.loads(config.what)
    _write_model(run, seed)
    write_json(run.out / "summary.json", {"template": "phi3"})
    write_checks(run.out, "fine-tuning", failed)


def make_pretrained(config, run):
    _write_model(run, 5)
    write_json(run.out / "summary.json", {"parameters": 5})
    (run.out / "history.jsonl").write_text("{}\n")
    write_checks(run.out, "pretraining", json.loads(config.what))


def make_taken_over(config, run):
    """A base model that was not trained here; `what` is what the registry says of it, or null."""
    _write_model(run, 5)
    origin = json.loads(config.what)
    write_json(run.out / "summary.json", {"model": "owner/name"} | ({"registered": origin} if origin else {}))


@cache
def _tokenizer():
    return train_bpe([asked(row) + str(row["output"]) for row in QUESTIONS], 300)


def _write_model(run, seed):
    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    shape = GPTConfig(len(tokenizer), 64, layers=2, heads=2, width=16, end_token=tokenizer.eos_token_id)
    GPT(shape).save(run.out / "model")
    load_template("phi3", tokenizer).export(tokenizer).save_pretrained(run.out / "model")


def write_checks(folder, training, failed):
    """As a training writes them: one check that passed, and the one that failed, if one did."""
    results = [CheckResult("causality", "passed", "1", "1")]
    results += [CheckResult(failed, "failed", "0 of 9 rows", "all")] if failed else []
    write_json(folder / "preflight.json", Report.of(training, results).as_json())


def make_rows(config, run):
    write_rows(run.out / "test.jsonl", QUESTIONS[: json.loads(config.what)])


def make_scores(config, run):
    scorer, mean, scores, judge = json.loads(config.what)
    summary = {
        "headline": scorer,
        "scores": [{"scorer": "other", "mean": 1}, {"scorer": scorer, "status": "ok", "mean": mean}],
        "categories": {},
    }
    weights = (judge or {}).pop("weights", {})
    if weights:
        summary["criteria"] = weights
        summary["scores"] += [{"scorer": on(scorer, name), "status": "ok", "mean": mean} for name in weights]
    if judge:
        (run.out / "judge.json").write_text(json.dumps(judge))
    (run.out / "scores.json").write_text(json.dumps(summary))
    names = [scorer, *(on(scorer, name) for name in weights)]
    lines = [{"id": 100 + index, **dict.fromkeys(names, score)} for index, score in enumerate(scores)]
    (run.out / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_judged(config, run, *, responses):
    """Scores that know the responses they are of."""
    make_scores(config, run)


def make_responses(config, run):
    responses = [row | {"prompt": asked(row), "tokens": 3, "cut": False} for row in QUESTIONS]
    texts = json.loads(config.what)
    lines = [row | {"response": text} for row, text in zip(responses, texts, strict=False)]
    (run.out / "responses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def judged(digest="a" * 64, verdict="pass", prompt="1", despite_audit=False):
    """What a judge stage tells of its judge."""
    judge = {"scorer": JUDGE, "digest": digest, "prompt_version": prompt, "criterion": None}
    judge["audit"] = {"verdict": verdict, "falsifiable": True}
    return {"despite_audit": despite_audit, "criteria": [], "judges": [judge]}


def on_criteria(*, falsifiable, weights=None, **audits):
    """What a judge stage tells of a judge that was asked about several things; `audits` are its verdicts."""
    told = judged()
    (judge,) = told["judges"]
    told["judges"] = [
        judge | {"criterion": name, "audit": {"verdict": verdict, "falsifiable": name in falsifiable}}
        for name, verdict in audits.items()
    ]
    return told | {"weights": weights or dict.fromkeys(audits, 1.0)}


def around(mean, spread=5.0, rows=30):
    """Scores with this mean: half of the rows `spread` above it, half below."""
    return [mean + spread * (-1) ** index for index in range(rows)]


def mean_of(scores):
    present = [score for score in scores if score is not None]
    return sum(present) / len(present)


def versions_named(tracking, name):
    aliases = tracking.client.get_registered_model(name).aliases
    return {alias: int(version) for alias, version in aliases.items()}
