"""`touchstone label` as a user meets it: a spreadsheet and back, a terminal, the card, its refusals."""

import csv
import fcntl
import os
import pty
import select
import subprocess
import termios
import time

import pytest

from tests.commands import COMMAND, heed_interruptions

ROWS = 6  # of the test split


@pytest.fixture(scope="module")
def judged(make_workplace):
    """A workplace of its own, since labels are added to what is there, and its one run."""
    workplace = make_workplace("labels")
    result = workplace("run", "tiny.yaml", "--json")
    assert result.status == 0, result.err
    return workplace, result


def labelled(path, label):
    """Fill in a file that the command wrote: `label` of each row's id."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    for row in rows:
        row[1] = label(int(row[0].rpartition("/")[2]))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.mark.slow
def test_labels_go_out_as_a_spreadsheet_and_come_onto_the_card(judged):
    workplace, result = judged
    run = result.json["run_id"]
    file = workplace.folder / "labels.csv"
    asked = workplace("label", run, "--to", "csv", "--output", str(file), "--by", "ann", "--json")
    assert asked.status == 0, asked.err
    assert (asked.json["drawn"], asked.json["labels"]) == (ROWS, None)
    labelled(file, lambda row: str(row % 6))
    taken = workplace("label", run, "--from", str(file), "--json")
    assert taken.status == 0, taken.err
    assert (taken.json["given"], taken.json["labels"]["labelled"]) == (ROWS, ROWS)
    assert taken.json["labels"]["people"] == [{"by": "ann", "rows": ROWS}]
    again = workplace("label", "tiny", "--from", str(file), "--json")
    assert again.json["given"] == 0
    card = workplace("report", run, "--json").json
    (entry,) = card["labels"]["means"]
    assert (entry["model"], entry["labelled"], entry["least"]) == ("fine-tuned", ROWS, 10)
    told = workplace("report", run)
    assert "not corrected: 6 of 6 rows labelled, and a correction needs 10" in " ".join(told.out.split())
    compared = workplace("compare", run, f"{run}:base")
    assert "0 rows are labelled for both" in " ".join(compared.out.split())


@pytest.mark.slow
def test_what_cannot_be_labelled_is_one_message(judged):
    workplace, result = judged
    run = result.json["run_id"]
    for arguments, told in {
        (run,): "needs a terminal",
        ("nothing-of-the-kind",): "no registered model and no profile",
        (run, "--judge", "ollama:none"): "was not scored by ollama:none; there are metric:chrf",
        (run, "--to", "paper"): "expected one of terminal, csv, mlflow",
        (run, "--to", "csv"): "--output labels.csv",
        (run, "--from", "x.csv", "--to", "csv"): "Leave them out",
        (run, "--from", "none.csv"): "none.csv cannot be read",
        (f"{run}:other",): "has no model 'other'",
        (run, "--by", " "): "expected a name",
    }.items():
        refused = workplace("label", *arguments, "--json")
        assert (refused.status, told in refused.json["error"]) == (2, True), (arguments, refused.out)
        assert "Traceback" not in refused.err


def _take_terminal():
    """Ctrl-C reaches those whose terminal it is."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    heed_interruptions()


@pytest.mark.slow
def test_a_key_is_a_label_and_ctrl_c_loses_none(judged):
    workplace, result = judged
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "label", f"{result.json['run_id']}:base", "--by", "bob"],
        cwd=workplace.folder,
        env=workplace.environment | {"COLUMNS": "100"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    told, keys, asked, started = b"", ["4", "2", "\x03"], 0, time.monotonic()
    while process.poll() is None and time.monotonic() - started < 120:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                told += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        if told.count(b"q quit") > asked and keys:
            asked = told.count(b"q quit")
            os.write(ours, keys.pop(0).encode())
    assert process.wait(10) == 130, told.decode()
    os.close(ours)
    found = workplace("label", f"{result.json['run_id']}:base", "--to", "csv", "--output", "b.csv", "--json")
    assert found.json["labels"]["people"] == [{"by": "bob", "rows": 2}]
    with (workplace.folder / "b.csv").open(encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.reader(file))) == ROWS + 1
