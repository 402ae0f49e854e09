"""A judge who is shown both: both orders are asked, and a judge who contradicts itself has said nothing."""

import re

import pytest

from tasks.config import AskConfig
from tasks.errors import StageError
from tasks.judge.ask.asking import Judgement
from tasks.judge.ask.identities import digests_of
from tasks.judge.compare.pairs import Pair
from tasks.judge.compare.pairwise import _line
from tasks.judge.protocol.prompts import fence_code
from tasks.judge.protocol.responses import ResponseRow
from tasks.machine.json_files import read_lines, write_lines
from tests import judges
from tests.chat_server import Fault
from tests.judge.compare.comparing import CHRF, JUDGE, Compared, ComparisonInput, exchanged, rows_of
from tests.judge.judging import AUDIT
from tests.ollama_server import OllamaServer
from tests.openai_server import OpenAIServer

GOOD, BAD = "A thing with number {}", "Something else, {}"
PASSED = AUDIT | {"scorer": JUDGE, "mode": "pairwise", "digest": OllamaServer.digest}


pytestmark = pytest.mark.usefixtures("quick_judges")


def both(wins, losses):
    """Responses of two models, of which A's are closer to the reference in `wins` rows, then B's."""
    better = [GOOD.format(index) for index in range(wins + losses)]
    worse = [BAD.format(index) for index in range(wins + losses)]
    return better[:wins] + worse[wins:], worse[:wins] + better[wins:]


@pytest.fixture
def pairwise(tmp_path):
    """A factory of comparisons of two lists of responses, which share their answers."""
    made = []

    def make(server, a, b, audit=PASSED, **config):
        made.append(tmp_path / f"compared-{len(made)}")
        sides = [ComparisonInput(rows_of(own), {CHRF: [0.0] * len(own)}) for own in (a, b)]
        place = {"base_url": server.url} if hasattr(server, "url") else {"host": server.address}
        settings = {"mode": "pairwise", "scorer": JUDGE, "max_missing": 0.5} | place | config
        return Compared(made[-1], *sides, audit=audit, shared=tmp_path / "shared", **settings)

    return make


def found_by(done):
    return done.report["pairwise"]


def test_pitfall_40_both_orders_show_the_conversation(pairwise):
    turns = [{"role": "user", "content": "Which one?"}, {"role": "assistant", "content": "The old one."}]
    with OllamaServer(judge=judges.fair) as server:
        attempt = pairwise(server, *both(1, 1))
        for side in ("a_responses", "b_responses"):
            path = attempt.inputs[side] / "responses.jsonl"
            write_lines(path, [row | {"messages": turns} for row in read_lines(path)])
        attempt()
        assert len(server.chats) == 4
        assert all("The old one." in chat.text for chat in server.chats)


def test_a_fair_judge_gives_each_row_to_the_closer_response(pairwise):
    with OllamaServer(judge=judges.fair) as server:
        done = pairwise(server, *both(8, 4))()
        assert len(server.chats) == 24
    found = found_by(done)
    assert [found[name]["count"] for name in ("wins", "ties", "losses")] == [8, 0, 4]
    assert found["difference"] == found["lowest_possible"] == 100 * 4 / 12
    assert (found["contradictions"]["count"], found["contradictions"]["of"]) == (0, 12)
    assert (found["chose_the_first"]["count"], found["chose_the_first"]["of"]) == (12, 24)
    assert (found["scorer"], found["digest"], found["audit"]) == (JUDGE, OllamaServer.digest, "pass")
    assert done.choices[0] == {
        "id_a": 0,
        "id_b": 0,
        "points": 100.0,
        "first": 100.0,
        "second": 100.0,
        "contradicts": False,
        "reasons": ["Compared with the reference.", "Compared with the reference."],
        "missing_because": None,
    }
    assert {row["by"] for row in done.report["moved"]} == {100.0, -100.0}
    assert len(read_lines(done.run.auxiliary / "calls.jsonl")) == 24


