"""What the tests of fine-tuning share."""

import pytest

from tests.finetune.labelled_texts import MODELS, model_in


@pytest.fixture(scope="session")
def families(tmp_path_factory):
    """A base of each family. Their padding is their end token, on the left."""
    return {family: model_in(tmp_path_factory.mktemp(family), family) for family in MODELS}
