import pytest

from tests.synthesize.writing import Trial, WriterServer


@pytest.fixture(autouse=True)
def _quick_and_alone(quick_judges):
    """Every test of this folder."""


@pytest.fixture
def server():
    with WriterServer() as found:
        yield found


@pytest.fixture
def trial(tmp_path, server):
    """A factory for attempts in one folder, by a model whose answers `write` says."""

    def made(write=None, **settings):
        if write:
            server.write = write
        return Trial(tmp_path, server, **settings)

    return made
