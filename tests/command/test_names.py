"""What a person may write for a run, a model or a version, and what is said where it names nothing or two."""

import json

import pytest

from flows.dispatch import names
from flows.dispatch.names import resolve_name, resolve_version
from tasks.errors import UsageError

NAME = "touchstone-quick"
BASE = 1_700_000_000_000  # milliseconds


class Store:
    """A store with made-up runs, whose ids are as MLflow draws them."""

    def __init__(self, tracking):
        self.tracking, self.client = tracking, tracking.client
        self.made = 0

    def run(self, name, kind="pipeline", parent=None, **tags):
        self.made += 1
        told = {"mlflow.runName": name}
        told |= {"touchstone.kind": kind, "touchstone.profile": name} if kind else {}
        told |= {"mlflow.parentRunId": parent} if parent else {}
        told |= {tag.replace("_", "."): value for tag, value in tags.items()}
        made = self.client.create_run(self.tracking.experiment_id, BASE + self.made * 60_000, told)
        return made.info.run_id

    def version(self, name, run_id):
        return self.client.create_model_version(name, f"file:///none/{run_id}", run_id=run_id)


@pytest.fixture(scope="module")
def store(tmp_path_factory, fresh_store):
    return Store(fresh_store(tmp_path_factory.mktemp("named") / "mlruns"))


@pytest.fixture(scope="module")
def runs(store):
    """An older finished run, a newer one that failed, one of another profile, and a registered model."""
    done = store.run("quick", touchstone_stage_report="x")
    stage = store.run("promote", kind=None, parent=done)
    failed = store.run("quick")
    store.client.set_terminated(failed, "FAILED")
    store.client.create_registered_model(NAME)
    for number in (1, 2):
        store.version(NAME, stage)
        store.client.set_model_version_tag(NAME, str(number), "n", str(number))
    store.client.set_registered_model_alias(NAME, "champion", "1")
    other = store.run("other", touchstone_stage_report="x")
    return {"done": done, "stage": stage, "failed": failed, "other": other}


def named(store, text, **options):
    return resolve_name(store.tracking, text, **options)


@pytest.mark.parametrize(
    ("text", "run", "model"),
    [
        (None, "other", ""),
        ("@latest", "other", ""),
        ("@latest:base", "other", "base"),
        ("quick", "done", ""),
        ("quick:fine-tuned", "done", "fine-tuned"),
        (f"{NAME}/2", "done", ""),
    ],
)
def test_a_name_is_the_newest_run_that_has_a_report(store, runs, text, run, model):
    found = named(store, text)
    assert (found.run.info.run_id, found.model) == (runs[run], model)


def test_of_any_state_it_is_the_newest(store, runs):
    assert named(store, "quick", finished=False).run.info.run_id == runs["failed"]


@pytest.mark.parametrize("kind", ["labels", "votes"])
def test_newest_of_any_state_holds_no_labels_or_votes(tmp_path, fresh_store, kind):
    store = Store(fresh_store(tmp_path / "mlruns"))
    running = store.run("quick")
    store.run("said", kind=kind)
    assert named(store, "@latest", finished=False).run.info.run_id == running


@pytest.mark.parametrize("length", [8, 31, 32])
def test_part_of_an_id_and_a_stage_name_the_pipeline(store, runs, length):
    assert named(store, runs["failed"][:length]).run.info.run_id == runs["failed"]
    assert named(store, f"{runs['stage'][:length]}:base").run.info.run_id == runs["done"]


def test_the_beginning_of_several_ids_lists_them(store, runs, monkeypatch):
    monkeypatch.setattr(names, "_ID", names.re.compile(r"[0-9a-f]*"))
    with pytest.raises(UsageError, match=r"is the beginning of 4 runs: \w{8} \(other, 2023") as told:
        names._by_beginning(store.tracking, "")
    assert "(quick, " in str(told.value)
    assert ", FAILED)" in str(told.value)


@pytest.mark.parametrize(
    ("text", "number"), [(NAME, 1), (f"{NAME}@champion", 1), (f"{NAME}/2", 2), (f" {NAME}/2 ", 2)]
)
def test_registered_model_is_its_champion_or_said_version(store, runs, text, number):
    assert int(resolve_version(store.tracking, text).version) == number


def test_run_names_its_version_or_says_it_has_none(store, runs, monkeypatch):
    with pytest.raises(UsageError, match=r"\(quick\) registered no model: it is FAILED"):
        resolve_version(store.tracking, runs["failed"])
    with pytest.raises(UsageError, match="leave :base out"):
        resolve_version(store.tracking, "quick:base")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"models:/{NAME}/2", f"leave models:/ out, as in {NAME}/2"),
        (f"{NAME}:2", f"expected {NAME}/2 for a version"),
        (f"{NAME} version 2", f"expected {NAME}/2 for a version"),
        ("@champion", "after its model, as in NAME@champion"),
        (f"{NAME}/9", "has no version 9; there are: 1, 2"),
        (f"{NAME}@best", f"{NAME} has no best"),
        ("touchstone-quik/1", f"did you mean {NAME}?"),
        ("quik", "did you mean quick?"),
        ("0" * 32, "is no run, no registered model and no profile that has finished"),
        ("12", "the beginning of an id has at least 4 characters"),
        ("", "is no run"),
        ('a"b', "is no run"),
        ("it's", "is no run"),
        ("%%%%", "is no run"),
    ],
)
def test_name_of_nothing_is_told_how_names_are_written(store, runs, text, told):
    with pytest.raises(UsageError) as error:
        named(store, text)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_called_as_a_profile_must_be_said_which(store, runs):
    store.client.create_registered_model("other")
    store.version("other", runs["stage"])
    with pytest.raises(UsageError, match=f"say other@champion for the model, or {runs['other'][:8]}"):
        named(store, "other")
    assert named(store, "other:base").run.info.run_id == runs["other"]
    store.client.delete_registered_model("other")


def test_seeds_are_named_by_the_run_of_all_that_has_a_report(tmp_path, fresh_store):
    store = Store(fresh_store(tmp_path / "mlruns"))
    group = store.run("quick", kind="seeds")
    one = store.run("quick seed 1", parent=group, touchstone_stage_report="x")
    store.client.set_tag(one, "touchstone.profile", "quick")
    assert named(store, "quick").run.info.run_id == one
    assert named(store, "quick seed 1").run.info.run_id == one
    store.client.set_tag(group, "touchstone.stage.report", "x")
    assert named(store, "quick").run.info.run_id == group
    assert named(store, None).run.info.run_id == group


def test_where_nothing_was_run_it_says_how_to_begin(touchstone, tmp_path, fresh_store):
    fresh_store(tmp_path / "mlruns")
    status, out, _ = touchstone("report", "--json")
    assert (status, json.loads(out)["error"]) == (
        2,
        "no pipeline has finished yet; start one with: touchstone run quickstart",
    )
