"""What the tests of pretraining share: tokens to train on."""

from pydoc_data.topics import topics

import pytest

from tasks.pretrain import speed
from tests.pretrain.training import tokens_of


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
def tokens(tmp_path_factory):
    """One document, cut into a training and a validation split."""
    return tokens_of(topics["assignment"][:6000], tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="session")
def documents(tmp_path_factory):
    """Many documents, from a few tokens to more than a context."""
    texts = [line for line in topics["assignment"].splitlines() if line.strip()][:120]
    return tokens_of(texts, tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="session")
def forked(processes):
    """The same under another name, since `processes` is how many a training has."""
    return processes
