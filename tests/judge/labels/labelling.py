"""Responses of a judge stage, and the labels of them, in a real store."""

import json

from tasks.config import LabelsConfig, StageConfig
from tasks.judge.labels.sample import Design
from tasks.judge.labels.store import LabelSet
from tasks.record.stage import execute
from tasks.record.work import Stage, Work

SCORER = "ollama:judge"
LABELS = Stage("labels", 1, "tasks.judge.labels.stage:labels")


class Made(StageConfig):
    """What the responses are, as JSON."""

    what: str


def make_responses(config, run):
    lines = json.loads(config.what)
    (run.out / "responses.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
    )


def row_of(index, **changes):
    asked = {"instruction": f"Name city {index}.", "input": "", "output": f"City{index}", "prompt": "p"}
    return {"id": index, "response": f"Town{index}", **asked} | changes


def responses_of(tracking, rows):
    config = Made(what=json.dumps(rows))
    return execute(tracking, Work(Stage("generate", 1, f"{__name__}:make_responses"), config))


def open_set(tracking, reference, rows, seed=1, scores=None):
    given = scores or {row.id: 20.0 * (row.id % 6) for row in rows}
    return LabelSet.open(tracking, reference, "trial", lambda: Design.of(rows, given, SCORER, seed))


def labelled(tracking, reference, rows, labels, by="ann"):
    """Give these labels, by row id; returns the set."""
    found = open_set(tracking, reference, rows)
    found.draw(len(rows))
    traces = found.with_traces([row for row in rows if row.id in labels])
    for row, label in labels.items():
        found.save(traces[row], label, by)
    return found


def labels_record(tracking, reference):
    from tasks.judge.labels.stage import labels_fingerprint

    config = LabelsConfig(of=reference.digest)
    fingerprints = labels_fingerprint(tracking, reference.digest)
    return execute(tracking, Work(LABELS, config, {"responses": reference}, fingerprints))
