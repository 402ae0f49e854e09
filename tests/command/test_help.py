"""What the command says of itself, and what goes to standard output."""

import json
import sys
import tomllib
from types import SimpleNamespace

import pytest

from flows.command import cli, options
from flows.command.cli import app, main
from flows.dispatch import results
from flows.process.console import console
from flows.profiles.load import load_profile
from tasks.show.document import Document
from tests.commands import CHECKOUT

COMMANDS = (
    "run preflight report runs logs cancel init profiles settings judge audit compare label up deploy worker "
    "models promote rollback export generate synthesize benchmark chat serve clean "
    "sweep series board".split()
)


@pytest.fixture
def touchstone(monkeypatch, capsys):
    """The command in this process, without its imports' garbage collection: status, output, errors."""
    monkeypatch.setattr(cli, "gc", SimpleNamespace(set_threshold=lambda *_: None))
    monkeypatch.setattr(cli, "interrupts", SimpleNamespace(asked=False))

    def run(*arguments, **environment):
        monkeypatch.setattr(sys, "argv", ["touchstone", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        return (ended.value.code or 0, *capsys.readouterr())

    return run


def test_bare_it_prints_its_help_and_no_error(touchstone):
    status, out, err = touchstone()
    assert (status, err) == (2, "")
    assert "Usage: touchstone" in out
    assert "preflight" in out


def test_every_command_has_short_help_and_no_flag_wants_a_bool(touchstone):
    assert {command.name or command.callback.__name__ for command in _commands()} == set(COMMANDS)
    for command in ((), *((name,) for name in COMMANDS)):
        status, out, err = touchstone(*command, "-h")
        assert (status, err) == (0, ""), command
        assert "Usage: touchstone" in out, command
        assert "<bool>" not in out, command
        assert touchstone(*command, "--help") == (0, out, ""), command


def _commands():
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    return [command for group in groups for command in group.registered_commands]


def test_version_is_the_one_that_is_installed(touchstone):
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert touchstone("--version") == (0, f"touchstone {project['version']}\n", "")


def test_the_shell_completes_commands_and_profiles(touchstone):
    def completed(line):
        words = {"_TYPER_COMPLETE_ARGS": line, "_TOUCHSTONE_COMPLETE": "complete_zsh"}
        _, out, err = touchstone(**words)
        assert err == ""
        return out

    assert '"preflight"' in completed("touchstone pre")
    assert '"quickstart"' in completed("touchstone run qui")
    assert "spam" not in completed("touchstone run qui")


def test_a_usage_error_is_one_line(touchstone):
    assert touchstone("nonsense") == (2, "", "error: No such command 'nonsense'.\n")


OUTCOME = {
    "status": "completed",
    "checks": [
        {"training": "pretraining", "check": "causality", "verdict": "passed", "found": "no"}
        | {"expected": "no later token counts", "where": ""}
    ],
    "examples": {"pretraining": "the example"},
}


@pytest.fixture
def checked(monkeypatch):
    """`touchstone preflight` without its work."""
    monkeypatch.setattr(cli, "_ready", lambda *_, **__: (load_profile("quickstart"), []))
    monkeypatch.setattr(results, "run_here", lambda *_: OUTCOME)


@pytest.mark.usefixtures("checked")
def test_the_checks_go_to_standard_output(touchstone):
    status, out, err = touchstone("preflight", "quickstart")
    assert (status, err) == (0, "")
    assert "causality" in out
    assert "the example" in out


@pytest.mark.usefixtures("checked")
def test_json_output_is_one_object_and_nothing_else(touchstone):
    status, out, err = touchstone("preflight", "quickstart", "--json")
    assert (status, json.loads(out), err) == (0, OUTCOME, "")


def test_every_flag_is_told_without_a_type():
    assert issubclass(options.Group, options._FlagsWithoutType)
    assert all(command.cls is options._Command for command in _commands())


def test_a_profile_announces_no_description_that_is_not_its_own():
    assert load_profile("quickstart").description.startswith("a tiny GPT on Python's own reference")
    own = load_profile("quickstart", ["name=mine", "pretrain.steps=5", "pretrain.steps=6"])
    assert own.description == "the profile quickstart, but for name, pretrain.steps"
    described = load_profile("quickstart", ["name=mine", "description=my own words"])
    assert described.description == "my own words"


def test_base_model_that_replaces_sections_names_them():
    """Regression: they were dropped, and the description said that the rest was as in the file."""
    own = load_profile("quickstart", ["finetune.epochs=1", "base=owner/name"])
    assert own.description == (
        "the profile quickstart, but for finetune.epochs, base; base takes the place of corpus, tokenize, "
        "pretrain"
    )
    described = load_profile("quickstart", ["base.model=owner/name", "description=my own words"])
    assert described.description == "my own words; base takes the place of corpus, tokenize, pretrain"


def test_behind_the_title_something_is_shown_at_once(capsys):
    cli._ready("quickstart", ["name=mine"], None, False, refresh=lambda _: [], servers=lambda: None)
    console.close()
    assert capsys.readouterr().err == (
        "touchstone mine: the profile quickstart, but for name\n  starting Prefect ...\n"
    )


def test_a_judging_command_prints_all_of_its_result(capsys):
    options.end_with_documents(
        {"status": "completed", "run_id": "ab12"}, lambda _: [Document("scores", "scores", ())], False
    )
    told = "MLflow run ab12: every call, score and page is in its stages"
    assert capsys.readouterr() == (f"scores\n{told}\n", "")
    options.end_with_documents({"status": "completed", "run_id": "ab12"}, None, True)
    assert capsys.readouterr() == ('{"status": "completed", "run_id": "ab12"}\n', "")


def test_deploy_prints_what_it_did_on_standard_output(touchstone, monkeypatch):
    monkeypatch.setattr("flows.server.readiness.require_prefect", lambda: None)
    deploying = SimpleNamespace(
        deploy=lambda **_: {"gpu-pool": "created", "cpu-pool": "unchanged"},
        schedules_told=lambda: ["nightly sleeps"],
    )
    monkeypatch.setitem(sys.modules, "flows.server.deploy", deploying)
    assert touchstone("deploy") == (
        0,
        "  created    gpu-pool\n  unchanged  cpu-pool\n  nightly sleeps\n",
        "",
    )


def test_settings_are_told_by_section_and_key(touchstone):
    status, out, _ = touchstone("settings", "pretrain.steps")
    assert status == 0
    assert "steps  whole number from 1  default: 600" in out
    assert "batch_size" not in out
    assert "path or null" in touchstone("settings", "corpus.sources.0.path")[1]
    status, out, err = touchstone("settings", "pretrian")
    assert (status, out) == (2, "")
    assert "did you mean pretrain?" in err
    assert "did you mean pretrain.steps?" in touchstone("settings", "pretrain.stepps")[2]
    sections = json.loads(touchstone("settings", "--json")[1])["sections"]
    assert {"key", "type", "default", "meaning", "changes_result"} == sections[0]["settings"][0].keys()


def test_every_profile_says_what_it_takes_and_no_run_records_it(touchstone):
    told = json.loads(touchstone("profiles", "--json")[1])["profiles"]
    assert {"quickstart", "spam", "gpt2-124m"} <= {one["name"] for one in told}
    assert all(one[what] for one in told for what in ("time", "memory", "network", "device"))
    quickstart = next(one for one in told if one["name"] == "quickstart")
    assert (quickstart["network"], quickstart["device"]) == ("none", "CPU")
    assert "time     2 to 4 minutes on two cores" in touchstone("profiles")[1]
    assert "takes" not in load_profile("quickstart").model_dump()
    assert load_profile("quickstart", ["pretrain.steps=5"]).takes is None
