import pytest

from tests.judge.judging import Trial


@pytest.fixture(autouse=True)
def _quick_and_alone(quick_judges):
    """Every test of this folder."""


@pytest.fixture
def trial(tmp_path):
    """A factory for attempts in one folder."""
    return lambda rows, **config: Trial(tmp_path, rows, **config)
