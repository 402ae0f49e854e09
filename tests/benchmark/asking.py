"""Suites and models as the stages of a benchmark have them, small enough for tests."""

import json
from dataclasses import dataclass
from pathlib import Path

from lm_eval.api.instance import Instance

from tasks.benchmark.likelihood import LikelihoodModel
from tasks.benchmark.suite import suite
from tasks.config import BenchmarkConfig
from tasks.models.loading import load_model
from tests.serve.tiny import tiny_model

VERSION = {"lm_eval": "0.4"}
QUIZ = [
    {
        "question": f"What is the opposite of hot, {place}?",
        "choices": ["cold", "warm", "an instruction"],
        "answer": place % 3,
    }
    for place in range(9)
]
HUB = {
    "arc_easy/test": [
        {
            "id": str(place),
            "question": f"Which is it, {place}?",
            "choices": {"text": ["cold", "hot", "a capital"], "label": ["A", "B", "C"]},
            "answerKey": "ABC"[place % 3],
        }
        for place in range(6)
    ],
    "winogrande/validation": [
        {
            "sentence": f"The task was hot for the {place} since _ is cold.",
            "option1": "the capital",
            "option2": "France",
            "answer": "12"[place % 2],
        }
        for place in range(4)
    ],
    "lambada_openai/test": [{"text": f"The capital {place} of France is cold"} for place in range(4)],
}


@dataclass
class Asked:
    """A model, and the folders of a suite."""

    model: Path
    questions: Path
    data: Path
    suite: Path


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def config_of(**settings):
    given = {"questions": {"sources": [{"path": "quiz.jsonl"}]}, "device": "cpu"}
    return BenchmarkConfig.model_validate(given | settings)


def asked_in(folder, stage_run, config, hub=(), quiz=QUIZ, context=256):
    """A tiny model, and the suite of `config` over `quiz` and what `hub` names."""
    tiny_model(folder / "made", context=context)
    write_rows(folder / "questions" / "quiz.jsonl", quiz)
    for name in hub:
        write_rows(folder / "data" / f"{name}.jsonl", HUB[name])
    run = stage_run("suite", fingerprints=VERSION)
    data = folder / "data" if hub else None
    suite(config.suite, run, data=data, questions=folder / "questions")
    return Asked(folder / "made", folder / "questions", data, run.out)


def likelihoods(model, pairs, journal, batch_tokens=1024):
    """Of a model in a folder, of each (context, continuation)."""
    return asking(*load_model(model), journal, batch_tokens).loglikelihood(requests(pairs))


def asking(network, tokenizer, journal, batch_tokens=1024):
    return LikelihoodModel(network.eval(), tokenizer, batch_tokens, journal, lambda done, of: None)


def requests(pairs):
    return [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
