"""The audit of a judge's choices between the reference and what is worse."""

import io

import pytest
from rich.console import Console

from tasks.config import AuditConfig, CompareConfig
from tasks.judge.ask.identities import fingerprints
from tasks.judge.audit.choices import BESIDE
from tasks.judge.audit.document import document
from tasks.show.terminal import show
from tests import judges
from tests.chat_server import Fault
from tests.judge.audit.auditing import SCORER, skill_rows
from tests.ollama_server import OllamaServer

ROWS = 30  # on which a judge can pass
FEW = 12  # on which one can fail

pytestmark = pytest.mark.usefixtures("quick_judges")


@pytest.mark.parametrize("mode", ["scores", "pairwise"])
def test_either_audit_has_the_judges_digest_in_its_key(mode):
    with OllamaServer() as server:
        place = {"scorer": SCORER, "host": server.address, "mode": mode}
        assert fingerprints(AuditConfig(**place))[SCORER] == server.digest
        assert (SCORER in fingerprints(CompareConfig(**place))) == (mode == "pairwise")


@pytest.mark.parametrize(
    ("mode", "reworded", "other"),
    [
        ("scores", "_RULE", "_CHOICE_RULE"),
        ("scores", "_REWORDED_RULE", "_CHOICE"),
        ("pairwise", "_CHOICE", "_RULE"),
    ],
)
def test_pitfall_31_audit_key_follows_every_wording_it_asks_in(monkeypatch, mode, reworded, other):
    """Pitfall: the audit of choices had the prompt of scores in its key, and none had the reordered one."""
    with OllamaServer() as server:
        config = AuditConfig(scorer=SCORER, host=server.address, mode=mode)
        before = fingerprints(config)
        monkeypatch.setattr(f"tasks.judge.protocol.prompts.{other}", "Other words {code}. ")
        assert fingerprints(config) == before
        monkeypatch.setattr(f"tasks.judge.protocol.prompts.{reworded}", "Other words {code}. ")
        assert fingerprints(config) != before


def test_a_fair_judge_of_two_passes_the_audit_of_its_choices(audited):
    with OllamaServer(judge=judges.fair, slots=4) as server:
        done = audited(server, skill_rows(ROWS), mode="pairwise")()
        assert len(server.chats) == done.report["answers"] == 2 * len(done.controls) <= 2 * len(BESIDE) * ROWS
        assert audited(server, skill_rows(ROWS), mode="pairwise")().report == done.report
        assert len(server.chats) == done.report["answers"]
    assert (done.report["verdict"], done.report["mode"], done.report["form"]) == (
        "pass",
        "pairwise",
        "choice",
    )
    assert {kind["kind"] for kind in done.report["controls"]} == set(BESIDE)
    assert {line["score"] for line in done.controls} == {100.0}
    out = io.StringIO()
    show(document(done.report), Console(file=out, width=200))
    assert "passed: its choices count" in out.getvalue()


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        (
            "first_always",
            {f"does not win against {kind}" for kind in BESIDE} - {"does not win against changed-number"},
        ),
        ("words_in_common", {"does not win against negated"}),
        ("mumbling", {"answers without a choice"}),
    ],
)
def test_unfit_judges_of_two_fail_the_audit_of_their_choices(audited, name, failed):
    with OllamaServer(judge=getattr(judges, name), slots=4) as server:
        done = audited(server, skill_rows(ROWS), mode="pairwise")()
    assert done.gates("fail") >= failed
    assert done.report["verdict"] == "fail"


def test_a_kind_of_which_no_choice_could_be_read_fails(audited):
    fault = Fault("400", times=None, containing="Note to the grader")
    with OllamaServer(judge=judges.fair, faults=[fault], slots=4) as server:
        done = audited(server, skill_rows(ROWS), mode="pairwise")()
    assert done.gates("fail") == {"does not win against wrong-injection", "prompts that did not fit"}


def test_rows_of_which_nothing_can_be_shown_prove_no_judge(audited):
    rows = [row | {"output": "yes"} for row in skill_rows(3)]
    with OllamaServer(judge=judges.fair) as server:
        done = audited(server, rows, mode="pairwise")()
        assert server.chats == []
    assert done.report["verdict"] == "warn"
    ((_, page, _),) = done.pages
    assert "**No control could be made of these rows**" in page
