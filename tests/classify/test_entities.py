"""Entities as conlleval and seqeval count them, and the schemes of tags that become BIO."""

import random

import pytest

from tasks.classify.entities import Span, as_bio, counts_of, fault, scheme_of, spans, total

TRUTH = [
    "O B-PER I-PER O B-LOC".split(),
    "B-ORG I-ORG O B-PER B-PER".split(),
    "O O O".split(),
    "I-LOC I-LOC B-LOC O I-ORG".split(),
    "B-PER I-LOC I-LOC O B-ORG I-ORG I-ORG".split(),
]
GIVEN = [
    "O B-PER I-PER I-PER I-LOC".split(),
    "B-ORG I-ORG O B-PER I-PER".split(),
    "O B-PER O".split(),
    "I-LOC B-LOC I-LOC O B-ORG".split(),
    "B-PER I-PER I-LOC O B-ORG I-ORG O".split(),
]


def test_f1_is_that_of_seqeval():
    """What seqeval 1.2.2 prints of these (precision_score, recall_score, f1_score, by type the report)."""
    pairs = list(zip(TRUTH, GIVEN, strict=True))
    every = total(counts_of(*pair) for pair in pairs)
    assert (every.precision, every.recall, every.f1) == (3 / 11, 3 / 11, pytest.approx(0.2727272727272727))
    by_type = {kind: total(counts_of(*pair, kind) for pair in pairs) for kind in ("LOC", "ORG", "PER")}
    assert {kind: (one.f1, one.true) for kind, one in by_type.items()} == {
        "LOC": (0.25, 4),
        "ORG": (pytest.approx(0.6666666666666666), 3),
        "PER": (0.0, 4),
    }


def test_f1_of_tags_at_random_is_that_of_seqeval():
    """Four hundred sentences of tags in no order, in which an I often stands where nothing was begun."""
    draw, tags = random.Random(7), ["O", "B-A", "I-A", "B-B", "I-B"]
    truth = [[draw.choice(tags) for _ in range(draw.randint(1, 12))] for _ in range(400)]
    given = [[tag if draw.random() < 0.7 else draw.choice(tags) for tag in one] for one in truth]
    pairs = list(zip(truth, given, strict=True))
    every = total(counts_of(*pair) for pair in pairs)
    assert every.precision == pytest.approx(0.6915451895043732, rel=1e-15)
    assert every.recall == pytest.approx(0.6871378910776361, rel=1e-15)
    by_type = [total(counts_of(*pair, kind) for pair in pairs) for kind in "AB"]
    assert [one.f1 for one in by_type] == pytest.approx([0.688450704225352, 0.6902761104441777], rel=1e-15)
    assert [one.true for one in by_type] == [879, 847]


def test_an_entity_ends_where_another_begins():
    assert spans("B-A I-A I-B O B-B B-B".split()) == [
        Span(0, 2, "A"),
        Span(2, 3, "B"),
        Span(4, 5, "B"),
        Span(5, 6, "B"),
    ]


def test_tags_of_single_words_are_counted_word_by_word():
    counts = counts_of("DET NOUN VERB".split(), "DET VERB VERB".split())
    assert (counts.f1, counts.true) == (pytest.approx(2 / 3), 3)


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", "B-A I-A B-A O B-B"),
        ("IOB1", "I-A I-A B-A O I-B"),
        ("BILOU", "B-A L-A U-A O U-B"),
        ("BIOES", "B-A E-A S-A O S-B"),
    ],
)
def test_a_scheme_of_tags_is_recognised_and_becomes_bio(scheme, tags):
    assert scheme_of([tags.split()]) == scheme
    assert as_bio(tags.split(), scheme) == "B-A I-A B-A O B-B".split()


def test_tags_that_go_on_with_nothing_are_found():
    assert fault("O B-A I-A I-B".split()) == 3
    assert scheme_of(["B-A O I-A".split(), "B-A B-A".split()]) == "BIO"
    assert scheme_of(["DET NOUN".split()]) == "plain"
