"""A comparison of responses that people have labelled shows the corrected difference."""

import re

import pytest
from rich.console import Console

from tasks.config import CompareConfig
from tasks.judge.compare.document import document
from tasks.judge.compare.stage import compare
from tasks.machine.json_files import read_json, write_json
from tasks.record.stage import StageRun
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tests.judge.compare.comparing import CHRF, ComparisonInput, rows_of
from tests.report.test_report_labels import labels_of


def compared(tmp_path, **labels):
    rows = rows_of([f"word {index}" for index in range(24)])
    sides = {"a": ComparisonInput(rows, {CHRF: [90.0] * 24}), "b": ComparisonInput(rows, {CHRF: [30.0] * 24})}
    inputs = {}
    for name, side in sides.items():
        side.write(tmp_path / name)
        inputs |= {f"{name}_{part}": tmp_path / name / part for part in ("responses", "scores")}
    for name, found in labels.items():
        folder = tmp_path / f"{name}_labels"
        folder.mkdir()
        write_json(folder / "labels.json", found)
        inputs[f"{name}_labels"] = folder
    run = StageRun(tmp_path / "out", tmp_path / "auxiliary", tmp_path / "checkpoint")
    compare(CompareConfig(), run, **inputs)
    assert "<h1>Comparison of 24 rows" in (tmp_path / "auxiliary" / "compare.html").read_text(
        encoding="utf-8"
    )
    return read_json(tmp_path / "out" / "compare.json")


def shown(report):
    console = Console(width=300, record=True, file=None, quiet=False)
    with console.capture() as told:
        show(document({"a": "A", "b": "B"} | report), console)
    return {"terminal": told.get(), "markdown": re.sub(r"\\(.)", r"\1", as_markdown(document(report)))}


def test_difference_is_corrected_by_rows_labelled_for_both(tmp_path):
    a = labels_of({row: 3 + row % 3 for row in range(20)})
    b = labels_of({row: row % 3 for row in range(20)})
    report = compared(tmp_path, a=a, b=b)
    found = report["labels"]
    assert (found["labelled"], found["rows"]) == (20, 24)
    assert found["estimate"] == pytest.approx(60)
    for name, text in shown(report).items():
        assert "+60.0 points corrected by 20 rows that people labelled for both (95% " in text, name
        assert "): better." in text, name


def test_labels_of_one_side_are_not_enough(tmp_path):
    report = compared(tmp_path, a=labels_of(dict.fromkeys(range(20), 5)))
    for name, text in shown(report).items():
        assert "not corrected by people's labels: 0 rows are labelled for both" in text, name


def test_without_labels_there_is_no_word_of_them(tmp_path):
    report = compared(tmp_path)
    assert "labels" not in report
    assert all("people" not in text for text in shown(report).values())
