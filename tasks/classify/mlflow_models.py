"""Classifiers in MLflow, loaded by `mlflow.pyfunc` without this package: plain inputs, plain answers."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow
import mlflow.pyfunc
import mlflow.transformers
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Object, Property

from tasks.compat.lean_mlflow import complete_models
from tasks.machine.json_files import Json
from tasks.models.classifier import load_classifier
from tasks.models.loading import load_tokenizer

SERVED = Path(__file__).parent / "served"
NAMED = {"label": Property("label", DataType.string), "probability": Property("probability", DataType.double)}
ROWS_OF_LABELS = Schema(
    [
        ColSpec(Array(DataType.string), "labels"),
        ColSpec(Array(Object(list(NAMED.values()))), "probabilities"),
    ]
)

ENTITY = [
    Property("text", DataType.string),
    Property("type", DataType.string),
    Property("start", DataType.long),
    Property("end", DataType.long),
    Property("probability", DataType.double),
]
TEXT_OR_WORDS = Schema(
    [ColSpec(DataType.string, "text"), ColSpec(Array(DataType.string), "words", required=False)]
)
TAGGED_WORDS = Schema(
    [
        ColSpec(Array(Object(ENTITY)), "entities"),
        ColSpec(Array(DataType.string), "words"),
        ColSpec(Array(DataType.string), "tags"),
    ]
)


def log_script(
    script: str,
    name: str,
    folder: Path,
    inputs: Sequence[Json],
    outputs: Schema,
    metadata: Json,
    taken: Schema | None = None,
) -> ModelInfo:
    """A classifier that answers by one of the scripts in `served`, or by one whose whole path is given.

    MLflow keeps it beside the model's files. `inputs` are at least one row of plain values, which are the
    example, and what is `taken` where that says nothing else.
    """
    example = pd.DataFrame(list(inputs))
    complete_models()
    return mlflow.pyfunc.log_model(
        name="model",
        python_model=str(SERVED / f"{script}.py"),
        artifacts={"model": str(folder)},
        signature=ModelSignature(inputs=taken or infer_signature(example).inputs, outputs=outputs),
        input_example=example,
        pip_requirements=requirements(),
        metadata=metadata | {"name": name},
    )


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
