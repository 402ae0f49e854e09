"""Scores and responses of two models, and trials of their comparison."""

from pathlib import Path

from tasks.config import CompareConfig
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.compare.stage import compare
from tasks.judge.score.outputs import Judges, ScoreSummary
from tasks.machine.json_files import read_json, read_lines, write_lines
from tasks.record.stage import StageRun

CHRF = "metric:chrf"
JUDGE = "ollama:llama3.2"


def row_of(index, response, **changes):
    made = {
        "id": index,
        "instruction": f"Name thing {index}.",
        "input": "",
        "output": f"Thing number {index}",
    }
    return made | {"prompt": "", "response": response} | changes


def rows_of(responses):
    return [row_of(index, response) for index, response in enumerate(responses)]


class ComparisonInput:
    """One model: its rows, their scores and how they came to be. Statuses other than "ok" are given."""

    def __init__(self, rows, scores, statuses=None, judge=None, reasons=None):
        self.rows = rows
        self.scores = scores
        self.statuses = statuses or {}
        self.judge = judge
        self.reasons = reasons

    def write(self, folder):
        for name in ("responses", "scores"):
            (folder / name).mkdir(parents=True)
        write_lines(folder / "responses" / "responses.jsonl", self.rows)
        lines = [
            {"id": row["id"], **{scorer: own[place] for scorer, own in self.scores.items()}}
            | ({"reason": self.reasons[place]} if self.reasons else {})
            for place, row in enumerate(self.rows)
        ]
        write_lines(folder / "scores" / "scores.jsonl", lines)
        entries = [
            {
                "scorer": scorer,
                "kind": "metric" if scorer.startswith("metric:") else "judge",
                "status": self.statuses.get(scorer, "ok"),
            }
            for scorer in self.scores
        ]
        ScoreSummary(headline=list(self.scores)[-1], scores=entries, categories={}).write(folder / "scores")
        if self.judge:
            Judges(despite_audit=False, criteria=[], judges=[self.judge]).write(folder / "scores")


class Compared:
    """One comparison in a folder of its own; those of the same `shared` folder share their answers."""

    def __init__(
        self, folder: Path, a: ComparisonInput, b: ComparisonInput, audit=None, shared=None, **config
    ):
        self.config = CompareConfig(**{"attempts": 2, "timeout": 5.0} | config)
        self.inputs = {}
        for name, side in (("a", a), ("b", b)):
            side.write(folder / name)
            self.inputs |= {f"{name}_{part}": folder / name / part for part in ("responses", "scores")}
        if audit:
            self.inputs["audit_0"] = folder / "audit"
            self.inputs["audit_0"].mkdir()
            AuditReport(**audit).write(folder / "audit")
        self.pages = []
        self.run = StageRun(
            out=folder / "out",
            auxiliary=folder / "auxiliary",
            checkpoint=folder / "checkpoint",
            shared=shared,
            show=lambda *page: self.pages.append(page),
        )

    def __call__(self):
        compare(self.config, self.run, **self.inputs)
        return self

    @property
    def report(self):
        return read_json(self.run.out / "compare.json")

    @property
    def headline(self):
        return self.report["differences"][0]

    @property
    def choices(self):
        return read_lines(self.run.out / "choices.jsonl")


def exchanged(found):
    """What the numbers of a comparison are with A and B exchanged; those of no difference stay None."""
    negated = {"low": "high", "lowest_possible": "highest_possible", "difference": "difference"}
    negated |= {high: low for low, high in negated.items()}
    named = {"wins": "losses", "losses": "wins", "missing_a": "missing_b", "missing_b": "missing_a"}
    return (
        found
        | {name: found[other] for name, other in named.items()}
        | {name: None if found[other] is None else -found[other] for name, other in negated.items()}
    )
