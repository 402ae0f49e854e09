"""What the tests of fine-tuning share."""

import pytest

from tasks.config import BaseConfig
from tasks.registry.import_model import base
from tests.finetune.labelled_texts import ENCODERS, MODELS, encoder_in, model_in
from tests.runs import stage_run_in


@pytest.fixture(scope="session")
def families(tmp_path_factory):
    """A base of each family. Their padding is their end token, on the left."""
    return {family: model_in(tmp_path_factory.mktemp(family), family) for family in MODELS}


@pytest.fixture(scope="session")
def encoders(tmp_path_factory):
    """A base of each kind of encoder, as the base stage leaves it."""
    folders = {kind: encoder_in(tmp_path_factory.mktemp("encoder"), kind) for kind in ENCODERS}
    for kind, folder in folders.items():
        run = stage_run_in(tmp_path_factory.mktemp("imported"))
        base(BaseConfig(model=str(folder / "model")), run)
        folders[kind] = run.out
    return folders
