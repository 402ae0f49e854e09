"""What the board lists and shows of a workplace: runs, versions, models, cards, rows to label, tokens."""

import pytest

from flows.board.export import arguments
from flows.board.models import find_chosen, models_of_runs, versions
from flows.board.tables import RUN_COLUMNS, VERSION_COLUMNS, run_rows, version_rows
from tasks.errors import UsageError

MODEL = "touchstone-tiny"


@pytest.fixture(scope="module")
def workplace(finished):
    return finished[0]


@pytest.fixture(scope="module")
def store(workplace):
    with workplace.entered():
        yield workplace.store()


def row_of(columns, rows, first):
    found = next(row for row in rows if row[0] == first)
    return dict(zip([column.name for column in columns], found, strict=True))


def test_runs_are_told_with_numbers(store, finished):
    ran = finished[1].json
    row = row_of(RUN_COLUMNS, run_rows(store), ran["run_id"][:8])
    score = next(one for one in ran["scores"] if one["model"] == "fine-tuned")
    assert (row["profile"], row["state"], row["scorer"]) == ("tiny", "finished", "metric:chrf")
    assert [row[name] for name in ("score", "low", "high")] == [
        round(score[name], 1) for name in ("mean", "low", "high")
    ]
    assert row["weights"] > 1000
    assert row["seconds"] > 0
    assert row["model"] == f"{MODEL}/1"


def test_versions_are_told_with_their_interval(store):
    row = row_of(VERSION_COLUMNS, version_rows(store), f"{MODEL}/1")
    assert row["low"] <= row["score"] <= row["high"]
    assert (row["profile"], row["scorer"]) == ("tiny", "metric:chrf")
    assert row["decision"]


def test_versions_whose_scores_are_gone_have_empty_cells(store, fresh_store, tmp_path):
    other = fresh_store(tmp_path / "mlruns")
    other.client.create_registered_model("<b>net")
    other.client.create_model_version("<b>net", "file:///none")
    (row,) = version_rows(other)
    told = dict(zip([column.name for column in VERSION_COLUMNS], row, strict=True))
    assert (told["version"], told["decision"]) == ("<b>net/1", "registered by another tool")
    assert {told[name] for name in ("weights", "score", "low", "high", "seconds")} == {None}


def test_models_are_found_by_the_names_that_are_listed(store, finished):
    run = finished[1].json["run_id"][:8]
    names = [one.name for one in models_of_runs(store)]
    assert {f"{run}:base", f"{run}:fine-tuned"} <= set(names)
    assert f"{MODEL}/1" in [one.name for one in versions(store)]
    found = find_chosen(store, f"{run}:base")
    assert (found.name, found.is_gguf) == (f"{run}:base", False)


@pytest.mark.parametrize("name", ["/etc", "file:none/x.gguf", f"{MODEL}/99"])
def test_models_that_were_not_made_here_are_none(store, name):
    with pytest.raises(UsageError):
        find_chosen(store, name)


def test_export_is_asked_for_as_the_command_takes_it():
    assert arguments("a/1", "gguf", ["q8_0"]) == [
        *("export", "--to", "gguf", "--quantize", "q8_0", "--json", "--", "a/1")
    ]
    assert "--quantize" not in arguments("a/1", "folder", ["q8_0"])
    with pytest.raises(UsageError, match="choose the model"):
        arguments(None, "folder", [])
