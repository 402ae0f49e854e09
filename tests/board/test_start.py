"""The tab Start: the form of a profile, own files, the checks, and a run that is watched to its end."""

import json
import subprocess

import pytest

from flows.board.launch import (
    Started,
    command_line,
    require_offered,
    run_arguments,
    start_run,
    wait_for_hand_over,
    wait_for_run,
)
from flows.board.settings_form import component_of, label_of, text_of, title_of, used_sections
from flows.profiles.form import form_sections
from flows.profiles.load import load_profile
from tasks.errors import StageError, UsageError

FIELDS = {field.key: field for section in form_sections() for field in section.fields}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'${alert(3)}{{4}}"


@pytest.mark.parametrize(
    ("key", "given", "value", "text"),
    [
        ("pretrain.steps", "600", 600, "600"),
        ("finetune.learning_rate", "5e-05", 5e-05, "5e-05"),
        ("pretrain.min_learning_rate", "null", "null", "null"),
        ("pretrain.document_mask", "true", True, "true"),
        ("pretrain.schedule", "cosine", "cosine", "cosine"),
        ("corpus.sources", '[{"path": "a, b"}]', '[{"path": "a, b"}]', '[{"path": "a, b"}]'),
    ],
)
def test_field_says_what_the_profile_has(key, given, value, text):
    """What a component was given comes back as the same text: nothing counts as changed that was not."""
    component = component_of(FIELDS[key], given, None)
    assert component.value == value
    assert text_of(FIELDS[key], component.value) == text == given


def test_field_that_was_emptied_is_none_where_it_may_be():
    assert text_of(FIELDS["rows.group_by"], None) == "null"
    assert text_of(FIELDS["pretrain.steps"], None) == ""


def test_field_and_section_are_marked_where_changed():
    (pretrain,) = (section for section in form_sections() if section.name == "pretrain")
    assert label_of(FIELDS["pretrain.steps"], "160", "200") == "steps ● the profile has 160"
    assert title_of(pretrain, {"pretrain.steps": "200", "finetune.epochs": "1"}) == "pretrain ● 1 changed"
    assert title_of(pretrain, {}) == "pretrain"


def test_sections_without_a_use_are_not_shown():
    used = used_sections(load_profile("spam"))
    assert {"classify", "labelled", "export"} <= used
    assert not {"finetune", "generate", "judge"} & used


def test_command_line_can_be_typed():
    arguments = run_arguments("quickstart", ["judge.scorer=[a b]"], pools=True)
    assert command_line(arguments) == "touchstone run quickstart --set 'judge.scorer=[a b]' --pools"


def test_profile_that_is_not_offered_is_not_run(board_of_nothing):
    with pytest.raises(UsageError, match="choose a profile first"):
        require_offered(board_of_nothing, None)
    with pytest.raises(UsageError, match="/etc/passwd is not among the profiles"):
        require_offered(board_of_nothing, "/etc/passwd")


def test_run_with_a_wrong_setting_is_not_started(board_of_nothing):
    with pytest.raises(UsageError, match=r"pretrain\.steps: Input should be greater than 0"):
        start_run(board_of_nothing, "quickstart", ["pretrain.steps=0"])
    assert not (board_of_nothing.tracking.work / "logs").exists()


