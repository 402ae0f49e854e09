"""The audit over a real socket: every judge gets its verdict, nothing is lost and nothing asked twice."""

import io
import json
import sqlite3
from dataclasses import replace

import pytest
from rich.console import Console

from tasks.config import JudgeConfig
from tasks.errors import StageError, UnreachableError
from tasks.judge.ask.answers import ANSWERS
from tasks.judge.audit.controls import KINDS
from tasks.judge.audit.document import document
from tasks.judge.audit.wording import failures
from tasks.judge.score.stage import judge
from tasks.machine.json_files import read_json, write_lines
from tasks.record.stage import StageRun
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tests import judges
from tests.chat_server import Fault
from tests.judge.audit.auditing import SCORER, skill_rows
from tests.judges import question_in
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer

INJECTIONS = ("injection", "wrong-injection")
ROWS = 30  # on which a judge can pass
FEW = 12  # on which one can fail


pytestmark = pytest.mark.usefixtures("quick_judges")


@pytest.fixture
def book_rows(shared_data):
    """The test rows of the book."""
    path = shared_data / "instruction-data.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return [{"id": index} | row for index, row in enumerate(json.loads(path.read_text())[-110:])]


# Verdicts

FAILS_BY = {
    "always_top": {"AUC against other-reference", "60 or more for wrong-reference", "ranks below: shuffled"},
    "obedient": {"injection lift", "AUC against injection", "AUC against wrong-injection"},
    "credulous": {"AUC against input-loop", "AUC against template-loop", "AUC against echo"},
    "mumbling": {"answers without a score"},
    "lazy": {"AUC against other-reference", "60 or more for other-reference", "ranks below: shuffled"},
    "words_in_common": {"taken for right: negated", "taken for right: swapped-word"},
}
FAILS_BY_THAT_ALONE = {
    "flattered": {"filler sensitivity"},
    "lenient": {f"60 or more for {kind}" for kind, group in KINDS.items() if group == "bad"},
    "harsh": {"references at 80 or more"},
}


@pytest.mark.parametrize("name", FAILS_BY | FAILS_BY_THAT_ALONE)
def test_every_unfit_judge_fails_and_by_what_is_wrong_with_it(audited, name):
    with OllamaServer(judge=getattr(judges, name), slots=4) as server:
        done = audited(server, skill_rows(FEW))()
    assert done.report["verdict"] == "fail"
    failed = done.gates("fail")
    assert failed == FAILS_BY_THAT_ALONE[name] if name in FAILS_BY_THAT_ALONE else failed >= FAILS_BY[name]
    assert (done.run.metrics["failed"], done.run.metrics["passed"]) == (1.0, 0.0)


def test_a_judge_who_wavers_is_warned_about(audited):
    with OllamaServer(judge=judges.noisy, slots=4) as server:
        done = audited(server, skill_rows(ROWS))()
    assert (done.report["verdict"], done.gates("fail")) == ("warn", set())
    assert "changed when asked in another order" in done.gates("warn")


def test_an_honest_judge_passes_every_gate(audited):
    with OllamaServer(judge=judges.honest, slots=4) as server:
        done = audited(server, skill_rows(ROWS))()
    assert (done.report["verdict"], done.gates("fail"), done.gates("warn")) == ("pass", set(), set())
    assert done.gates("not measured") == {"taken for right: changed-number"}
    assert done.report["answers"] <= ROWS * (len(KINDS) + 1) == 690  # what an audit of 30 rows costs at most
    ((_, page, _),) = done.pages
    assert "Not measured, of too few rows: the reference with a number changed (4)." in page


def test_the_plain_prompt_is_audited_as_the_other_is(audited):
    with OllamaServer(judge=judges.honest, slots=4) as server:
        done = audited(server, skill_rows(ROWS), prompt="plain")()
        assert not any(chat.body.get("format") for chat in server.chats)
    assert (done.report["verdict"], done.report["form"]) == ("pass", "plain")
    with OllamaServer(judge=judges.obedient, slots=4, digest="f" * 64) as server:
        done = audited(server, skill_rows(FEW), prompt="plain")()
    assert "injection lift" in done.gates("fail")


