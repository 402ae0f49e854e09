"""What the tests of the card share."""

import pytest

from tests.card_outputs import Outputs


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path / "stages")
