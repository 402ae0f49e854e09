"""Rows that a model makes: each kept or set aside for a reason, none asked for twice."""

import json

import pytest
from pydantic import ValidationError

from tasks.config import SynthesizeConfig
from tasks.errors import RefusedError, StageError, UnreachableError, UsageError
from tasks.judge.ask.identities import digests_of
from tasks.judge.audit.outputs import AuditReport
from tasks.rows.synthetic import asked_digest
from tasks.synthesize.filters import TITLES
from tasks.synthesize.identities import fingerprints
from tasks.synthesize.prompts import prompt_of
from tests.chat_server import Fault
from tests.judge.judging import AUDIT
from tests.synthesize.writing import CORPUS, WRITER, good, number_in, passage


def row(question, response):
    return json.dumps({"question": question, "response": response})


def by_number(**answers):
    """Says what is named for a ship (`n3`), else a good row."""

    def write(request, _):
        number = number_in(request)
        return answers.get(f"n{number}", good(number))

    return write


# What becomes of rows


def test_rows_carry_what_they_were_made_from(trial, server):
    kept, aside, found = trial(count=10)()
    assert (len(kept), aside, found.kept, found.asked, found.sources) == (10, [], 10, 10, 10)
    first, second = kept[:2]
    assert first["instruction"] == "From which harbour did the ship Amber sail?"
    assert (first["input"], first["source"]) == ("", "ships.txt, passage 0")
    lineage = first["synthetic"]
    assert lineage | {"by": [], "prompt_digest": "", "scores": {}} == {
        "kind": "questions",
        "passage": 0,
        "document": "ships.txt",
        "by": [],
        "prompt": "questions.txt, version 1",
        "prompt_digest": "",
        "seed": 123,
        "scores": {},
    }
    (writer,) = lineage["by"]
    assert writer == {"model": WRITER, "digest": found.writers[0]["digest"], "temperature": 0.7}
    assert second["synthetic"]["seed"] == 125  # 124 is for an answer that could not be read
    bodies = [chat.body for chat in server.chats]
    assert {body["temperature"] for body in bodies} == {0.7}
    assert {body["seed"] for body in bodies} == set(range(123, 143, 2))
    assert passage(0) in bodies[0]["messages"][0]["content"]


FATES = {
    "form": "no JSON at all",
    "empty": row("From which harbour did she sail?", " \u200b"),
    "refused": row("Who was the captain?", "I'm sorry, the passage does not say who the captain was."),
    "length": row("Who?", " ".join(["sailors"] * 30)),
    "language": row(
        "Wann ist das Schiff Amber mit den Matrosen aus dem Hafen gesegelt?",
        "Es ist im Frühling mit elf Matrosen aus Lisbon gesegelt, und es war nicht allein.",
    ),
    "repeats": row("The ship Amber left the harbour", "The ship Amber left the harbour."),
    "unnamed": row("Which ship does this passage name?", "The ship Amber."),
    "grounded": row("What did the ship Amber carry?", "She carried elephants, diamonds and marble statues."),
    "verbatim": row(
        "What had the captain of the Amber bought?",
        "Her captain had bought copper and barrels of salt for the merchants of the north",
    ),
    "given": row("Please, how many sailors did the ship Amber have?", "She had 11 sailors."),
}


@pytest.mark.parametrize("name", FATES)
def test_a_filter_sets_its_row_aside(trial, name):
    given = [{"instruction": "How many sailors did the ship Amber have?", "output": "11 sailors"}]
    attempt = trial(by_number(n0=FATES[name]), given=given, max_words=25, verbatim_words=12)
    kept, (aside,), found = attempt()
    assert (aside["filter"], len(kept)) == (name, 9)
    assert aside["why"]
    told = {each["name"]: (each["set_aside"], each["left"]) for each in found.filters}
    assert [each for each in TITLES if each in told] == list(told)  # their order
    assert told[name] == (1, 9)
    assert sum(count for count, _ in told.values()) == 1
    assert found.rejected[0]["passage"] == passage(0)


def test_of_rows_that_ask_the_same_the_first_is_kept(trial):
    same = row("From which harbour did the ship Amber sail?", "She left Lisbon with 11 sailors.")
    kept, aside, _ = trial(by_number(n0=same), count=20, per_source=2)()
    assert [one["why"] for one in aside if one["id"] == 1] == ["nearly what row 0 asks"]
    assert [one["id"] for one in kept] == list(range(0, 20, 2))


def test_a_passage_may_be_the_input_of_its_rows(trial):
    kept, _, _ = trial(count=2, with_passage=True)()
    assert kept[0]["input"] == passage(0)


# Kills, servers, models


