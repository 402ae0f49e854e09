"""Under which conditions scores came about: what must be alike before two models' scores are compared."""

import json

from tasks.config import AskConfig, GenerateConfig, on
from tasks.judge.score.outputs import ScoreSummary, judges_of
from tasks.record.outputs import OUTPUT, fetch, read_config
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of

Conditions = dict[str, str]

PREDICTED = "version of the predict stage"  # a condition of a classifier's labels of others' test rows
OWN = (
    "template",
    "model",
)  # settings of responses that belong to the model: how it is asked, its server's name


def conditions_of(tracking: Tracking, scores: Reference, rows: str) -> Conditions:
    """The rows of that digest, who scored them by which prompt, and what made the responses.

    Beside them the versions of the stages, and the settings of the decoding and of the judges. A classifier's
    scores are made by its own stage, or by `predict`.

    Raises StageError when the scores or their responses are not in MLflow any more.
    """
    folder = fetch(tracking, scores) / OUTPUT
    summary = ScoreSummary.read(folder)
    found = {"rows": rows[:12], "scorer": summary.headline}
    for judge in judges_of(folder):
        found[f"model behind {judge['scorer']}"] = judge["digest"][:12]
        found[f"prompt of {on(judge['scorer'], judge['criterion'])}"] = judge["prompt_version"]
    found |= {f"weight of {name}": f"{weight:g}" for name, weight in summary.criteria.items()}
    run = tracking.client.get_run(scores.run_id)
    found[f"version of the {scores.stage} stage"] = run.data.tags["touchstone.version"]
    if scores.stage != "judge":
        return found
    if judges_of(folder):
        found |= _settings(scores, AskConfig(), ("scorer", "prompt"))
    responses = input_of(tracking, run, "responses")
    made = tracking.client.get_run(responses.run_id)
    found[f"version of the {responses.stage} stage"] = made.data.tags["touchstone.version"]
    if responses.stage == "generate":
        found |= _settings(responses, GenerateConfig(), OWN)
    return found


def _settings(reference: Reference, config: AskConfig | GenerateConfig, known: tuple[str, ...]) -> Conditions:
    """The settings, by the names that decide in `config`, that an output was made with."""
    settings = json.loads(read_config(reference))
    return {
        name: json.dumps(settings.get(name), allow_nan=False)
        for name in config.key_fields()
        if name not in known
    }


def unlike(ours: Conditions, theirs: Conditions) -> list[str]:
    """What differs, as `max_new_tokens: 64, was 256`; labels that were predicted anew are as new as any."""
    names = [*ours, *(name for name in theirs if name not in ours)]
    if PREDICTED in theirs:
        names = ["rows", "scorer"]
    return [
        f"{name}: {ours.get(name, 'none')}, was {theirs.get(name, 'none')}"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]
