import pytest


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """Tests here train."""