def test_what_was_answered_is_not_asked_again(trial, server):
    server.faults.append(Fault("500", times=None, containing="Coral"))
    attempt = trial(count=10)
    with pytest.raises(UnreachableError, match=r"failed on 1 of 10 requests: .* run again to continue"):
        attempt()
    server.faults.clear()
    before = len(server.chats)
    kept, _, _ = attempt()
    assert (len(server.chats) - before, len(kept)) == (1, 10)
    first = [path.read_bytes() for path in sorted(attempt.run.out.rglob("*")) if path.is_file()]
    before = len(server.chats)
    attempt()
    assert len(server.chats) == before
    assert first == [path.read_bytes() for path in sorted(attempt.run.out.rglob("*")) if path.is_file()]


def test_a_server_that_is_away_is_told(trial, server):
    attempt = trial()
    server.__exit__(None, None, None)
    with pytest.raises(UnreachableError, match=r"synthesize.base_url.*run again to continue"):
        attempt()


def test_a_model_of_no_form_is_asked_no_further(trial, server):
    attempt = trial(lambda *_: "Once upon a time", count=40, per_source=4, concurrency=1)
    with pytest.raises(RefusedError) as refused:
        attempt()
    said = str(refused.value)
    assert "of its first 20 answers none has the form asked for (20 times: the answer is not the JSON" in said
    assert "'Once upon a time'; 'Once upon a time'; 'Once upon a time'" in said
    assert len(server.chats) == 40  # each is asked twice


def test_an_answer_of_another_form_is_asked_for_again(trial):
    said = []

    def write(request, body):
        said.append(body["seed"])
        return "?" if body["seed"] == 123 else good(number_in(request))

    kept, _, _ = trial(write, count=1)()
    assert said == [123, 124]
    assert kept[0]["synthetic"]["seed"] == 124


# What a user can do wrong


@pytest.mark.parametrize(
    ("text", "settings", "error", "message"),
    [
        ("", {}, StageError, "ships.txt: is empty"),
        ("Chapter one", {}, StageError, "no passage of 15 words or more"),
        (CORPUS, {"count": 41}, UsageError, "41 rows are asked for, and 10 passages give 40 at most, 4 each"),
        (CORPUS, {"language": "Klingon"}, UsageError, "expected auto, any, or one of English"),
    ],
)
def test_a_synthesis_that_cannot_be_is_refused(trial, server, text, settings, error, message):
    with pytest.raises(error, match=message):
        trial(text=text, **settings)()
    assert not server.chats


def test_a_prompt_without_its_placeholder_is_refused(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("Ask about {pasage}.")
    with pytest.raises(UsageError, match=r"lacks the placeholder \{passage\}.*it has \{pasage\}"):
        prompt_of(SynthesizeConfig(by=WRITER, prompt=path))
    with pytest.raises(UsageError, match="cannot be read"):
        prompt_of(SynthesizeConfig(by=WRITER, prompt=tmp_path / "none.txt"))


def test_a_users_prompt_is_asked_and_is_in_the_key(trial, server, tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text('About {passage} say {"question": "?", "response": "!"}')
    attempt = trial(count=1, prompt=path)
    known = fingerprints(attempt.config)
    attempt()
    assert server.chats[0].body["messages"][0]["content"] == (
        f'About {passage(0)} say {{"question": "?", "response": "!"}}'
    )
    path.write_text("Another {passage}")
    changed = fingerprints(attempt.config)
    assert {name for name in known if known[name] != changed[name]} == {"prompt"}


def test_a_chat_template_in_a_passage_is_broken(trial, server):
    trial(text=CORPUS.replace("barrels", "<|im_end|> barrels"), count=1)()
    assert "< |im_end| > barrels" in server.chats[0].body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"by": "hf:gpt2"}, "writes no text here"),
        ({"by": "metric:chrf"}, "no model that can be asked"),
        ({"by": [WRITER, "openai:b"]}, "of kind: preferences two different ones"),
        ({"by": WRITER, "margin": 3}, "margin: set, but not used by kind: questions"),
        ({"by": WRITER, "kind": "answers", "grounded": 0.1}, "grounded: set, but not used by kind: answers"),
        ({"by": WRITER, "grounded_by": "metric:chrf"}, "grounded_by: words or a judge"),
        ({"by": WRITER, "min_words": 9, "max_words": 8}, "is more than max_words"),
    ],
)
def test_settings_that_go_with_another_kind_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SynthesizeConfig(**settings)


# From given rows


GIVEN = [
    {"instruction": "Name the capital of France.", "output": "Paris is the capital of France."},
    {"instruction": "Name the capital of Norway.", "output": "Oslo is the capital of Norway."},
]


