"""Under which conditions scores came about: what must be alike before two models' scores are compared."""

import json

from tasks.config import GenerateConfig
from tasks.record.outputs import read_aside
from tasks.record.tracking import Tracking
from tasks.record.work import Reference
from tasks.registry.lineage import input_of

Conditions = dict[str, str]


def conditions_of(tracking: Tracking, scores: Reference) -> Conditions:
    """The versions of the stages that made the scores, and the settings that the responses came from.

    Template and decoding are those of the generate stage; a classifier's scores are made by its own stage.
    Who judged, and by which prompt, stands in the scores themselves.

    Raises StageError when the responses are not in MLflow any more.
    """
    run = tracking.client.get_run(scores.run_id)
    found = {f"version of the {scores.stage} stage": run.data.tags["touchstone.version"]}
    if scores.stage != "judge":
        return found
    responses = input_of(tracking, run, "responses")
    made = tracking.client.get_run(responses.run_id)
    found[f"version of the {responses.stage} stage"] = made.data.tags["touchstone.version"]
    if responses.stage == "generate":
        settings = json.loads(read_aside(responses, "config.json"))
        deciding = GenerateConfig().key_fields()
        found |= {name: json.dumps(settings.get(name)) for name in deciding}
    return found


def unlike(ours: Conditions, theirs: Conditions) -> list[str]:
    """What differs, as `max_new_tokens: 64, was 256`."""
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [
        f"{name}: {ours.get(name, 'none')}, was {theirs.get(name, 'none')}"
        for name in names
        if ours.get(name) != theirs.get(name)
    ]
