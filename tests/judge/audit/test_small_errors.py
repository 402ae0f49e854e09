"""Right answers made wrong in one place: what is changed, in which languages, and what is left as it is."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.judge.audit.languages import LANGUAGES, TOLD, common_language, language_of, negated
from tasks.judge.audit.small_errors import Sources, changed_number, swapped_word
from tasks.judge.protocol.responses import ResponseRow

ENGLISH = LANGUAGES["English"]
DONORS = {"term": ["quick"], "name": ["Berlin"], "noun": ["river"]}


def rows_asking(*pairs):
    return [
        ResponseRow(place, question, "", reference, "", "")
        for place, (question, reference) in enumerate(pairs)
    ]


# Numbers


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("It took 7 days.", "It took ", " days."),
        ("In 1889", "In 1", "89"),
        ("0.05 m", "0.0", " m"),
        ("1,234", "1,", "34"),
        ("1. one\n2) two at 5", "1. one\n2) two at ", ""),
        ("٣", "", ""),
        ("12 kg", "", "2 kg"),
    ],
)
def test_one_digit_of_one_number_changes(text, start, end):
    for seed in range(5):
        changed = changed_number(text, random.Random(seed))
        assert changed != text
        assert (changed[: len(start)], changed[len(changed) - len(end) :]) == (start, end)
        assert (len(changed), changed[len(start)].isdecimal()) == (len(text), True)


@pytest.mark.parametrize("text", ["no number", "1. one\n2. two", ""])
def test_where_there_is_no_number_none_is_changed(text):
    assert changed_number(text, random.Random(1)) is None


# Languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("It is the capital of France.", "English"),
        ("Das ist die Hauptstadt von Frankreich.", "German"),
        ("C'est la capitale de la France.", "French"),
        ("Es la capital de Francia y del vino.", "Spanish"),
        ("Lisboa é a capital e não o Porto.", "Portuguese"),
        ("Roma è la capitale e non il mare.", "Italian"),
        ("Het is de hoofdstad van het land.", "Dutch"),
        ("Det är en stad och inte ett land.", "Swedish"),
        ("To jest stolica i nie wieś.", "Polish"),
        ("Это не столица, а город.", "Russian"),
        ("巴黎是法国的首都。", "Chinese"),
        ("パリはフランスの首都です。", "Japanese"),
        ("Zn.", None),
        ("", None),
    ],
)
def test_a_language_is_told_by_its_function_words_or_its_script(text, language):
    found = language_of(text)
    assert (found.name if found else None) == language


def test_language_of_most_texts_is_given_to_those_too_short():
    english, german = "It is the capital of it.", "Das ist die Hauptstadt und nicht das Dorf."
    assert common_language([english, "Zn.", english]) is ENGLISH
    assert common_language([english, german]) is None
    assert common_language(["Zn."]) is None


@pytest.mark.parametrize(
    ("language", "text", "turned"),
    [
        ("English", "The sky is blue.", "The sky is not blue."),
        ("English", "It is not blue.", "It is blue."),
        ("English", "It isn't blue and is wide.", "It is blue and is wide."),
        ("English", "You can't go.", "You can go."),
        ("English", "Not only he was there.", "Not only he was not there."),
        ("English", "The French of 'My name is' is long.", "The French of 'My name is' is not long."),
        ("English", "Run fast.", None),
        ("German", "Der Himmel ist blau.", "Der Himmel ist nicht blau."),
        ("German", "Es gibt keinen Grund.", "Es gibt einen Grund."),
        ("French", "Le ciel est bleu.", "Le ciel n'est pas bleu."),
        ("French", "Il ne pleut pas ici.", "Il pleut ici."),
        ("Spanish", "El cielo es azul.", "El cielo no es azul."),
        ("Portuguese", "O céu não é azul.", "O céu é azul."),
        ("Italian", "C'è vita.", "non c'è vita."),
        ("Dutch", "De lucht is blauw.", "De lucht is niet blauw."),
        ("Swedish", "Himlen är blå.", "Himlen är inte blå."),
        ("Polish", "Niebo jest niebieskie.", "Niebo nie jest niebieskie."),
        ("Russian", "Он был дома.", "Он не был дома."),
        ("Chinese", "巴黎是首都，但是很大。", "巴黎不是首都，但是很大。"),
        ("Chinese", "他没有钱。", "他有钱。"),
        ("Japanese", "首都です。", "首都ではありません。"),
        ("Japanese", "行きません。", "行きます。"),
    ],
)
def test_a_negation_is_taken_out_or_else_put_in(language, text, turned):
    assert negated(text, LANGUAGES[language]) == turned


def test_what_is_no_language_known_is_not_negated():
    assert negated("It is so.", None) is None


@given(text=st.text(max_size=40), language=st.sampled_from([*TOLD, LANGUAGES["Chinese"]]))
def test_a_negated_text_is_another_one(text, language):
    assert negated(text, language) != text


# Names and nouns


@pytest.mark.parametrize(
    ("text", "question", "swapped"),
    [
        ("The opposite of 'slow' is 'fast'.", "the opposite of slow?", "The opposite of 'slow' is 'quick'."),
        ("We saw Paris, and Paris saw us.", "Where?", "We saw Berlin, and Berlin saw us."),
        ("Paris is a town.", "What is Paris?", "Paris is a river."),
        ("The symbol of water is H2O.", "The symbol of water?", None),
        ("They met Olga.", "How did Olga meet them?", "They met Berlin."),
        ("Spoke loudly.", "What?", None),
        ("We saw Berlin.", "Where?", None),  # there is no other
    ],
)
def test_a_word_that_the_question_does_not_say_is_swapped(text, question, swapped):
    assert swapped_word(text, question, ENGLISH, DONORS, "7") == swapped


def test_unknown_language_shows_a_name_only_by_capitals():
    assert swapped_word("Ovo je grad.", "Što?", None, DONORS, "7") is None
    assert swapped_word("Ovo je Zagreb.", "Što?", None, DONORS, "7") == "Ovo je Berlin."


# Answers to like questions


def test_the_answer_to_the_question_most_like_it_is_taken():
    rows = rows_asking(
        ("What is the past tense of 'go'?", "It is 'went'."),
        ("What is the past tense of 'see'?", "It is 'saw'."),
        ("Name the tense of this.", "Past"),
        ("Who wrote Faust?", "Goethe"),
    )
    sources = Sources.of(rows)
    assert [sources.like_answer(row) for row in rows] == ["It is 'saw'.", "It is 'went'.", None, None]


@pytest.mark.parametrize(
    ("question", "reference"),
    [
        ("What is the past tense of 'go', then?", "It is gone."),  # asks for the same, and may be as right
        ("What is the past tense of 'see'?", "Here it is: 'went'."),  # holds all of the right answer
    ],
)
def test_what_may_be_right_is_no_answer_to_a_like_question(question, reference):
    rows = rows_asking(("What is the past tense of 'go'?", "It is 'went'."), (question, reference))
    assert Sources.of(rows).like_answer(rows[0]) is None
