"""The last lines of a run: where the model is, and what to type next."""

from collections.abc import Mapping
from typing import Any

from flows.dispatch.names import SHOWN
from tasks.models import TRAININGS
from tasks.record.tracking import Tracking, local_folder

TRAINED = (
    "classify",
    *reversed(TRAININGS.values()),
    "pretrain",
    "base",
)  # the last one that ran made the model


def footer_lines(tracking: Tracking, outcome: Mapping[str, Any]) -> list[str]:
    """Of what a run told at its end."""
    run, model = outcome["run_id"][:SHOWN], outcome["model"]
    lines = []
    if model:
        version = tracking.client.get_model_version(model["name"], str(model["version"]))
        standing = "the champion" if model["champion"] else "not the champion"
        lines.append(f"Model: {model['name']}/{model['version']}, {standing}; {_place(version.source)}")
    elif made := _last_trained(outcome):
        uri = tracking.client.get_run(made["run_id"]).info.artifact_uri
        lines.append(f"Model: {_place(f'{uri}/output/model')}")
    named = [one["name"] for one in outcome["stages"]]
    responds = any(name.startswith("generate") for name in named)
    steps = [("touchstone report --open", "its page in a browser")]
    if responds and "seeds" not in outcome:
        steps.append((f"touchstone compare {run} {run}:base", "against the model that it was trained from"))
        steps.append((f"touchstone label {run}", "grade responses yourself, to check the scores"))
    if model and not model["champion"]:
        steps.append(
            (
                f"touchstone promote {model['name']}/{model['version']} --because REASON",
                "make it the champion",
            )
        )
    if not model and "pretrain" in named:
        steps.append(("touchstone init FILES", "a profile that also fine-tunes on rows of your own"))
    width = max(len(command) for command, _ in steps)
    return [*lines, "Next:", *(f"  {command:<{width}}  {what}" for command, what in steps)]


def _last_trained(outcome: Mapping[str, Any]) -> Mapping[str, Any] | None:
    by_name = {one["name"]: one for one in outcome["stages"]}
    return next((by_name[stage] for stage in TRAINED if stage in by_name), None)


def _place(uri: str) -> str:
    """The folder of this machine, or the address on a server."""
    return str(local_folder(uri) or uri)