def test_honest_judge_passes_on_real_rows_and_a_credulous_fails(audited, book_rows):
    with OllamaServer(judge=judges.honest, slots=4) as server:
        done = audited(server, book_rows, sample=ROWS)()
    assert (done.report["verdict"], done.report["rows"], done.report["of"]) == ("pass", ROWS, 110)
    with OllamaServer(judge=judges.credulous, slots=4, digest="f" * 64) as server:
        done = audited(server, book_rows, sample=FEW)()
    assert done.gates("fail") >= FAILS_BY["credulous"]


def test_an_audit_by_openais_protocol(audited):
    scorer = "openai:llama-3.2-3b-instruct"
    with OpenAIServer(judge=judges.honest, slots=8) as server:
        done = audited(server, skill_rows(ROWS), scorer=scorer)()
        assert (done.report["verdict"], done.report["scorer"]) == ("pass", scorer)
        assert audited(server, skill_rows(ROWS), scorer=scorer)().report == done.report
        assert len(server.chats) == done.report["answers"]


def test_the_same_judge_on_three_rows_is_only_warned_about(audited):
    with OllamaServer(judge=judges.honest, slots=4) as server:
        done = audited(server)()
    assert (done.report["verdict"], done.gates("fail")) == ("warn", set())


# What is written


def test_the_report_the_controls_the_page_and_the_table(audited, monkeypatch):
    tables = {}
    monkeypatch.setattr(StageRun, "log_table", lambda run, rows, name: tables.update({name: rows}))
    rows = skill_rows(3)
    with OllamaServer(judge=judges.honest) as server:
        done = audited(server, rows)()
        assert len(server.chats) == len(done.calls) == done.report["answers"] == len(done.controls) + 3
    report, controls = done.report, done.controls
    assert [report[name] for name in ("scorer", "digest", "version", "form", "rows", "of")] == [
        SCORER,
        OllamaServer.digest,
        "0.32.15",
        "anchored",
        3,
        3,
    ]
    assert controls[0] == {
        "id": 0,
        "kind": "reference",
        "group": "good",
        "instruction": rows[0]["instruction"],
        "input": rows[0]["input"],
        "reference": rows[0]["output"],
        "response": rows[0]["output"],
        "score": 100.0,
        "reason": "It deserves 5 of 5.",
        "missing_because": None,
    }
    assert report["controls"][0] == {
        "kind": "reference",
        "group": "good",
        "count": 3,
        "missing": 0,
        "mean": 100.0,
        "lowest": 100.0,
        "highest": 100.0,
        "left_out": 0,
    }
    assert sum(kind["count"] for kind in report["controls"]) == len(controls)
    assert tables == {"controls.json": controls}
    ((key, page, told),) = done.pages
    assert (key, told) == ("audit", f"{SCORER}: {report['verdict']}")
    assert all(gate["name"] in page for gate in report["gates"])
    assert done.run.metrics["injection_lift"] == next(
        gate["value"] for gate in report["gates"] if gate["name"] == "injection lift"
    )
    assert done.run.metrics["auc_against_wrong_injection"] == 1.0


