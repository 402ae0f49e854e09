"""The reference metrics: what each counts, in any script, from 0 for nothing to 100 for the reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU, CHRF

from tasks.judge.score.metrics import (
    METRICS,
    SUMMARY_METRICS,
    bleu,
    chrf,
    common_subsequence,
    corpus_bleu,
    exact,
    metric_scores,
    metrics_beside,
    rouge_1,
    rouge_2,
    rouge_l,
    words_of,
)

PAIRS = [("The cat sat.", "A cat sat down."), ("日本の首都", "日本の首都は東京"), ("no", "yes")]
texts = st.text(max_size=60) | st.text(alphabet="ab c.,日本", max_size=60)


def test_chrf_and_bleu_are_sacrebleus():
    for response, reference in PAIRS:
        assert chrf(response, reference) == CHRF(word_order=2).sentence_score(response, [reference]).score
        expected = BLEU(effective_order=True).sentence_score(response, [reference]).score
        assert bleu(response, reference) == expected
    responses, references = zip(*PAIRS, strict=True)
    assert corpus_bleu(responses, references) == BLEU().corpus_score(responses, [references]).score


def test_bleu_of_a_short_response_counts_the_n_grams_that_it_has():
    assert bleu("Paris", "Paris") == pytest.approx(100)
    assert bleu("blue sky", "blue sea") == pytest.approx(
        50.0
    )  # one of two words, and a smoothed half of none


@pytest.mark.parametrize(
    ("response", "expected"),
    [("police kill the gunman", 75.0), ("the gunman kill police", 50.0), ("the gunman police killed", 50.0)],
)
def test_rouge_l_is_lins_example(response, expected):
    """ROUGE (Lin, 2004), section 3.1: S2, S3 and S4 against S1."""
    assert rouge_l(response, "police killed the gunman") == expected


@pytest.mark.parametrize(
    ("response", "reference", "expected"),
    [
        ("police kill the gunman", "police killed the gunman", (75.0, 33.333333, 75.0)),
        ("The cat sat on the mat.", "A cat sat down on a mat, the cat.", (66.666667, 30.769231, 53.333333)),
        ("the the the", "the cat", (40.0, 0.0, 40.0)),
        ("Don't stop: 3.5 km!", "don't stop at 3.5 km", (92.307692, 72.727273, 92.307692)),
        ("one", "one", (100.0, 0.0, 100.0)),
        ("one two", "three four", (0.0, 0.0, 0.0)),
        (
            "Adler of Riga: the old mill will be sold on Friday for 42 euros.",
            "Adler of Riga: the old mill will be sold on Monday for 24 euros.",
            (85.714286, 69.230769, 85.714286),
        ),
    ],
)
def test_rouge_is_what_rouge_score_gives(response, reference, expected):
    """Of rouge-score 0.1.2 without stemming: F1 of rouge1, rouge2 and rougeL."""
    found = [metric(response, reference) for metric in (rouge_1, rouge_2, rouge_l)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_rouge_counts_ideographs_where_there_are_no_spaces():
    assert rouge_1("東京は首都", "首都は東京") == 100.0
    assert rouge_2("東京は首都", "首都は東京") == 50.0


def test_rouge_1_and_2_stand_where_the_headline_is_a_rouge():
    assert metrics_beside(("metric:chrf",)) == METRICS
    assert list(metrics_beside(("metric:rouge-l",))) == [*METRICS, *SUMMARY_METRICS]


def test_rouge_l_counts_precision_and_recall():
    assert rouge_l("a b c d e f", "a c x") == pytest.approx(100 * 2 * (2 / 6) * (2 / 3) / (2 / 6 + 2 / 3))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop: 3.5 km!", ["don", "t", "stop", "3", "5", "km"]),
        ("日本の首都はTokyo。", ["日", "本", "の", "首", "都", "は", "tokyo"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("Größe STRASSE Straße", ["grösse", "strasse", "strasse"]),
        ("서울은 수도", ["서울은", "수도"]),
        ("¡…! 。・", []),
    ],
)
def test_words_in_any_script(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize("response", ["", " \n", "\u200b"])
def test_an_empty_response_has_nothing(response):
    assert set(metric_scores(response, "reference").values()) == {0.0}


@pytest.mark.parametrize("reference", ["", " \n", "\u200b"])
def test_without_a_reference_there_is_no_metric_and_not_one_of_0(reference):
    for response in ("response", "", reference):
        assert metric_scores(response, reference) == {}


@pytest.mark.parametrize("text", ["same words", "!!", "<skipped>", "-\n-", "東京"])
def test_the_reference_itself_has_everything(text):
    assert metric_scores(f" {text}\n", text) == dict.fromkeys(METRICS, 100.0)


def test_exact_match_forgives_outer_white_space_and_nothing_else():
    assert [exact(text, "Paris") for text in (" Paris\n", "paris", "Paris.")] == [100.0, 0.0, 0.0]


@given(response=texts, reference=texts)
def test_every_metric_is_between_0_and_100(response, reference):
    for scorer, score in metric_scores(response, reference).items():
        assert 0.0 <= score <= 100.0, scorer


@given(one=texts, other=texts)
def test_rouge_l_and_exact_match_are_symmetric(one, other):
    assert rouge_l(one, other) == rouge_l(other, one)
    assert exact(one, other) == exact(other, one)


@given(text=texts)
def test_no_response_is_better_than_the_reference(text):
    assert set(metric_scores(text, text).values()) <= {0.0, 100.0}


def longest_by_the_table(a, b):
    row = [0] * (len(b) + 1)
    for one in a:
        before = row
        row = [0]
        for place, other in enumerate(b):
            row.append(before[place] + 1 if one == other else max(before[place + 1], row[place]))
    return row[-1]


@given(st.lists(st.sampled_from("abcd"), max_size=90), st.lists(st.sampled_from("abcd"), max_size=90))
def test_the_longest_common_subsequence_is_that_of_the_textbook(a, b):
    assert common_subsequence(a, b) == longest_by_the_table(a, b)
