"""The register stage: a reward model as a version of a registered model of its own kind.

It takes part in no contest: what it is worth is its accuracy on test pairs, which stands on the version.
"""

import json
import math
from pathlib import Path

import mlflow.pyfunc
import torch
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, Schema

from tasks.classify.mlflow_models import log_script
from tasks.compat.mlflow_runs import active
from tasks.config import RegisterConfig
from tasks.errors import StageError
from tasks.models.reward import RewardModel, sequence_rewards
from tasks.record.stage import StageRun
from tasks.record.tracking import Tracking
from tasks.registry.promotion import Registration
from tasks.registry.usage import reward_description
from tasks.registry.versions import (
    DECISION,
    FILES,
    INPUT,
    KEY,
    KIND,
    MODEL,
    create_if_missing,
    is_dead,
    is_registered,
    one_at_a_time,
    registered_files,
    versions_of,
)
from tasks.reward_models.outputs import RewardEvaluation
from tasks.rows import load_split
from tasks.show.text import percent, percents

SCRIPT = Path(__file__).with_name("reward_script")  # .py
SAME = 1e-4  # of a reward, in float32


def register(config: RegisterConfig, run: StageRun, *, model: Path, rows: Path) -> None:
    """Register `model/model`; a version that a killed attempt has left is deleted.

    Writes `registered.json`. Raises StageError for a model that, loaded from MLflow, gives other rewards.
    """
    client = run.tracking.client
    key = client.get_run(run.run_id).data.tags["touchstone.key"]
    with one_at_a_time(run.tracking, config.name):
        for left in versions_of(run.tracking, config.name):
            if left.tags.get(KEY) == key and is_dead(run.tracking, left.run_id):
                client.delete_model_version(config.name, left.version)
    run.phase("logging the reward model to MLflow")
    with active(client, run.run_id):
        info = _log(run, config.name, model, rows)
    source = client.get_logged_model(info.model_id).artifact_location
    files = registered_files(source)
    found = RewardEvaluation.read(model)
    accuracy = found.accuracy
    told = f"{percent(accuracy['mean'])} of {found.pairs:,} test pairs in order "
    told += f"(95% interval {percents(accuracy['low'], accuracy['high'])})"
    tags = {
        **run.lineage,
        **{f"{INPUT}{name}": reference.digest for name, reference in run.references.items()},
        KEY: key,
        KIND: "reward",
        MODEL: run.references["model"].model_dump_json(),
        FILES: json.dumps(files, allow_nan=False),
        DECISION: f"a reward model: {'; '.join([told, *found.warnings])}",
        "touchstone.scorer": "accuracy on pairs",
        "touchstone.mean": f"{100 * accuracy['mean']:.4f}",
    }
    create_if_missing(run.tracking, config.name, reward_description(config.name))
    version = client.create_model_version(
        config.name, source, run_id=run.run_id, model_id=info.model_id, tags=tags, description=told
    )
    Registration(name=config.name, version=int(version.version), files=files).write(run.out)
    run.progress(1, 1, "model", f"{config.name} version {version.version}: {told}")


def still_registered(tracking: Tracking, output: Path) -> bool:
    """Whether the version that a register stage made is in the registry, its files unaltered."""
    made = Registration.read(output)
    return is_registered(tracking, made.name, made.version, made.files)


def _log(run: StageRun, name: str, folder: Path, rows: Path) -> ModelInfo:
    model = RewardModel.load(folder, torch.device("cpu"))
    row, template = load_split(rows, "test")[0], model.template
    closing = template.tokenizer.decode(template.completion_ids(""))
    text = template.prompt(row) + row["chosen"] + closing
    info = log_script(
        str(SCRIPT),
        name,
        folder / "model",
        [{"text": text}],
        Schema([ColSpec(DataType.double, "reward")]),
        {"template": template.name},
        taken=Schema([ColSpec(DataType.string)]),  # without a name, so that a list of texts will do
    )
    run.phase("loading it from MLflow, to see that it gives the same")
    given = mlflow.pyfunc.load_model(info.model_uri).predict([text])["reward"][0]
    ids = template.tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = sequence_rewards(model.model, [ids])[0]
    if not math.isclose(given, expected, abs_tol=SAME):
        raise StageError(
            f"the reward model, logged into MLflow and loaded again, gives {given} where it gives {expected} "
            "here. Was the model changed since?"
        )
    return info
