"""What the card says, read from the stages' outputs: no times, no run ids, no paths of this machine."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.config import ReportConfig
from tasks.errors import StageError
from tasks.judge.statistics import paired_interval
from tasks.manifest import canonical_json, digest_of, files_under, sha256_of
from tasks.registry import PROMOTION
from tasks.report.curves import curve
from tasks.report.samples import draw
from tasks.report.wording import BASE, TUNED

LISTED = 50  # files named one by one; of a folder with more, the digest over all of them still stands
RESAMPLES = 10_000
FAMILIES = {"gpt2": "GPT-2", "bloom": "BLOOM"}

Json = dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """The outputs of what instruction rows are for."""

    instructions: Path
    rows: Path
    tuned: Path
    base_responses: Path
    tuned_responses: Path
    base_scores: Path
    tuned_scores: Path
    promotion: Path


@dataclass(frozen=True)
class Folders:
    """The outputs that the card is read from."""

    corpus: Path
    tokens: Path
    base: Path
    judged: Judged | None


@dataclass(frozen=True)
class Answers:
    """The responses of one model with their scores; both by row id, in the order of the test split."""

    responses: dict[int, Json]
    lines: dict[int, Json]
    summary: Json
    """`scores.json`: headline, scores, categories."""
    generated: Json
    """`summary.json` of the generate stage."""


def card(config: ReportConfig, folders: Folders) -> Json:
    """The report as JSON values. Raises StageError when the two models' scores cannot stand side by side."""
    tokens = read_json(folders.tokens / "tokens.json")
    pretraining = read_json(folders.base / "summary.json")
    corpus = _files(folders.corpus)
    model = _model(folders.base / "model" / "config.json")
    found = {
        "title": f"{model['family']} on {_named(corpus)}",
        "corpus": corpus
        | {name: tokens[name] for name in ("documents", "vocab_size", "train", "validation")},
        "model": model,
        "pretraining": pretraining,
        "curves": {"pretraining": curve(read_lines(folders.base / "history.jsonl"), "tokens", pretraining)},
    }
    if folders.judged is None:
        return found
    judged = _judged(config, folders.judged)
    curves = found["curves"] | {
        "finetuning": curve(read_lines(folders.judged.tuned / "history.jsonl"), "step", judged["finetuning"])
    }
    return found | judged | {"curves": curves}


def _judged(config: ReportConfig, folders: Judged) -> Json:
    answers = {
        BASE: _answers(folders.base_responses, folders.base_scores),
        TUNED: _answers(folders.tuned_responses, folders.tuned_scores),
    }
    _check_comparable(answers)
    headline = answers[TUNED].summary["headline"]
    promotion = read_json(folders.promotion / PROMOTION)
    judge = folders.tuned_scores / "judge.json"
    return {
        "title": promotion["name"],
        "instructions": _files(folders.instructions) | read_json(folders.rows / "rows.json"),
        "finetuning": read_json(folders.tuned / "summary.json"),
        "headline": headline,
        "judge": read_json(judge) if judge.exists() else None,
        "scores": [
            {"model": model} | entry for model, own in answers.items() for entry in own.summary["scores"]
        ],
        "differences": [
            _difference(entry, answers, config.seed) for entry in answers[TUNED].summary["scores"]
        ],
        "categories": _categories(answers),
        "responses": [_response_counts(model, own) for model, own in answers.items()],
        "samples": {
            "seed": config.seed,
            "of": len(answers[TUNED].lines),
            "rows": [
                _sample(row, answers, headline)
                for row in draw(_scored_rows(answers[TUNED], headline), config.samples, config.seed)
            ],
        },
        "promotion": promotion,
    }


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_lines(path: Path) -> list[Json]:
    lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() cuts at U+2028
    return [json.loads(line) for line in lines if line]


def _files(folder: Path) -> Json:
    sizes = {name: (folder / name).stat().st_size for name in files_under(folder)}
    digests = {name: sha256_of(folder / name) for name in sizes}
    return {
        "files": len(sizes),
        "bytes": sum(sizes.values()),
        "sha256": digest_of(canonical_json(digests)),
        "listed": [
            {"name": name, "bytes": sizes[name], "sha256": digests[name]} for name in list(sizes)[:LISTED]
        ],
    }


