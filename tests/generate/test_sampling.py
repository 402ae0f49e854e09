"""The next token from its logits: as Hugging Face chooses it, and as exactly as the formulas say."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tasks.generate import sampling

pytestmark = pytest.mark.usefixtures("one_thread")


def random_logits(seed, rows=4, vocabulary=300, scale=3.0):
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.floats(0.1, 5.0),
    top_k=st.none() | st.integers(1, 400),
    top_p=st.integers(10, 1000).map(lambda thousandths: thousandths / 1000),
    penalty=st.floats(1.0, 3.0),
)
def test_what_may_be_drawn_and_how_likely_is_as_in_hugging_face(seed, temperature, top_k, top_p, penalty):
    logits = random_logits(seed)
    ids = torch.randint(300, (4, 20), generator=torch.Generator().manual_seed(seed))
    theirs = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits)
    theirs = TemperatureLogitsWarper(temperature)(ids, theirs)
    if top_k is not None:
        theirs = TopKLogitsWarper(top_k)(ids, theirs)
    if top_p < 1:
        theirs = TopPLogitsWarper(top_p)(ids, theirs)
    seen = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, ids, True)
    ours = sampling.warped(sampling.penalized(logits, seen, penalty), temperature, top_k, top_p)
    assert torch.equal(ours.isinf(), theirs.isinf())
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1))


def test_the_penalty_makes_no_token_likelier():
    logits = torch.tensor([[2.0, -2.0, 2.0, -2.0]])
    seen = torch.tensor([[True, True, False, False]])
    assert sampling.penalized(logits, seen, 2.0).tolist() == [[1.0, -4.0, 2.0, -2.0]]


def test_of_equal_logits_top_k_keeps_all():
    logits = torch.tensor([[1.0, 3.0, 2.0, 2.0, 0.0]])
    assert sampling.only_top_k(logits, 2).tolist() == [[-torch.inf, 3.0, 2.0, 2.0, -torch.inf]]


@pytest.mark.parametrize(("p", "kept"), [(1e-9, [1]), (0.5, [1]), (0.51, [1, 2]), (0.81, [0, 1, 2])])
def test_the_nucleus_is_the_fewest_tokens_that_reach_p(p, kept):
    logits = torch.tensor([[0.15, 0.5, 0.3, 0.05]]).log()
    assert sampling.only_top_p(logits, p).isfinite().nonzero()[:, 1].tolist() == kept


def test_nucleus_is_the_same_with_the_whole_vocabulary_sorted(monkeypatch):
    """Rows whose nucleus is small, rows whose nucleus is large, and rows of equals."""
    logits = torch.cat([random_logits(1, scale=9.0), random_logits(2, scale=0.1), torch.zeros(1, 300)])
    whole = [sampling.only_top_p(logits, p) for p in (0.3, 0.9)]
    monkeypatch.setattr(sampling, "FEW", 8)
    assert all(
        torch.equal(ours, sampling.only_top_p(logits, p)) for ours, p in zip(whole, (0.3, 0.9), strict=True)
    )
    assert whole[0][-1].isfinite().nonzero()[:, 0].tolist() == list(range(90))


def test_a_draw_is_the_inverse_of_the_cumulated_probability():
    logits = torch.tensor([[0.25, 0.0, 0.5, 0.25, 0.0]]).log()
    expected = {0.0: 0, 0.249: 0, 0.25: 2, 0.5: 2, 0.7499: 2, 0.75: 3, 1 - 2**-53: 3}
    for uniform, token in expected.items():
        assert sampling.drawn(logits, torch.tensor([uniform], dtype=torch.float64)).tolist() == [token]


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits = random_logits(3, rows=1, vocabulary=10, scale=1.0)
    generator = sampling.generator_of(1, 1)
    uniforms = torch.tensor([generator.random() for _ in range(20_000)], dtype=torch.float64)
    drawn = sampling.drawn(logits.expand(20_000, -1), uniforms).bincount(minlength=10) / 20_000
    torch.testing.assert_close(drawn, logits[0].softmax(-1), atol=0.012, rtol=0)


def test_a_row_draws_from_its_own_seed():
    """Literal numbers: a sample must not change with a new version of a library."""
    assert [round(sampling.generator_of(123, row).random(), 6) for row in (0, 1, "1")] == [
        0.725696,
        0.502811,
        0.494729,
    ]
    state = random.getstate()
    sampling.generator_of(1, 1).random()
    assert random.getstate() == state


def test_the_first_of_equal_tokens_is_the_largest():
    assert sampling.largest(torch.tensor([[1.0, 3.0, 3.0], [5.0, 5.0, 2.0]])).tolist() == [1, 0]


def test_a_tie_is_what_rounding_may_decide():
    gap = 4 * sampling.TIE  # the range of the logits is 8
    logits = torch.tensor([[0.0, 8.0, 8.0 - gap], [0.0, 8.0, 8.0 - 4 * gap], [-8.0, 0.0, 0.0]])
    assert sampling.ties(logits).tolist() == [0, 2]