def test_judge_who_prefers_the_first_contradicts_itself_and_ties(pairwise):
    with OllamaServer(judge=judges.first_always) as server:
        done = pairwise(server, *both(12, 0))()
    found = found_by(done)
    assert (found["status"], found["difference"], found["wins"]) == ("judge_contradicts_itself", None, None)
    assert {line["points"] for line in done.choices} == {50.0}
    assert (found["contradictions"]["count"], found["contradictions"]["share"]) == (12, 1.0)
    assert (found["chose_the_first"]["count"], found["chose_the_first"]["of"]) == (24, 24)
    assert done.report["moved"] == []
    ((_, page, _),) = done.pages
    assert "12 (76% to 100%) of 12 rows" in page
    assert "the judge contradicts itself" in page


@pytest.mark.parametrize(("contradicted", "status"), [(3, "ok"), (4, "judge_contradicts_itself")])
def test_over_a_quarter_of_contradicted_rows_leave_no_winner(pairwise, contradicted, status):
    """Regression: the interval's lower end was asked for, so that 41% of 12 rows left one."""
    ours, theirs = both(12, 0)
    unsure = {f"number {index}" for index in range(contradicted)}

    def wavering(question):
        wavers = any(re.search(rf"{words}$", question.reference) for words in unsure)
        return "A" if wavers else judges.fair(question)

    with OllamaServer(judge=wavering) as server:
        found = found_by(pairwise(server, ours, theirs)())
    assert (found["contradictions"]["count"], found["contradictions"]["of"]) == (contradicted, 12)
    assert found["status"] == status


def half_decided(question):
    """B is the better in one order; in the other neither is."""
    return "B" if question.response_a.startswith("Something") else "tie"


def test_better_in_one_order_and_equal_in_another_is_half_a_win(pairwise):
    with OllamaServer(judge=half_decided) as server:
        done = pairwise(server, *both(3, 0))()
    assert [line["points"] for line in done.choices] == [75.0] * 3
    assert (found_by(done)["difference"], found_by(done)["wins"]["count"]) == (50.0, 3)
    assert found_by(done)["contradictions"]["count"] == 0


@pytest.mark.parametrize(
    ("forth", "back", "points"), [(90.0, 20.0, 50.0), (90.0, 70.0, 80.0), (10.0, 50.0, 30.0)]
)
def test_finer_judge_that_contradicts_itself_makes_a_tie_too(forth, back, points):
    """Judges in this process answer by probabilities, whose mean need not be even."""
    shown = [ResponseRow(0, "Name it.", "", "Paris", "", response) for response in ("Rome", "Oslo")]
    line = _line(Pair(*shown), None, (Judgement(forth), Judgement(100.0 - back)))
    assert (line["points"], line["contradicts"]) == (points, points == 50.0)


@pytest.mark.parametrize("order", ["forth", "back"])
def test_row_unanswered_in_one_order_is_missing_and_bounded(pairwise, order):
    ours, theirs = both(3, 1)
    row = ResponseRow(1, "Name thing 1.", "", "Thing number 1", "", "")
    shown = (ours[1], theirs[1]) if order == "forth" else (theirs[1], ours[1])
    fault = Fault("garbage", times=None, containing=fence_code(row, *shown))
    with OllamaServer(judge=judges.fair, faults=[fault]) as server:
        done = pairwise(server, ours, theirs)()
    found, line = found_by(done), done.choices[1]
    assert (line["points"], line["contradicts"]) == (None, False)
    assert [line["first"], line["second"]] == ([None, 100.0] if order == "forth" else [100.0, None])
    assert "twice asked" in line["missing_because"]
    assert (found["rows"], found["scored"], found["contradictions"]["of"]) == (4, 3, 3)
    assert found["difference"] == pytest.approx(100 / 3)
    assert (found["lowest_possible"], found["highest_possible"]) == (0.0, 50.0)


