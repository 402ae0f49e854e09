"""What each stage cost, what made the card, and what stands beside the pretrained model.

All of it is as it was this once: another run of the same work has other times, and a training that was
continued from a checkpoint has no texts from before.
"""

import json
from datetime import UTC, datetime

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tasks.config import ReportConfig
from tasks.machine.home import without_password
from tasks.machine.json_files import Json
from tasks.models.summary import read_history
from tasks.pretrain.outputs import SPEED
from tasks.record.outputs import OUTPUT, read_auxiliary, read_config
from tasks.record.stage import ENVIRONMENT, StageRun, flat, metrics_of
from tasks.record.tracking import Tracking, local_folder
from tasks.record.work import Reference
from tasks.report.card import TRAINING_OUTPUTS, Inputs, is_pretrained
from tasks.show.document import spread

PREFIX = "touchstone."


def cost_of(config: ReportConfig, run: StageRun, inputs: Inputs) -> Json:
    """Seconds and ids of every input's stage, and the lineage; without MLflow there are only the ids.

    `speed` is that of pretraining, None without a record of it or without pretraining. `texts` are those
    that the model wrote at evaluations, `config.samples` of them at most: only of a card about pretraining.

    `parent` is the pipeline run that a stage was computed in, of several seeds the run of all: another one
    than the card's own says that the stage's output was found, not made again. Whether a stage was continued
    from a checkpoint, so that its seconds are only those of the last attempt, is not recorded. `elsewhere` is
    what was otherwise in the environment that it was made in.

    `settings` are those of each training, `model` says where the last of them left its weights.
    """
    client = run.tracking.client if run.tracking else None
    card = client.get_run(run.run_id) if client and run.run_id else None
    own = _environment(card) if card else {}
    made = {name: client.get_run(one.run_id) for name, one in run.references.items()} if client else {}
    order = sorted(made, key=lambda name: made[name].info.start_time) or run.references
    stages = []
    for name in order:
        reference = run.references[name]
        entry = {"output": name} | reference.model_dump(exclude={"uri"})
        entry |= {"seconds": None, "tokens_per_second": None, "parent": None, "elsewhere": {}}
        if recorded := made.get(name):
            metrics = metrics_of(recorded)
            entry |= {
                "seconds": metrics.get("seconds"),
                "tokens_per_second": metrics.get("tokens_per_second"),
                "parent": _whole(run.tracking, recorded.data.tags.get("mlflow.parentRunId")),
                "elsewhere": {
                    fact: value
                    for fact, value in _environment(recorded).items()
                    if own.get(fact, value) != value
                },
            }
        stages.append(entry)
    parent = _whole(run.tracking, card.data.tags.get("mlflow.parentRunId")) if card else None
    base = run.references.get("base") if is_pretrained(inputs) else None
    beside: Json = {"speed": json.loads(read_auxiliary(base, SPEED)) if base else None}
    beside |= {"settings": _settings(run, inputs), "model": _model(run), "environment": own}
    beside |= {"date": _date(card) if card else None, "mlflow_url": _mlflow_url(run.tracking, parent)}
    if "promotion" not in inputs:
        beside["texts"] = _texts(config, base, inputs)
    return beside | {
        "stages": stages,
        "run_id": run.run_id,
        "parent": parent,
        "lineage": {name.removeprefix(PREFIX): value for name, value in run.lineage.items() if value},
    }


def _settings(run: StageRun, inputs: Inputs) -> Json:
    """Every setting of each training that was done here, by its key in the report."""
    return {
        training: flat(json.loads(read_config(run.references[name])))
        for training, name in TRAINING_OUTPUTS.items()
        if name in run.references and (name != "base" or is_pretrained(inputs))
    }


def _model(run: StageRun) -> Json | None:
    """Where the weights of the last training of the card's model are, and the store that knows of them.

    Places below the folder that `touchstone` works in are told from there, as its commands take them.
    """
    trained = [
        run.references[name]
        for training, name in TRAINING_OUTPUTS.items()
        if name in run.references and training != "reward"
    ]
    if not trained or not run.tracking:
        return None
    home, uri = run.tracking.root.parent, trained[-1].uri
    own = local_folder(uri)
    if own and own.is_relative_to(home):
        own = own.relative_to(home)
    store = f"sqlite:///{home}/"
    tracking = without_password(run.tracking.uri)
    if tracking.startswith(store):
        tracking = f"sqlite:///{tracking.removeprefix(store)}"
    return {"folder": f"{own or uri}/{OUTPUT}/model", "tracking": tracking}


def _date(card: Run) -> str:
    """When the card was made, in UTC."""
    started = card.info.start_time / 1000  # milliseconds
    return datetime.fromtimestamp(started, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _mlflow_url(tracking: Tracking | None, parent: str | None) -> str | None:
    """The page of the pipeline's run, where MLflow is a server."""
    if tracking is None or parent is None or not tracking.uri.startswith(("http://", "https://")):
        return None
    address = without_password(tracking.uri).rstrip("/")
    return f"{address}/#/experiments/{tracking.experiment_id}/runs/{parent}"


def _whole(tracking: Tracking, pipeline: str | None) -> str | None:
    """The run that a pipeline's run is a part of, as one of several seeds; else itself, also if deleted."""
    if pipeline is None:
        return None
    try:
        return tracking.client.get_run(pipeline).data.tags.get("mlflow.parentRunId", pipeline)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return pipeline


def _environment(run: Run) -> Json:
    return json.loads(run.data.tags.get(ENVIRONMENT, "{}"))


def _texts(config: ReportConfig, base: Reference | None, inputs: Inputs) -> Json:
    """The texts of `samples.txt`, found by the evaluations of the history: none can pose as another one."""
    history = read_history(inputs["base"])
    evaluations = [entry for entry in history if "validation_loss" in entry]
    written = "\n" + read_auxiliary(base, "samples.txt") if base and evaluations else ""
    found, at = [], 0
    for entry in evaluations:
        heading = f"\n--- step {entry['step']}, validation loss {entry['validation_loss']:.4f}\n"
        start = written.find(heading, at)
        if start >= 0:
            at = start + len(heading)
            found.append((entry, start, at))
    ends = [start for _, start, _ in found[1:]] + [len(written) - 1]
    texts = [
        {"step": entry["step"], "validation_loss": entry["validation_loss"], "text": written[begin:end]}
        for (entry, _, begin), end in zip(found, ends, strict=False)
    ]
    return {"of": len(evaluations), "kept": len(texts), "rows": spread(texts, config.samples)}
