"""Registering a model: logged so that whoever loads it asks as it was trained, and gets what it gives here.

A causal model continues a prompt. An encoder-decoder takes sources, a list of texts or a table's one column,
and gives the target of each. A classifier takes plain texts, and gives plain answers of its task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.transformers
import pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.classify.mlflow_models import requirements
from tasks.classify.outputs import read_predictions
from tasks.classify.tasks import task_of
from tasks.compat.lean_mlflow import complete_models
from tasks.compat.mlflow_runs import active, licensed
from tasks.config import GenerateConfig, PromoteConfig
from tasks.errors import StageError
from tasks.generate.decoding import Prompt
from tasks.generate.writers import writer_of
from tasks.models.kinds import is_seq2seq
from tasks.models.loading import load_model
from tasks.models.summary import ModelSummary
from tasks.record.stage import StageRun
from tasks.registry.usage import model_description
from tasks.registry.versions import create_if_missing
from tasks.rows import load_split
from tasks.tokenize.templates import load_template

LICENSE = """Touchstone trained this model from {origin}.

It states no licence for the model. Those of what the model was trained from, and of the data that it was
trained on, apply: see the data sets of the run that it comes from.
"""
SCRIPT, MODEL = "seq2seq_model.py", "model"  # which the script calls so, too
TARGET_TOKENS = 256  # that a target has at most, unless more are asked for
PROBED = 24  # tokens of the one that is compared


@dataclass(frozen=True)
class Logged:
    """A model in MLflow that is no version of a registered model yet."""

    source: str
    model_id: str | None


def log_model(run: StageRun, name: str, model: Path, rows: Path, base: Path | None, origin: str) -> Logged:
    """Log the model into the stage's MLflow run, as one of that name instead of the folder's.

    `origin` says what it was trained from, and so whose licence applies. Raises StageError for a classifier
    that, loaded from there, does not give what the stage predicted, and for adapters without their base.
    """
    client = run.tracking.client
    with active(client, run.run_id), licensed(LICENSE.format(origin=origin)):  # it knows only the active run
        info = _log(run, name, model, rows, base)
    return Logged(client.get_logged_model(info.model_id).artifact_location, info.model_id)


def create_version(config: PromoteConfig, run: StageRun, logged: Logged, tags: Mapping[str, str]) -> str:
    """Make a logged model a version of the registered model, with these tags from its first moment."""
    create_if_missing(run.tracking, config.name, model_description(config.name))
    version = run.tracking.client.create_model_version(
        config.name, logged.source, run_id=run.run_id, model_id=logged.model_id, tags=dict(tags)
    )
    return str(version.version)


def _log(run: StageRun, name: str, model: Path, rows: Path, base: Path | None) -> ModelInfo:
    summary = ModelSummary.read(model)
    if summary.classifies:
        return _log_classifier(run, name, model, summary)
    if is_seq2seq(model / "model", base / "model" if base else None):
        return _log_seq2seq(run, name, model, summary.template, rows, base)
    return _log_causal(name, model, summary.template, rows, base)


def _log_causal(name: str, model: Path, template: str, rows: Path, base: Path | None) -> ModelInfo:
    network, tokenizer = load_model(model / "model", base / "model" if base else None)
    network.name_or_path = name
    example = load_template(template, tokenizer).prompt(load_split(rows, "test")[0])
    return mlflow.transformers.log_model(
        {"model": network, "tokenizer": tokenizer},
        name="model",
        task="text-generation",
        signature=infer_signature(example, "a response"),
        input_example=example,
        pip_requirements=requirements(),
        metadata={"template": template},
    )


def _log_seq2seq(
    run: StageRun, name: str, model: Path, template: str, rows: Path, base: Path | None
) -> ModelInfo:
    """Raises StageError for a model that, loaded from there, does not write what it writes here."""
    network, tokenizer = load_model(model / "model", base / "model" if base else None)
    network.name_or_path = name
    folder = run.checkpoint / name
    for part in (network, tokenizer):
        part.save_pretrained(folder)
    row = load_split(rows, "test")[0]
    text = "\n".join(filter(None, (row["instruction"], row.get("input"))))
    sources = [text]
    complete_models()
    info = mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name(SCRIPT)),
        artifacts={MODEL: str(folder)},
        signature=ModelSignature(
            inputs=Schema([ColSpec(DataType.string)]),
            outputs=Schema([ColSpec(DataType.string)]),
            params=ParamSchema(
                [
                    ParamSpec("max_new_tokens", DataType.integer, TARGET_TOKENS),
                    ParamSpec("num_beams", DataType.integer, 1),
                ]
            ),
        ),
        input_example=sources,
        pip_requirements=requirements(),
        metadata={"template": template},
    )
    run.phase("loading it from MLflow, to see that it writes the same")
    (given,) = mlflow.pyfunc.load_model(info.model_uri).predict(sources, params={"max_new_tokens": PROBED})
    expected = _target(network, template, tokenizer, text)
    if given != expected:
        raise StageError(
            f"the model, logged into MLflow and loaded again, does not write what it writes here: {given!r}, "
            f"expected {expected!r}. Was the model changed since?"
        )
    return info


def _target(network: PreTrainedModel, template: str, tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The first tokens that the model writes for a source, as the generate stage decodes it."""
    writer = writer_of(network.eval(), template, tokenizer)
    prompts = writer.prompts([{"id": 0, "instruction": text, "input": ""}])
    asked = [Prompt(row, ids, writer.limit(ids, PROBED)) for row, ids in prompts.items()]
    decoder = writer.decoder(GenerateConfig(template=template, max_new_tokens=PROBED))
    return next(writer.template.response(ids) for finished in decoder.decode(asked) for _, ids in finished)


def _log_classifier(run: StageRun, name: str, model: Path, summary: ModelSummary) -> ModelInfo:
    """Long texts are cut where the stage cut them: at the length that the tokenizer was saved with."""
    task, predictions = task_of(summary.task), read_predictions(model)[:1]
    info = task.log(name, model / "model", summary.labels, predictions)
    run.phase("loading it from MLflow, to see that it gives the same")
    inputs = pd.DataFrame([task.inputs(row) for row in predictions])
    given = mlflow.pyfunc.load_model(info.model_uri).predict(inputs)
    answers = given.to_dict("records") if isinstance(given, pd.DataFrame) else given
    for row, answer in zip(predictions, answers, strict=True):
        if difference := task.difference(row, answer):
            raise StageError(
                f"the classifier, logged into MLflow and loaded again, does not give what was evaluated: row "
                f"{row['id']} is {difference}. Was the model changed since?"
            )
    return info