def test_given_questions_are_answered(trial, server):
    attempt = trial(lambda *_: '{"response": "Paris, I think."}', text=None, given=GIVEN, kind="answers")
    kept, aside, _ = attempt()
    assert [one["output"] for one in kept] == ["Paris, I think."] * 2
    assert kept[0]["synthetic"]["of"] == asked_digest("Name the capital of France.", "")
    assert server.chats[0].body["messages"][0]["content"].startswith("Name the capital of France.\n\n")
    assert not aside


def test_a_rewording_in_the_same_words_is_set_aside(trial):
    def write(request, body):
        if "France" in request.text:
            return '{"question": "name the capital of France!"}'
        return '{"question": "Which city is the seat of the government in Norway?"}'

    kept, aside, _ = trial(write, text=None, given=GIVEN, kind="rewordings")()
    assert [one["output"] for one in kept] == ["Oslo is the capital of Norway."]
    assert [one["filter"] for one in aside] == ["given"]


def _cities(request, body):
    right = "Paris" if "France" in request.text else "Oslo"
    country = "France" if "France" in request.text else "Norway"
    good_answer = f"{right} is the capital of {country}."
    return json.dumps({"response": good_answer if body["temperature"] > 1 else "I like cheese."})


def test_two_answers_are_ordered_by_a_metric(trial):
    kept, _, found = trial(_cities, text=None, given=GIVEN, kind="preferences")()
    assert [one["chosen"] for one in kept] == [one["output"] for one in GIVEN]
    assert {one["rejected"] for one in kept} == {"I like cheese."}
    assert kept[0]["synthetic"]["scores"]["first_is_chosen"] == 0.0
    assert [writer["temperature"] for writer in found.writers] == [0.7, 1.2]


def test_answers_that_are_equally_good_are_set_aside(trial):
    attempt = trial(lambda *_: '{"response": "Paris."}', text=None, given=GIVEN, kind="preferences")
    kept, aside, _ = attempt()
    assert not kept
    assert {one["why"] for one in aside} == {"both answers are the same"}


def audited(attempt, folder, verdict):
    judging = attempt.config.judging()
    report = AUDIT | {"scorer": WRITER, "digest": digests_of(judging)[WRITER], "verdict": verdict}
    folder.mkdir()
    AuditReport(**report).write(folder)
    return folder


def test_a_judge_that_passed_its_audit_orders_answers(trial, tmp_path):
    attempt = trial(_cities, text=None, given=GIVEN, kind="preferences", order_by=WRITER)
    kept, _, found = attempt(audit_0=audited(attempt, tmp_path / "audit", "pass"))
    assert [one["chosen"] for one in kept] == [one["output"] for one in GIVEN]
    assert found.judge["verdict"] == "pass"


def test_a_judge_that_failed_its_audit_decides_nothing(trial, server, tmp_path):
    attempt = trial(_cities, text=None, given=GIVEN, kind="preferences", order_by=WRITER)
    with pytest.raises(RefusedError, match=r"failed its audit .*decides on no row"):
        attempt(audit_0=audited(attempt, tmp_path / "audit", "fail"))
    with pytest.raises(StageError, match="has not been audited"):
        attempt()
    assert not server.chats


def test_a_judge_may_say_what_is_grounded(trial, server, tmp_path):
    server.judge = lambda asked: 0 if "Zebras" in asked.response else 5
    made_up = row("What did the ship Amber carry?", "Zebras, xylophones and quartz.")
    attempt = trial(by_number(n0=made_up), grounded_by=WRITER, given=GIVEN)
    _, (aside,), _ = attempt(audit_0=audited(attempt, tmp_path / "audit", "pass"))
    assert (aside["filter"], aside["id"]) == ("grounded", 0)
    assert "the judge gives the answer" in aside["why"]


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("rewordings", {"output": ""}, "given row 1 has no answer, which its rewording would be trained on"),
        ("preferences", {"output": ""}, "given row 1 has no answer"),
        (
            "answers",
            {"messages": [{"role": "user", "content": "Hi"}]},
            "given row 1 has turns before its instruction",
        ),
    ],
)
def test_given_rows_that_do_not_fit_are_refused(trial, kind, changes, message):
    with pytest.raises(StageError, match=message):
        trial(text=None, given=[GIVEN[0], GIVEN[1] | changes], kind=kind)()


@pytest.mark.parametrize("address", ["host", "base_url"])
def test_a_login_in_an_address_is_refused(address):
    with pytest.raises(ValidationError, match="would be kept in the clear"):
        SynthesizeConfig(kind="questions", by="openai:x", **{address: "http://me:secret@here/v1"})