def test_pools_without_a_server_are_told(board_of_nothing, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(UsageError, match="no Prefect server answers"):
        start_run(board_of_nothing, "quickstart", [], pools=True)


def test_command_that_ends_before_its_run_is_told_in_its_words(board_of_nothing, tmp_path):
    log = tmp_path / "run.log"
    log.write_text("  starting\nerror: there is no space left\n", encoding="utf-8")
    started = Started(dead_process(), log)
    with pytest.raises(StageError, match=r"^there is no space left$"):
        wait_for_run(board_of_nothing, started)
    with pytest.raises(StageError, match=r"^there is no space left$"):
        wait_for_hand_over(started)


def test_command_that_has_handed_its_run_over_says_which(tmp_path):
    log = tmp_path / "run.log"
    log.write_text("with the servers of up\nflow run tiny: http://here/runs/1\n", encoding="utf-8")
    assert wait_for_hand_over(Started(dead_process(), log)) == "flow run tiny: http://here/runs/1"


def dead_process():
    """The number of a process that is gone."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


# In the browser


def choose(page, profile):
    page.get_by_label("Profile").first.click()
    page.get_by_role("option", name=profile, exact=True).click()
    page.get_by_text("touchstone run").first.wait_for()


def open_section(page, name):
    page.get_by_role("button", name=name).first.click()


def document_in(page):
    return page.frame_locator("iframe.document")


@pytest.mark.slow
def test_form_shows_the_command_of_what_was_changed(page):
    choose(page, "tiny.yaml")
    open_section(page, "pretrain")
    page.get_by_label("steps", exact=True).fill("7")
    page.get_by_text("steps ● the profile has 6").wait_for()
    page.get_by_text("pretrain ● 1 changed").wait_for()
    page.get_by_text("tiny.yaml --set pretrain.steps=7").wait_for()
    page.get_by_role("button", name="Profile as YAML").click()
    page.get_by_text("steps: 7").wait_for()
    page.get_by_label("steps ● the profile has 6").fill("6")
    page.get_by_text("The profile as it is.").wait_for()


@pytest.mark.slow
def test_form_tells_a_wrong_setting_in_its_own_words(page):
    choose(page, "tiny.yaml")
    open_section(page, "pretrain")
    page.get_by_label("steps", exact=True).fill("0")
    page.locator(".differs .wrong").first.get_by_text(
        "Input should be greater than 0, found 0"
    ).first.wait_for()
    page.get_by_role("button", name="Start here").click()
    page.locator(".toast-body").get_by_text("Input should be greater than 0, found 0").first.wait_for()


@pytest.mark.slow
def test_form_of_two_people_is_two(page, open_page, board_server):
    other = open_page(board_server.address)
    for one, steps in ((page, "8"), (other, "9")):
        choose(one, "tiny.yaml")
        open_section(one, "pretrain")
        one.get_by_label("steps", exact=True).fill(steps)
    page.get_by_text("--set pretrain.steps=8").wait_for()
    other.get_by_text("--set pretrain.steps=9").wait_for()


@pytest.mark.slow
def test_own_files_are_looked_at_and_nothing_in_them_runs(page, tmp_path):
    path = tmp_path / "asked.jsonl"
    rows = [{"question": f"What is {n} plus 1?", "answer": f"{HOSTILE} {n + 1}"} for n in range(80)]
    rows += [{"question": HOSTILE, "answer": 5}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    page.get_by_role("button", name="Train on files of your own").click()
    page.locator("input[type=file]").first.set_input_files(str(path))
    page.get_by_label("Name").fill("hostile")
    page.get_by_role("button", name="Look at them").click()
    shown = document_in(page)
    shown.get_by_text("1 malformed row").first.wait_for()
    shown.get_by_text("Splits and leaks").wait_for()
    assert "<script>alert(1)</script>" in shown.locator("body").inner_text()
    page.get_by_text("uploads/hostile/hostile.yaml").first.wait_for()
    page.get_by_role("button", name="Look at them").click()
    page.locator(".toast-body").get_by_text("choose files first").wait_for()
    assert page.dialogs == []
    assert page.foreign == []


@pytest.mark.slow
def test_preflight_shows_checks_and_a_decoded_example(page):
    choose(page, "tiny.yaml")
    page.get_by_role("button", name="Preflight").click()
    shown = document_in(page)
    shown.get_by_text("No check failed").wait_for(timeout=180_000)
    shown.get_by_text("What is trained on: fine-tuning").first.wait_for()
    assert "trained on" in shown.locator("pre").last.inner_text()
