"""What the tests of reward models share."""

import pytest

from tests.finetune.tuning import word_tokenizer
from tests.reward_models.pairs import pairs_in, rewarding, told, tuned_in


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    return tuned_in(tmp_path_factory.mktemp("tuned"), word_tokenizer())


@pytest.fixture(scope="session")
def rows(tmp_path_factory):
    return pairs_in(tmp_path_factory.mktemp("pairs") / "rows")


@pytest.fixture(scope="session")
def trained(tuned, rows, tmp_path_factory):
    """The run of a stage that was not interrupted."""
    return rewarding(told(), tuned, rows, tmp_path_factory.mktemp("trained"))
