"""What the tests of pretraining share."""

import pytest

from tasks.pretrain import speed


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """Every test here trains."""


@pytest.fixture(scope="session", autouse=True)
def _a_small_measure_of_the_machine():
    """The matrix product that utilisation is told against takes longer than the trainings here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(speed.MATRIX_SIDE, "cpu", 64)
        yield


@pytest.fixture(scope="session")
def forked(processes):
    """The same under another name, since `processes` is how many a training has."""
    return processes