def _named(files: Json) -> str:
    first = files["listed"][0]["name"]
    return first if files["files"] == 1 else f"{first} and {files['files'] - 1:,} more"


# What the models of Hugging Face call the shape; BLOOM and others have no longest context.
SHAPE = {
    "layers": ("n_layer", "num_hidden_layers"),
    "heads": ("n_head", "num_attention_heads"),
    "width": ("n_embd", "hidden_size"),
    "context": ("n_positions", "max_position_embeddings"),
    "vocab_size": ("vocab_size",),
}


def _model(path: Path) -> Json:
    """The family and the shape of a Hugging Face checkpoint; None for what its configuration does not say."""
    config = read_json(path)
    shape = {name: next((config[key] for key in keys if key in config), None) for name, keys in SHAPE.items()}
    return {"family": FAMILIES.get(config["model_type"], config["model_type"])} | shape


def _answers(responses: Path, scores: Path) -> Answers:
    return Answers(
        responses={row["id"]: row for row in read_lines(responses / "responses.jsonl")},
        lines={line["id"]: line for line in read_lines(scores / "scores.jsonl")},
        summary=read_json(scores / "scores.json"),
        generated=read_json(responses / "summary.json"),
    )


def _check_comparable(answers: dict[str, Answers]) -> None:
    base, tuned = answers[BASE], answers[TUNED]
    if base.summary["headline"] != tuned.summary["headline"]:
        raise StageError(
            f"the base model was scored by {base.summary['headline']} and the fine-tuned one by "
            f"{tuned.summary['headline']}; score both by the same"
        )
    ids = [set(part) for own in answers.values() for part in (own.responses, own.lines)]
    if any(own != ids[0] for own in ids[1:]):
        raise StageError("responses and scores of the two models are not of the same rows; run again")


def _difference(entry: Json, answers: dict[str, Answers], seed: int) -> Json:
    """Fine-tuned minus base over the rows that have both scores; None where either has no mean to trust."""
    scorer = entry["scorer"]
    base = next(other for other in answers[BASE].summary["scores"] if other["scorer"] == scorer)
    pairs = [
        (line[scorer], answers[BASE].lines[row][scorer])
        for row, line in answers[TUNED].lines.items()
        if line[scorer] is not None and answers[BASE].lines[row][scorer] is not None
    ]
    difference = low = high = None
    if entry["status"] == base["status"] == "ok" and pairs:
        difference, low, high = paired_interval(*zip(*pairs, strict=True), RESAMPLES, seed)
    return {
        "scorer": scorer,
        "kind": entry["kind"],
        "difference": difference,
        "low": low,
        "high": high,
        "rows": len(pairs),
    }


def _categories(answers: dict[str, Answers]) -> list[Json]:
    """Means of both models for every category and scorer, in order of name; empty without categories."""
    base, tuned = (answers[model].summary["categories"] for model in (BASE, TUNED))
    return [
        {
            "category": category,
            "scorer": scorer,
            "rows": numbers["rows"],
            BASE: base[category][scorer]["mean"],
            TUNED: numbers["mean"],
        }
        for category, scorers in tuned.items()
        for scorer, numbers in scorers.items()
    ]


def _response_counts(model: str, answers: Answers) -> Json:
    kinds = Counter(line["response_kind"] for line in answers.lines.values())
    return {"model": model} | answers.generated | {"kinds": dict(sorted(kinds.items()))}


def _scored_rows(answers: Answers, scorer: str) -> list[tuple[int, str | None, float | None]]:
    return [
        (row, answers.responses[row].get("category"), line[scorer]) for row, line in answers.lines.items()
    ]


def _sample(row: int, answers: dict[str, Answers], scorer: str) -> Json:
    asked = answers[TUNED].responses[row]
    shown = {
        "id": row,
        "category": asked.get("category"),
        "instruction": asked["instruction"],
        "input": asked["input"],
        "reference": asked["output"],
    }
    for model, own in answers.items():
        line = own.lines[row]
        shown[model] = {
            "response": own.responses[row]["response"],
            "cut": own.responses[row]["cut"],
            "kind": line["response_kind"],
            "score": line[scorer],
            "reason": line.get("reason"),
            "missing_because": line.get("missing_because"),
        }
    return shown
