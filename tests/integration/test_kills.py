"""A short form of `python -m tests.benchmarks.kills`: each way to die, at moments that a seed picks."""

import pytest

from tests.benchmarks.kills import KINDS, trials


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_random_kill_leaves_nothing_and_next_run_has_same_bits(tmp_path):
    """`trials` raises for what is not so."""
    kills = list(trials(tmp_path, 4, 7, {}))
    assert [(kill.kind, kill.state) for kill in kills] == [
        *((kind, "fresh") for kind in KINDS),
        (KINDS[0], "cached"),
    ]