@pytest.mark.parametrize(
    ("a", "b", "points"),
    [
        ("the same", " the same\n", 50.0),
        ("", " ", 50.0),
        ("", "Name thing 0.", 50.0),  # an echo is worth as little
        ("", "Something", 0.0),
        ("Something", "so so so so so so", 100.0),
        ("Thing number 0", "", 100.0),
    ],
)
def test_what_is_decided_in_code_is_not_asked(pairwise, a, b, points):
    with OllamaServer(judge=judges.first_always) as server:
        done = pairwise(server, [a], [b])()
        assert server.chats == []
    assert [(line["points"], line["first"], line["second"]) for line in done.choices] == [
        (points, None, None)
    ]
    assert found_by(done)["decided_in_code"] == 1
    assert found_by(done)["contradictions"] == {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    ((_, page, _),) = done.pages
    assert "All 1 rows were decided without the judge" in page


def test_the_reference_itself_does_not_win_without_the_judge(pairwise):
    """The other response may say the same in other words."""
    with OllamaServer(judge=lambda _: "tie") as server:
        done = pairwise(server, ["Thing number 0"], ["Number 0 is the thing"])()
        assert len(server.chats) == 2
    assert done.choices[0]["points"] == 50.0


def test_over_five_percent_without_a_choice_leave_no_difference(pairwise):
    fault = Fault("garbage", times=None, containing="Name thing 1.")
    with OllamaServer(judge=judges.fair, faults=[fault]) as server:
        found = found_by(pairwise(server, *both(3, 1), max_missing=0.05)())
    assert (found["status"], found["difference"], found["scored"]) == ("too_many_missing", None, 3)
    assert (found["lowest_possible"], found["highest_possible"]) == (0.0, 50.0)


def test_judge_who_failed_its_audit_is_asked_only_despite_it(pairwise):
    failed = PASSED | {"verdict": "fail"}
    with OllamaServer(judge=judges.fair) as server:
        done = pairwise(server, *both(2, 1), audit=failed)()
        assert server.chats == []
        despite = pairwise(server, *both(2, 1), audit=failed, despite_audit=True)()
    assert found_by(done) == {"scorer": JUDGE, "kind": "judge", "status": "judge_failed_audit", "rows": 3}
    assert not (done.run.out / "choices.jsonl").exists()
    assert (found_by(despite)["audit"], found_by(despite)["wins"]["count"]) == ("fail", 2)
    ((_, page, _),) = done.pages
    assert "the judge failed its audit" in page


@pytest.mark.parametrize(
    "audit", [None, PASSED | {"scorer": "ollama:another"}, PASSED | {"mode": "scores"}], ids=repr
)
def test_a_judge_without_an_audit_is_not_asked(pairwise, audit):
    with OllamaServer() as server:
        with pytest.raises(StageError, match=f"{JUDGE} has not been audited"):
            pairwise(server, *both(1, 0), audit=audit)()
        assert server.chats == []


def test_another_model_than_the_audited_one_chooses_nothing(pairwise):
    """Regression: the audit of the model that a name stood for before let its successor choose."""
    with OllamaServer(judge=judges.fair, digest="f" * 64) as server:
        compared = pairwise(server, *both(1, 0))
        with pytest.raises(StageError, match="digest was a80c4f17acd5 and is ffffffffffff now"):
            compared()
    assert not (compared.run.out / "compare.json").exists()


def test_b_with_a_is_a_with_b_negated_and_asks_nothing_new(pairwise):
    ours, theirs = both(5, 2)
    ours[0], theirs[6] = "", ours[6]  # one lost in code, one tie
    fault = Fault("garbage", times=None, containing=theirs[3])
    with OllamaServer(judge=judges.fair, faults=[fault]) as server:
        forth = pairwise(server, ours, theirs)()
        calls = len(server.chats)
        back = pairwise(server, theirs, ours)()
        assert len(server.chats) == calls
    found = found_by(forth)
    assert [found[name]["count"] for name in ("wins", "ties", "losses")] == [3, 1, 2]
    wanted, ends = exchanged(found), ("low", "high")
    assert [found_by(back)[name] for name in ends] == pytest.approx([wanted[name] for name in ends])
    assert found_by(back) | dict.fromkeys(ends) == wanted | dict.fromkeys(ends)
    flipped = [None if line["points"] is None else 100 - line["points"] for line in forth.choices]
    assert [line["points"] for line in back.choices] == flipped
    assert [row["by"] for row in back.report["moved"]] == [-row["by"] for row in forth.report["moved"]]


def test_a_choice_by_openais_protocol(pairwise):
    scorer = "openai:llama-3.2-3b-instruct"
    with OpenAIServer(judge=judges.fair) as server:
        digests = digests_of(AskConfig(scorer=scorer, base_url=server.url))
        audit = PASSED | {"scorer": scorer, "verdict": "warn", "digest": digests[scorer]}
        done = pairwise(server, *both(2, 1), scorer=scorer, audit=audit)()
        assert len(server.chats) == 6
    found = found_by(done)
    assert (found["audit"], found["wins"]["count"], found["losses"]["count"]) == ("warn", 2, 1)
