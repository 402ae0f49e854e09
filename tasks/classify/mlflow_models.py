"""Classifiers in MLflow, loaded by `mlflow.pyfunc` without this package: plain inputs, plain answers."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import mlflow.transformers
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema

from tasks.machine.json_files import Json
from tasks.models.classifier import load_classifier
from tasks.models.loading import load_tokenizer


def log_labels(name: str, folder: Path, labels: Sequence[str], inputs: Sequence[Json]) -> ModelInfo:
    """A classifier of texts in Transformers' flavour; a column for each text, a label with its score back."""
    texts = pd.DataFrame(list(inputs))
    network, tokenizer = load_classifier(folder), load_tokenizer(folder)
    network.name_or_path = name
    return mlflow.transformers.log_model(
        {"model": network, "tokenizer": tokenizer},
        name="model",
        task="text-classification",
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.string, column) for column in texts]),
            outputs=Schema([ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score")]),
        ),
        input_example=texts,
        model_config={"truncation": True},
        pip_requirements=requirements(),
        metadata={"labels": list(labels)},
    )


def requirements() -> list[str]:
    """What a model is loaded with."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers")]
