"""`touchstone synthesize`, and the road from what it makes to the card, as a user meets them."""

import json

import pytest

from tests.integration.conftest import TINY
from tests.synthesize.writing import CORPUS, SHIPS, WRITER, WriterServer

SYNTHESIZE = f"""
synthesize: {{kind: questions, by: "{WRITER}", count: 20, per_source: 2, passage_words: 40}}
"""


@pytest.fixture(scope="module")
def server():
    with WriterServer() as found:
        yield found


@pytest.fixture(scope="module")
def place(make_workplace):
    found = make_workplace("synthesize")
    (found.folder / "ships.txt").write_text(CORPUS, encoding="utf-8")
    profile = TINY.replace("corpus.txt", "ships.txt") + SYNTHESIZE
    (found.folder / "ships.yaml").write_text(profile, encoding="utf-8")
    return found


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_file_of_rows_is_made_once(place, server):
    asked = ("synthesize", "questions", "ships.txt", "--by", WRITER, "--set", "synthesize.passage_words=40")
    first = place(*asked, "-n", "10", "-o", "made.jsonl", "--json", OPENAI_BASE_URL=server.url)
    assert first.status == 0, first.err
    assert [stage["name"] for stage in first.json["stages"]] == ["download corpus", "synthesize"]
    made = lines_of(place.folder / "made.jsonl")
    assert [row["instruction"] for row in made] == [
        f"From which harbour did the ship {ship} sail?" for ship in SHIPS
    ]
    asked_before = len(server.chats)
    again = place(*asked, "-n", "10", "-o", "again.jsonl", OPENAI_BASE_URL=server.url)
    assert (again.status, len(server.chats)) == (0, asked_before)
    assert "again.jsonl: 10 of 10 rows that" in again.out
    kept = place(*asked, "-n", "10", "-o", "made.jsonl", OPENAI_BASE_URL=server.url)
    assert (kept.status, "it is there already" in kept.err) == (2, True)


def test_rows_from_synthesis_to_the_card(place, server):
    done = place("run", "ships.yaml", "--json", OPENAI_BASE_URL=server.url)
    assert done.status == 0, done.err
    names = [stage["name"] for stage in done.json["stages"]]
    assert names[:5] == [
        "download corpus",
        "download rows",
        "download given rows",
        "given rows",
        "synthesize",
    ]
    card = place("report")
    assert "Rows made by a model" in card.out
    assert "10 of 20 rows" in card.out
    assert "10 of them are trained on; none is a test row" in " ".join(card.out.split())
    again = place("run", "ships.yaml", "--json", OPENAI_BASE_URL=server.url)
    assert all(stage["cached"] for stage in again.json["stages"])


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["riddles", "ships.txt"], 2, "synthesize.kind"),
        (["questions", "nowhere.txt"], 2, "nowhere.txt does not exist"),
        (["questions", "ships.txt", "-n", "1000"], 2, "1000 rows are asked for"),
        (["questions", "ships.txt", "--prompt", "ships.txt"], 2, "lacks the placeholder {passage}"),
        (["answers", "ships.txt", "--given", "ships.txt"], 2, "--given goes with questions"),
        (
            ["questions", "ships.txt", "--set", f"synthesize.grounded_by={WRITER}"],
            2,
            "has to be audited first",
        ),
        (["questions", "ships.txt", "--by", "openai:nobody"], 2, "two different ones"),
    ],
)
def test_a_mistake_is_told_in_one_message(place, server, arguments, status, message):
    asked = ("synthesize", *arguments, "--by", WRITER, "-o", "out.jsonl")
    done = place(*asked, OPENAI_BASE_URL=server.url)
    assert (done.status, message in done.err) == (status, True), done.err
    assert not (place.folder / "out.jsonl").exists()
