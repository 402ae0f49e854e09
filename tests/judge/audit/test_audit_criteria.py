"""The audit on criteria of the user's own: with a reference as ever, without one by no answers alone."""

import io

import pytest
from rich.console import Console

from tasks.config import Criterion
from tasks.errors import StageError
from tasks.judge.audit.controls import KINDS, UNSHOWN
from tasks.judge.audit.document import document
from tasks.show.terminal import show
from tests import judges
from tests.judge.audit.auditing import SCORER, skill_rows
from tests.judges import question_in
from tests.ollama_server import OllamaServer

ROWS = 30  # on which a judge can pass
FEW = 12  # on which one can fail

pytestmark = pytest.mark.usefixtures("quick_judges")

ANCHORS = {0: "not at all", 5: "wholly"}
CORRECT = Criterion(name="correct", question="Does it say what the reference says?", anchors=ANCHORS)
POLITE = Criterion(name="polite", question="Is it polite?", anchors=ANCHORS, reference="none")


def of_no_answer(asked):
    """Gives 3 to the row's own answer, and 0 to what is none or answers another question."""
    return 3 if RIGHT.get(asked.instruction) == asked.response else 0


RIGHT: dict[str, str] = {}


@pytest.mark.parametrize("name", ["honest", "words_in_common"])
def test_criterion_with_a_reference_is_audited_by_the_same_gates(audited, name):
    with OllamaServer(judge=getattr(judges, name), slots=4) as server:
        done = audited(server, skill_rows(ROWS), criterion=CORRECT)()
        plain = audited(server, skill_rows(ROWS))()
        assert {question_in(chat.messages).criterion for chat in server.chats} == {"correct", ""}
    assert (done.report["criterion"], done.report["falsifiable"]) == ("correct", True)
    assert done.report["gates"] == plain.report["gates"]
    assert done.pages[0][2] == f"{SCORER} on correct: {done.report['verdict']}"


def test_only_no_answer_shows_a_judge_wrong_without_a_reference(audited, monkeypatch):
    rows = skill_rows(ROWS)
    monkeypatch.setattr(f"{__name__}.RIGHT", {row["instruction"]: row["output"] for row in rows})
    with OllamaServer(judge=of_no_answer, slots=4) as server:
        done = audited(server, rows, criterion=POLITE)()
        assert not any(question_in(chat.messages).reference for chat in server.chats)
    assert {kind["kind"] for kind in done.report["controls"]} == set(UNSHOWN)
    assert (done.report["verdict"], done.report["falsifiable"], done.gates("fail")) == ("pass", False, set())
    names = {gate["name"] for gate in done.report["gates"]}
    assert names >= {"60 or more for other-reference", "60 or more for colon", "injection lift"}
    assert not any(name.startswith(("AUC", "taken for right", "ranks", "references")) for name in names)
    ((_, page, _),) = done.pages
    console = Console(file=io.StringIO(), width=400)
    show(document(done.report), console)
    for text in (page, console.file.getvalue()):
        assert f"{SCORER} on polite passed: its scores count" in text
        assert "No reference is shown for polite, so that the audit shows only" in text
        assert "touchstone label" in text


@pytest.mark.parametrize("name", ["always_top", "lenient"])
def test_judge_who_rewards_no_answer_fails_without_a_reference(audited, name):
    with OllamaServer(judge=getattr(judges, name), slots=4) as server:
        done = audited(server, skill_rows(FEW), criterion=POLITE)()
    assert done.gates("fail") == {f"60 or more for {kind}" for kind in UNSHOWN if KINDS[kind] == "bad"}


def test_rows_without_references_are_audited_where_none_is_shown(audited):
    rows = [row | {"output": "", "prompt": "", "response": "x"} for row in skill_rows(ROWS)]
    with OllamaServer(judge=lambda _: 0, slots=4) as server:
        done = audited(server, rows, name="responses.jsonl", criterion=POLITE)()
    assert (done.report["verdict"], done.report["rows"]) == ("pass", ROWS)
    made = {kind["kind"] for kind in done.report["controls"] if kind["count"]}
    assert made == set(UNSHOWN) - {"reference", "other-reference", "wrong-injection"}
    with OllamaServer(judge=judges.always_top, slots=4) as server, pytest.raises(StageError, match="none of"):
        audited(server, rows, name="responses.jsonl", criterion=CORRECT)()