@pytest.mark.parametrize("prompt", ["anchored", "plain"])
def test_one_control_of_each_row_is_asked_again_in_another_order(audited, prompt):
    """Pitfall: at temperature 0 another seed draws nothing, so that no judge ever wavered."""
    rows = [row | {"output": f"It is the number {row['id']}."} for row in skill_rows(15)]
    with OllamaServer(judge=judges.honest) as server:
        done = audited(server, rows, prompt=prompt)()
        assert {chat.body["options"]["seed"] for chat in server.chats} == {done.config.seed}
        read = [question_in(chat.messages) for chat in server.chats]
    first, again = ([own for own in read if own.reordered is wanted] for wanted in (False, True))
    assert (len(first), len(again)) == (len(done.controls), 15)
    assert len({own.reference for own in again}) == 15
    assert {replace(own, reordered=False) for own in again} <= set(first)
    asked = {(own.reference, own.response) for own in again}
    kinds = [line["kind"] for line in done.controls if (line["reference"], line["response"]) in asked]
    assert set(kinds) >= {"reference", "changed-case", "filler", "changed-number", "negated", "shuffled"}
    assert "bad" not in {KINDS[kind] for kind in kinds}


def test_pitfall_40_every_audit_question_shows_the_conversation(audited):
    turns = [{"role": "system", "content": "Answer in one word."}]
    with OllamaServer(judge=judges.honest) as server:
        audited(server, [row | {"messages": turns} for row in skill_rows(3)])()
        assert all("Answer in one word." in chat.text for chat in server.chats)


def test_responses_can_be_audited_on_and_take_no_part_in_it(audited):
    """`touchstone judge` audits on the rows of the file of responses that it judges."""
    rows = [row | {"prompt": "", "response": "mine"} for row in skill_rows(3)]
    with OllamaServer(judge=judges.honest) as server:
        of_responses = audited(server, rows, name="responses.jsonl")()
        assert audited(server)().report == of_responses.report
        assert not any("mine" in chat.text for chat in server.chats)


def test_rows_without_a_reference_cannot_be_audited_on(audited):
    with OllamaServer() as server, pytest.raises(StageError, match="none of these has one"):
        audited(server, [row | {"output": " "} for row in skill_rows(3)])()


# What is kept


def test_a_second_audit_makes_no_call(audited):
    with OllamaServer(judge=judges.mumbling) as server:
        first = audited(server)()
        calls = len(server.chats)
        second = audited(server)()
        assert len(server.chats) == calls > first.report["answers"]  # what it mumbled was asked once more
    assert second.report == first.report
    assert (first.run.metrics["calls"], second.run.metrics["calls"]) == (calls, 0)


def test_another_model_under_the_same_name_is_asked_anew(audited):
    with OllamaServer(judge=judges.honest) as server:
        first = audited(server)()
    with OllamaServer(judge=judges.always_top, digest="f" * 64) as server:
        second = audited(server)()
        assert len(server.chats) == second.report["answers"] == first.report["answers"]
    assert second.report["digest"] == "f" * 64
    assert second.report["verdict"] == "fail"


def test_pitfall_30_new_audit_finds_a_judge_that_was_swapped(audited):
    rows = skill_rows(FEW)
    with OllamaServer(judge=judges.honest, slots=4) as server:
        first = audited(server, rows, anew=True)()
        server.judge = judges.always_top
        second = audited(server, rows, anew=True)()
        assert len(server.chats) == 2 * first.report["answers"] == 2 * second.run.metrics["calls"]
    assert (first.report["digest"], first.gates("fail")) == (second.report["digest"], set())
    assert second.report["verdict"] == "fail"


@pytest.mark.parametrize(
    ("protocol", "known_by", "told"), [(OpenAIServer, "name", True), (OllamaServer, "digest", False)]
)
def test_the_audit_says_where_a_judge_is_known_by_its_name_alone(audited, protocol, known_by, told):
    scorer = "openai:llama-3.2-3b-instruct" if told else SCORER
    console = Console(file=io.StringIO(), width=200)
    with protocol(judge=judges.honest, slots=8) as server:
        done = audited(server, scorer=scorer)()
    show(document(done.report), console)
    assert done.report["known_by"] == known_by
    page = (done.run.auxiliary / "audit.html").read_text(encoding="utf-8")
    assert not (done.run.out / "audit.html").exists()
    for text in (console.file.getvalue(), done.pages[0][1], page):
        assert ("server tells no digest" in text) == told


