"""What the tests of pretraining share."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """Every test here trains."""


@pytest.fixture(scope="session")
def forked(processes):
    """The same under another name, since `processes` is how many a training has."""
    return processes
