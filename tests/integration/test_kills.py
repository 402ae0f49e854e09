"""A short form of `python -m tests.benchmarks.kills`: each way to die, at moments that a seed picks."""

import pytest

from tests.benchmarks.kills import KINDS, trials


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_moments_nothing_is_left_and_the_next_run_ends_with_the_same_bits(tmp_path):
    """`trials` raises for what is not so."""
    kills = list(trials(tmp_path, 4, 7, {}))
    assert [(kill.kind, kill.state) for kill in kills] == [
        *((kind, "fresh") for kind in KINDS),
        (KINDS[0], "cached"),
    ]