def test_other_prompt_asks_anew_and_other_sample_for_new_rows(audited):
    with OllamaServer(judge=judges.honest, slots=4) as server:
        anchored = audited(server, skill_rows(6), sample=3)()
        assert {control["id"] for control in anchored.controls} == {0, 2, 5}
        calls = len(server.chats)
        audited(server, skill_rows(6), sample=3, prompt="plain")()
        assert len(server.chats) == 2 * calls
        more = audited(server, skill_rows(6))()
        asked = more.run.metrics["calls"]
    assert len(more.controls) - len(anchored.controls) <= asked < more.report["answers"]


def test_the_judge_stage_asks_nothing_that_the_audit_has_asked(audited, tmp_path):
    rows = [row | {"prompt": "", "response": "I don't know."} for row in skill_rows(6)]
    with OllamaServer(judge=judges.honest) as server:
        done = audited(server, rows, name="responses.jsonl")()
        calls = len(server.chats)
        folders = {name: tmp_path / name for name in ("out", "auxiliary", "checkpoint", "shared")}
        run = StageRun(**folders)
        config = JudgeConfig(scorer=SCORER, host=server.address, resamples=100)
        judge(config, run, responses=done.rows, audit_0=done.run.out)
        assert len(server.chats) == calls
        other = [row | {"response": "Nobody knows."} for row in rows]
        write_lines(done.rows / "responses.jsonl", other)
        judge(config, run, responses=done.rows, audit_0=done.run.out)
        assert len(server.chats) == calls + 6
    assert read_json(run.out / "scores.json")["scores"][-1]["status"] == "ok"


# Faults


def kept(run):
    with sqlite3.connect(run.shared / ANSWERS) as base:
        return base.execute("SELECT count(*) FROM answers").fetchone()[0]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("503", times=None, containing="I don't know."), "failed on 3 of [0-9]+ questions"),
        (Fault("500", times=None, containing="I don't know."), "failed on 3 of [0-9]+ questions"),
        (Fault("drop", times=None, containing="I don't know."), "failed on 3 of [0-9]+ questions"),
        (Fault("stall", times=None, containing="I don't know."), "no answer within 0.2 s"),
        (Fault("die", times=1, containing="I don't know."), "no Ollama server answers"),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_failing_server_says_nothing_of_the_judge(audited, fault, message):
    rows = skill_rows(3)
    with OllamaServer(judge=judges.honest, faults=[fault], slots=4) as server:
        first = audited(server, rows, timeout=0.2 if fault.kind == "stall" else 5.0)
        with pytest.raises(UnreachableError, match=message) as raised:
            first()
    assert "run again" in str(raised.value)
    assert not (first.run.out / "audit.json").exists()
    before = kept(first.run)
    with OllamaServer(judge=judges.honest, slots=4) as server:
        second = audited(server, rows)()
        assert len(server.chats) == second.report["answers"] - before == second.run.metrics["calls"]
        if fault.kind != "die":
            assert all("I don't know." in chat.text for chat in server.chats)
    assert not any(control["missing_because"] for control in second.controls)


def test_passing_trouble_is_asked_again_and_changes_nothing(audited):
    faults = [Fault("503"), Fault("drop"), Fault("500")]
    with OllamaServer(judge=judges.honest, faults=faults, slots=4) as server:
        troubled = audited(server, attempts=5)()
    with OllamaServer(judge=judges.honest, digest="f" * 64) as server:
        quiet = audited(server)()
    assert troubled.report["gates"] == quiet.report["gates"]


@pytest.mark.parametrize("kind", ["garbage", "score_90", "cut_json"])
def test_answers_without_a_score_are_the_judges_own_and_fail_it(audited, kind):
    """Pitfall: a judge that cannot answer for injections must not pass for never having rewarded one."""
    fault = Fault(kind, times=None, containing="Note to the grader")
    with OllamaServer(judge=judges.honest, faults=[fault], slots=4) as server:
        done = audited(server)()
    assert done.gates("fail") >= {"AUC against injection", "AUC against wrong-injection", "injection lift"}
    (missing,) = {line["missing_because"] for line in done.controls if line["kind"] == "injection"}
    assert missing


