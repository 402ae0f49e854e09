"""`touchstone models`, `promote` and `rollback`: what they print, and one message for each mistake."""

import json
import subprocess
import sys

import pytest

from flows.profiles.load import load_profile
from tasks.errors import UsageError
from tasks.record.tracking import open_tracking
from tasks.registry.champions import set_champion
from tests.commands import CHECKOUT

QUICKSTART = CHECKOUT / "deployments" / "profiles" / "quickstart.yaml"
NAME, OTHER = "touchstone-one", "touchstone-other"


@pytest.fixture(scope="module")
def home(tmp_path_factory, fresh_store):
    """A store whose registered model has three versions, of which 1 and then 2 were promoted."""
    folder = tmp_path_factory.mktemp("registry")
    tracking = fresh_store(folder / "mlruns")
    add(tracking, NAME, 3)
    set_champion(tracking, NAME, 1, "promotion", "the first champion")
    set_champion(tracking, NAME, 2, "promotion", "champion: +11.0 points")
    return folder


def add(tracking, name, versions):
    tracking.client.create_registered_model(name)
    for number in range(1, versions + 1):
        source = tracking.root / "logged" / f"{name}-{number}"
        source.mkdir(parents=True)
        (source / "MLmodel").write_text("flavors: none")
        tags = {
            "touchstone.mean": f"{10 * number}.0",
            "touchstone.scorer": "metric:chrf",
            "touchstone.decision": f"decided {number}",
        }
        tracking.client.create_model_version(name, source.as_uri(), tags=tags)


@pytest.fixture
def touchstone(home, command, monkeypatch):
    """The command in this process; no server of Prefect is there, or needed."""
    monkeypatch.setenv("TOUCHSTONE_HOME", str(home))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")

    def run(*arguments, status=0):
        found, out, err = command(*arguments)
        assert "Traceback" not in err
        assert found == status, err
        return json.loads(out) if "--json" in arguments else out

    return run


def test_a_version_is_found_promoted_and_rolled_back(touchstone):
    (listed,) = touchstone("models", "--json")["models"]
    assert (listed["name"], listed["champion"]) == (NAME, 2)
    assert [version["mean"] for version in listed["versions"]] == [10, 20, 30]

    moved = touchstone("promote", "3", "--because", "it is kinder", "--json")
    assert moved.pop("at").endswith("Z")
    assert moved.pop("by")
    assert moved == {
        "status": "completed",
        "name": NAME,
        "version": 3,
        "previous": 2,
        "because": "it is kinder",
    }
    shown = touchstone("models")
    assert "decided 3; champion by override: it is kinder" in " ".join(shown.split())

    back = touchstone("rollback", "--because", "users complain")
    assert back == f"{NAME}: version 2 is the champion now (it was version 3): users complain\n"
    assert touchstone("rollback", "--json")["version"] == 1
    error = touchstone("rollback", "--json", status=2)["error"]
    assert error == f"{NAME} has no champion to roll back to: version 1 is its first"
    assert touchstone("promote", f"{NAME}/2", "--because", "again", "--json")["previous"] == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("promote", "3"), "--because"),
        (("promote", "3", "--because", " "), "--because is empty"),
        (("promote", "three", "--because", "x"), "'three' is no run, no registered model and no profile"),
        (("promote", "7", "--because", "x"), f"{NAME} has no version 7; there are: 1, 2, 3"),
        (("promote", "none/7", "--because", "x"), f"no registered model 'none'; there are {NAME}"),
        (("promote", f"models:/{NAME}/3", "--because", "x"), f"leave models:/ out, as in {NAME}/3"),
        (("promote", f"{NAME}:3", "--because", "x"), f"expected {NAME}/3 for a version"),
        (("promote", f"{NAME}/3", "--model", OTHER, "--because", "x"), f"is of {NAME}, --model says {OTHER}"),
        (("promote", "2", "--because", "x"), "is the champion already"),
        (("rollback", "--model", "none"), "no registered model 'none'"),
    ],
)
def test_a_mistake_is_one_message(touchstone, home, arguments, hint):
    set_champion(open_tracking(home / "mlruns"), NAME, 2, "promotion", "again")
    assert hint in touchstone(*arguments, "--json", status=2)["error"]


def test_of_several_models_one_must_be_named(touchstone, home):
    tracking = open_tracking(home / "mlruns")
    add(tracking, OTHER, 1)
    error = touchstone("promote", "1", "--because", "x", "--json", status=2)["error"]
    assert f"there are 2 registered models: {NAME}, {OTHER}. Say which, as --model NAME" in error
    assert touchstone("promote", "1", "--model", OTHER, "--because", "x", "--json")["previous"] is None
    assert (
        "no champion to roll back to" in touchstone("rollback", "--model", OTHER, "--json", status=2)["error"]
    )
    tracking.client.delete_registered_model(OTHER)


def test_a_registry_with_nothing_in_it_says_how_to_begin(tmp_path, touchstone, fresh_store, monkeypatch):
    fresh_store(tmp_path / "mlruns")
    monkeypatch.setenv("TOUCHSTONE_HOME", str(tmp_path))
    assert "No model is registered yet; `touchstone run quickstart` registers one.\n" in touchstone("models")
    assert touchstone("models", "--json")["models"] == []
    assert "no model is registered yet" in touchstone("rollback", "--json", status=2)["error"]


def test_these_commands_need_no_prefect():
    code = """
import sys
import flows.command.cli
import tasks.registry.champions
assert not {"prefect", "torch", "transformers"} & set(sys.modules), "imported"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# A profile that begins with the champion


def test_base_in_an_override_replaces_the_profiles_pretraining():
    profile = load_profile("quickstart", [f"base.model=models:/{NAME}@champion"])
    assert profile.base.model == f"models:/{NAME}@champion"
    assert profile.base.is_registered
    assert profile.corpus is None
    assert profile.stages()[:3] == ["download", "rows", "base"]
    assert load_profile("quickstart", [f"base=models:/{NAME}/3"]).base.model == f"models:/{NAME}/3"
    assert load_profile("quickstart", ["base=null"]).corpus is not None


def test_base_beside_a_corpus_is_refused_if_both_are_asked_for():
    with pytest.raises(UsageError, match="corpus and base: a model is either pretrained"):
        load_profile("quickstart", ["base.model=owner/name", "corpus=here.txt"])


def test_missing_champion_is_told_before_anything_starts(touchstone):
    error = touchstone(
        "run", str(QUICKSTART), "--set", "base.model=models:/none@champion", "--json", status=2
    )
    assert f"there is no registered model 'none'; there are {NAME}" in error["error"]
