"""Rows, and trials of the audit stage that share their answers, for the trials of the audit."""

from pathlib import Path

from tasks.config import AuditConfig
from tasks.judge.audit.stage import audit
from tasks.judge.protocol.responses import ResponseRow
from tasks.machine.json_files import read_json, read_lines, write_lines
from tasks.makers.skills import make_rows
from tasks.record.stage import StageRun

SCORER = "ollama:llama3.2"


def rows_of(*references):
    """Rows whose references are given."""
    return [
        ResponseRow(index, f"Name thing {index}.", "", reference, "", "")
        for index, reference in enumerate(references)
    ]


def skill_rows(count):
    """Rows as a rows stage writes them."""
    return [{"id": index} | row for index, row in enumerate(make_rows(count, 1))]


class Audited:
    """One audit in a folder of its own; those of the same `shared` folder share their answers."""

    def __init__(self, folder: Path, rows, shared: Path, server, name="test.jsonl", **config):
        place = {"base_url": server.url} if hasattr(server, "url") else {"host": server.address}
        self.config = AuditConfig(
            **{"scorer": SCORER, "resamples": 300, "timeout": 5.0, "attempts": 2} | place | config
        )
        self.rows = folder / "rows"
        self.rows.mkdir(parents=True)
        write_lines(self.rows / name, rows)
        self.pages = []
        self.run = StageRun(
            out=folder / "out",
            auxiliary=folder / "auxiliary",
            checkpoint=folder / "checkpoint",
            shared=shared,
            show=lambda *page: self.pages.append(page),
        )

    def __call__(self):
        audit(self.config, self.run, rows=self.rows)
        return self

    @property
    def report(self):
        return read_json(self.run.out / "audit.json")

    @property
    def controls(self):
        return read_lines(self.run.out / "controls.jsonl")

    @property
    def calls(self):
        return read_lines(self.run.auxiliary / "calls.jsonl")

    def gates(self, verdict):
        """The names of the gates with this verdict."""
        return {gate["name"] for gate in self.report["gates"] if gate["verdict"] == verdict}