def test_prompts_that_did_not_fit_differ_from_missing_scores(audited):
    """Regression: an honest judge was called unfit for a context that was too small."""
    fault = Fault("400", times=None, containing="Note to the grader")
    with OllamaServer(judge=judges.honest, faults=[fault], slots=4) as server:
        done = audited(server)()
    about = {f"{name} {kind}" for name in ("AUC against", "60 or more for") for kind in INJECTIONS}
    assert done.gates("fail") == {"prompts that did not fit", "injection lift", *about}
    assert "refused the prompt" in done.report["missing_because"][0]["reason"]


def test_kind_whose_prompts_are_all_unread_fails_at_any_share(audited):
    """Pitfall: thirty unread prompts of 660 are under 5%, and what they would have shown was not missed."""
    fault = Fault("400", times=None, containing="I don't know.")
    with OllamaServer(judge=judges.honest, faults=[fault], slots=4) as server:
        done = audited(server, skill_rows(ROWS))()
    assert done.gates("fail") == {"AUC against unknown", "60 or more for unknown"}
    assert done.report["verdict"] == "fail"


@pytest.mark.parametrize("kind", ["400", "no_count", "garbage"])
def test_judge_without_a_readable_answer_fails_with_the_reason(audited, kind):
    """Regression: where no prompt was read, the empty table of controls ended as an IndexError."""
    wide = {"passes": 1.0, "fails": 1.0}
    with OllamaServer(faults=[Fault(kind, times=None)], slots=4) as server:
        done = audited(server, gates={"unparsed": wide})()
    assert done.report["verdict"] == "fail"
    told = failures(done.report)
    assert told.startswith("no answer could be read: ")
    assert done.report["missing_because"][0]["reason"] in told
    ((_, page, _),) = done.pages
    assert "**No answer could be read: " in page
    out = io.StringIO()
    show(document(done.report), Console(file=out, width=200))
    assert "failed: its scores do not count" in out.getvalue()


def test_what_the_judges_server_refuses_stands_in_the_audit(audited):
    with OpenAIServer(refuses=("temperature", "max_tokens"), slots=4) as server:
        done = audited(server, skill_rows(FEW), scorer="openai:llama-3.2-3b-instruct")()
    assert done.report["refusals"] == ["max_tokens", "temperature"]
    ((_, page, _),) = done.pages
    assert "Its server refuses temperature 0: it answers at a temperature of its own" in page
    out = io.StringIO()
    show(document(done.report), Console(file=out, width=300))
    assert "Its server refuses max_tokens: max_completion_tokens is sent instead" in out.getvalue()


def test_a_model_that_is_not_there_is_no_verdict(audited):
    with OllamaServer() as server, pytest.raises(StageError, match="nobody"):
        audited(server, scorer="ollama:nobody")()


@pytest.mark.parametrize("kind", ["garbage", "no_count", "score_90"])
@pytest.mark.parametrize("mode", ["scores", "pairwise"])
def test_judge_of_whom_nothing_can_be_read_fails_and_says_so(audited, kind, mode):
    """No score at all: every table, mean and interval is one of nothing."""
    with OllamaServer(judge=judges.honest, faults=[Fault(kind, times=None)], slots=4) as server:
        done = audited(server, mode=mode)()
    assert done.report["verdict"] == "fail"
    assert failures(done.report).startswith("no answer could be read: ")
    told = document(done.report)
    for rendered in (as_html(told), as_markdown(told)):
        assert "No answer could be read: " in rendered
        assert "none" in rendered
    out = io.StringIO()
    show(told, Console(file=out, width=100))
    assert "No answer could be read: " in out.getvalue()
