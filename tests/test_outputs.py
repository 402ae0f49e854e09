"""The bytes of every output that another room reads: they are in the digests of all that is made from it."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from tasks.benchmark.outputs import (
    BenchmarkResults,
    Suite,
    read_items,
    read_questions,
    write_items,
    write_questions,
)
from tasks.classify.outputs import ClassifySummary, Evaluation, read_predictions, write_predictions
from tasks.errors import StageError
from tasks.export.ollama import OllamaModel
from tasks.finetune.outputs import DpoSummary, SftSummary
from tasks.generate.outputs import GenerateSummary
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.compare.outputs import Comparison
from tasks.judge.score.outputs import (
    Judges,
    ScoreEntry,
    ScoreSummary,
    judges_of,
    read_score_lines,
    write_score_lines,
)
from tasks.judge.score.summary import summarise
from tasks.models.summary import ModelSummary, read_history, was_trained, write_history
from tasks.preflight.report import CheckResult, Report
from tasks.pretrain.outputs import PretrainSummary
from tasks.registry.import_model import ImportSummary
from tasks.registry.promote.decision import Decision
from tasks.registry.promotion import Promotion, Registration
from tasks.report.exports import ExportSummary
from tasks.report.outputs import read_report, write_report
from tasks.reward_models.outputs import RewardEvaluation, RewardSummary, read_pairs, write_pairs
from tasks.rows.counts import read_counts, write_counts
from tasks.rows.responses import has_responses, read_responses, write_responses
from tasks.seeds.outputs import Spread
from tasks.series.outputs import Series
from tasks.sweep.outputs import RowValues, Sweep
from tasks.synthesize.outputs import Synthesis

COUNTED = {"parameters": 9, "trainable_parameters": 3}
KEPT_BY_LOSS = {"keep_by": "loss", "keep_rows": 0, "best_validation_score": None, "lowest_loss_step": None}
LOSSES = {"steps": 2, "train_loss": 1.5, "best_step": None, "best_validation_loss": None}

# Of each schema what it is made of, in the order of its file, and what of that is not in the file.
SCHEMAS = [
    (
        ScoreSummary,
        "scores.json",
        {"headline": "ollama:学", "scores": [{"scorer": "x", "mean": None}], "responses": {"share_empty": {}}}
        | {"categories": {"a": {"x": {"mean": 1.0}}}, "agreement": {"alpha": 1}, "criteria": {"polite": 2.0}},
        {},
    ),
    (
        ScoreSummary,
        "scores.json",
        {"headline": "metric:accuracy", "scores": [], "categories": {}},
        {"responses": None, "agreement": None, "criteria": {}},
    ),
    (Judges, "judge.json", {"despite_audit": False, "criteria": [], "judges": [{"scorer": "x"}]}, {}),
    (
        AuditReport,
        "audit.json",
        {"scorer": "x", "mode": "scores", "criterion": None, "falsifiable": True, "digest": "d"}
        | {"version": None, "known_by": "digest", "form": "anchored", "prompt_version": "p", "refusals": []}
        | {"verdict": "pass", "rows": 3, "of": 4, "answers": 60, "missing_because": [], "gates": [{}]}
        | {"controls": []},
        {},
    ),
    (
        Comparison,
        "compare.json",
        {"headline": "x", "mode": "scores", "rows": 2, "rows_a": 2, "rows_b": 3, "tie": 1.0}
        | {"differences": [{}], "pairwise": None, "labels": {"scorer": "x"}, "moved": []},
        {},
    ),
    (
        Comparison,
        "compare.json",
        {"headline": "x", "mode": "pairwise", "rows": 2, "rows_a": 2, "rows_b": 3, "tie": 1.0}
        | {"differences": [], "pairwise": {"wins": 1}, "moved": [{}]},
        {"labels": None},
    ),
    (
        Evaluation,
        "evaluation.json",
        {"labels": ["a", "b"], "positive": None, "splits": {"test": {"rows": 1}}, "baselines": []},
        {"task": "classification", "measure": "accuracy"},
    ),
    (
        Spread,
        "seeds.json",
        {"runs": [{}], "done": [1], "headline": None, "scores": [], "differences": [], "losses": None},
        {"benchmarks": None},
    ),
    (
        RowValues,
        "values.json",
        {"unit": "rows", "validation": {"sums": [2.5], "counts": [3.0]}},
        {"test": None, "scorer": None},
    ),
    (
        Sweep,
        "sweep.json",
        {"profile": "学", "command": "touchstone run 学", "stage": "finetune", "by": "validation_loss"}
        | {
            "direction": "minimize",
            "sampler": "grid",
            "space": [{}],
            "trials": [{}],
            "best": 0,
            "survived": 1,
        }
        | {"importance": None, "flattery": {"noise": None}},
        {"metric": None, "test": ()},
    ),
    (
        Series,
        "series.json",
        {"profile": "学", "tokens_per_parameter": 20.0, "flops": None, "rungs": [{}], "fit": {"alpha": 0.4}}
        | {"held_out": None},
        {"why_not": "", "parts": None},
    ),
    (
        Synthesis,
        "synthesis.json",
        {"kind": "questions", "writers": [{"model": "ollama:学"}], "prompt": "questions.txt, version 1"}
        | {"prompt_digest": "d", "seed": 123, "sources": 2, "documents": 1, "asked": 2, "kept": 1}
        | {"language": None, "filters": [{"name": "form"}], "reasons": {"form": []}, "samples": [{"id": 0}]}
        | {"rejected": []},
        {"judge": None},
    ),
    (
        ExportSummary,
        "export.json",
        {"format": "gguf", "name": "学", "files": {"a.gguf": {"bytes": 1, "sha256": "d"}}}
        | {"checks": [{"name": "n", "found": "f"}], "costs": [{"kind": "q8_0"}], "notes": []},
        {},
    ),
    (
        OllamaModel,
        "ollama.json",
        {"file": "a.gguf", "template": "{{ .Content }}", "system": None, "parameters": {"num_ctx": 9}}
        | {"prompts": [{"messages": [], "tokens": 3}]},
        {},
    ),
    (
        Promotion,
        "promotion.json",
        {"name": "n", "version": 1}
        | vars(Decision(True, "why", "x", 1.0, 0.0, 0.0, "passed", "passed"))
        | {"files": {"MLmodel": "present"}},
        {},
    ),
    (
        PretrainSummary,
        "summary.json",
        {"parameters": 9, "optimizer": "muon", "steps": 2, "tokens": 64, "stopped_early": False}
        | {"train_loss": 1.5, "best_step": 2, "best_validation_loss": 2.0, "best_perplexity": 7.4}
        | {"best_bits_per_byte": 1},
        dict.fromkeys(("objective", "best_masked_accuracy", "best_pseudo_perplexity", "sources")),
    ),
    (
        PretrainSummary,
        "summary.json",
        {"parameters": 9, "optimizer": "muon", "steps": 2, "tokens": 64, "stopped_early": False}
        | {"train_loss": 1.5, "best_step": 2, "best_validation_loss": 2.0, "objective": "masked"}
        | {"best_masked_accuracy": 0.4, "best_pseudo_perplexity": 12.5},
        dict.fromkeys(("best_perplexity", "best_bits_per_byte", "sources")),
    ),
    (
        PretrainSummary,
        "summary.json",
        {"parameters": 9, "optimizer": "muon", "steps": 2, "tokens": 64, "stopped_early": False}
        | {"train_loss": 1.5},
        dict.fromkeys(("best_step", "best_validation_loss", "best_perplexity", "best_bits_per_byte"))
        | dict.fromkeys(("objective", "best_masked_accuracy", "best_pseudo_perplexity", "sources")),
    ),
    (
        SftSummary,
        "summary.json",
        {"method": "sft", "template": "phi3", "loss": "completion", "packing": False, "tune": "full"}
        | COUNTED
        | {"sequences": 4, "supervised_tokens": 40, "rows_cut": 0}
        | LOSSES,
        KEPT_BY_LOSS | {"source_losses": None},
    ),
    (
        DpoSummary,
        "summary.json",
        {"method": "dpo", "template": "phi3", "beta": 0.1, "tune": "lora"}
        | COUNTED
        | {"pairs": 4, "completions_cut": 0, "reward_margin": 0.5, "reward_accuracy": 1.0}
        | {"validation_reward_margin": None, "validation_reward_accuracy": None}
        | LOSSES,
        KEPT_BY_LOSS,
    ),
    (
        RewardSummary,
        "summary.json",
        {"method": "reward", "task": "reward", "template": "phi3", "max_length": 64, "center": 0.01}
        | {"tune": "full"}
        | COUNTED
        | {"pairs": 4, "responses_cut": 0, "reward_margin": 0.5, "reward_accuracy": 1.0}
        | {"validation_reward_margin": None, "validation_reward_accuracy": None}
        | LOSSES,
        {},
    ),
    (
        RewardEvaluation,
        "reward.json",
        {"pairs": 2, "accuracy": {"mean": 0.5}, "loss": 0.7, "rewards": {"chosen": 1.0}, "margin": {}}
        | {"calibration": {"error": 0.1}, "length_correlation": None, "baselines": [{}]}
        | {"warnings": ["学"]},
        {},
    ),
    (Registration, "registered.json", {"name": "n", "version": 1, "files": {"MLmodel": "present"}}, {}),
    (
        ClassifySummary,
        "summary.json",
        {"task": "classification", "labels": ["a", "b"], "tune": "last-block"}
        | COUNTED
        | {"supervised_rows": 4, "rows_cut": 0}
        | LOSSES,
        {"measured_test": True},
    ),
    (
        ImportSummary,
        "summary.json",
        {"model": "owner/name", "revision": None, "parameters": 9},
        {"registered": None, "weights": None},
    ),
    (
        ImportSummary,
        "summary.json",
        {"model": "models:/n/1", "revision": "d", "registered": {"version": "n/1"}, "parameters": 9},
        {"weights": None},
    ),
    (
        ImportSummary,
        "summary.json",
        {"model": "t5 of size tiny", "revision": None, "weights": "random", "parameters": 9},
        {"registered": None},
    ),
    (
        Suite,
        "suite.json",
        {"lm_eval": "0.4", "tasks": [{"name": "学", "rows": 2, "shots": 0}]},
        {},
    ),
    (BenchmarkResults, "benchmark.json", {"tasks": [{"name": "学", "acc": {"mean": 0.5}}]}, {}),
    (
        GenerateSummary,
        "summary.json",
        {"rows": 2, "cut": 0, "empty": 1, "mean_tokens": 2.5, "reference_perplexity": 3.0}
        | {"reference_cut": 0, "decoding": {"decoding": "greedy"}},
        {"served": None},
    ),
]


@pytest.mark.parametrize(("schema", "name", "written", "left_out"), SCHEMAS)
def test_an_output_has_these_bytes(tmp_path, schema, name, written, left_out):
    made = schema(**written | left_out)
    made.write(tmp_path)
    (path,) = tmp_path.iterdir()
    assert path.name == name
    assert path.read_bytes() == (json.dumps(written, indent=2, ensure_ascii=False) + "\n").encode()
    assert {field.name for field in fields(schema)} == written.keys() | left_out.keys()
    assert schema.read(tmp_path) == made


def test_checks_have_these_bytes(tmp_path):
    report = Report.of("fine-tuning", [CheckResult("end token", "passed", "2", "2", "row 3")], "学")
    report.write(tmp_path)
    assert (tmp_path / "preflight.json").read_text(encoding="utf-8") == (
        '{\n  "verdict": "passed",\n  "checks": [\n    {\n      "training": "fine-tuning",\n'
        '      "check": "end token",\n      "verdict": "passed",\n      "found": "2",\n'
        '      "expected": "2",\n      "where": "row 3"\n    }\n  ],\n'
        '  "examples": {\n    "fine-tuning": "学"\n  }\n}\n'
    )
    assert Report.read(tmp_path) == Report.find(tmp_path) == report
    assert Report.find(tmp_path / "nowhere") is None


def test_lines_have_these_bytes(tmp_path):
    """In their order, and nothing but \\n ends a line."""
    write_score_lines(tmp_path, [{"id": 7, "x": None}, {"id": 3, "x": 1.0, "reason": "a\u2028b"}])
    write_predictions(tmp_path, [{"id": 7, "text": "学", "label": "a", "predicted": "b", "probability": 0.5}])
    write_history(tmp_path, [{"step": 1, "train_loss": 2.5}])
    write_pairs(tmp_path, [{"id": 7, "chosen": 1.5, "rejected": -0.5}])
    found = {path.name: path.read_text(encoding="utf-8") for path in Path(tmp_path).iterdir()}
    assert found == {
        "scores.jsonl": '{"id": 7, "x": null}\n{"id": 3, "x": 1.0, "reason": "a\u2028b"}\n',
        "predictions.jsonl": (
            '{"id": 7, "text": "学", "label": "a", "predicted": "b", "probability": 0.5}\n'
        ),
        "history.jsonl": '{"step": 1, "train_loss": 2.5}\n',
        "pairs.jsonl": '{"id": 7, "chosen": 1.5, "rejected": -0.5}\n',
    }
    assert list(read_score_lines(tmp_path)) == [7, 3]
    assert read_predictions(tmp_path)[0]["text"] == "学"
    assert read_history(tmp_path) == [{"step": 1, "train_loss": 2.5}]
    assert read_pairs(tmp_path) == [{"id": 7, "chosen": 1.5, "rejected": -0.5}]
    assert was_trained(tmp_path)
    assert judges_of(tmp_path) == []


def test_benchmark_items_and_questions_have_these_bytes(tmp_path):
    item = {"task": "a", "id": 0, "acc": 1.0, "chance": 0.5, "bits": 2.5, "bytes": 3}
    write_items(tmp_path, [item])
    write_questions(tmp_path, "quiz", [{"id": 0, "prompt": "学", "choices": ["a", "b"], "answer": 1}])
    assert (tmp_path / "items.jsonl").read_text(encoding="utf-8") == (
        '{"task": "a", "id": 0, "acc": 1.0, "chance": 0.5, "bits": 2.5, "bytes": 3}\n'
    )
    assert (tmp_path / "questions" / "quiz.jsonl").read_text(encoding="utf-8") == (
        '{"id": 0, "prompt": "学", "choices": ["a", "b"], "answer": 1}\n'
    )
    assert read_items(tmp_path) == [item]
    assert read_questions(tmp_path, "quiz")[0]["prompt"] == "学"


def test_a_report_and_the_counts_of_rows_have_these_bytes(tmp_path):
    write_report(tmp_path, {"title": "学"})
    write_counts(tmp_path, {"read": 2})
    assert (tmp_path / "report.json").read_bytes() == '{\n  "title": "学"\n}\n'.encode()
    assert (tmp_path / "rows.json").read_bytes() == b'{\n  "read": 2\n}\n'
    assert (read_report(tmp_path), read_counts(tmp_path)) == ({"title": "学"}, {"read": 2})


def test_the_numbers_of_a_scorer_are_those_of_its_schema():
    entry = summarise("x", "metric", [100.0, None], max_missing=1.0)
    assert entry.keys() == ScoreEntry.__required_keys__
    assert ScoreEntry.__optional_keys__ == {"corpus_bleu"}


OF_MODELS = (PretrainSummary, SftSummary, DpoSummary, RewardSummary, ClassifySummary, ImportSummary)
SUMMARIES = [(schema, written) for schema, _, written, _ in SCHEMAS if schema in OF_MODELS]


@pytest.mark.parametrize(("schema", "written"), SUMMARIES)
def test_model_summary_is_read_whichever_stage_made_it(tmp_path, schema, written):
    schema(**written).write(tmp_path)
    found = ModelSummary.read(tmp_path)
    assert found.numbers == written
    assert (found.parameters, found.classifies) == (9, schema in (ClassifySummary, RewardSummary))
    assert found.registered == written.get("registered", {})
    assert (found.best_step, found.best_validation_loss) == (
        written.get("best_step"),
        written.get("best_validation_loss"),
    )
    if "template" in written:
        assert found.template == "phi3"
    else:
        with pytest.raises(StageError, match="the template that it was trained in is not known"):
            _ = found.template
    assert found.labels == (("a", "b") if schema is ClassifySummary else ())


def test_responses_are_a_row_a_line(tmp_path):
    rows = [{"id": 0, "response": "学\u2028"}, {"id": 1, "response": ""}]
    assert not has_responses(tmp_path)
    write_responses(tmp_path, rows)
    text = (tmp_path / "responses.jsonl").read_text(encoding="utf-8")
    assert text == '{"id": 0, "response": "学\u2028"}\n{"id": 1, "response": ""}\n'
    assert has_responses(tmp_path)
    assert read_responses(tmp_path) == rows
