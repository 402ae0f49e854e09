"""What a run of a profile would do: which stages are there already, which run, why, and what that takes.

Nothing is run, downloaded or recorded, and no server of Prefect is started.
"""

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlflow.entities import Run
from pydantic import ValidationError

from flows.dispatch.history import PROFILE, size_of
from flows.dispatch.lookup import PLANNED, Content, asks_anew, is_planned, work_of
from flows.judging.reward_models import with_digests
from flows.pipeline import stages
from flows.profiles.profile import Profile
from flows.profiles.seeds import trainings_of
from tasks.config import StageConfig
from tasks.models import TRAININGS
from tasks.record.outputs import read_config
from tasks.record.stage import MADE_BY, find, reference_to
from tasks.record.tracking import Tracking, local_folder
from tasks.record.work import Reference, Work
from tasks.show.text import duration, short, size

BYTES_TRAINED = 16  # a parameter in float32: weight, gradient, two moments
BYTES_KEPT = 4
VOCABULARIES = {"gpt2": 50_257}
LOOKED_AT = 20  # earlier runs of the profile
WEIGHTS = ("pretrain", *TRAININGS.values(), "reward", "classify")  # stages that train
KEY = "touchstone.key"
MADE_ELSEWHERE = "the last was made with other libraries or threads, or its files are gone"
CHANGED = "a file that it reads, this machine, or the stage's code is not as in the last run"


@dataclass(frozen=True)
class Step:
    """One stage of the plan."""

    name: str
    cached: bool
    reason: str
    seconds: float | None
    """That its last run took; None where there was none."""
    bytes: int | None
    """Of its artifacts then."""
    same_settings: bool
    """Whether that run had these settings."""


class Plan:
    """Takes stages as a pipeline does, and notes what would become of each."""

    def __init__(self, tracking: Tracking, profile: Profile, refresh: Collection[str]) -> None:
        self.tracking = tracking
        self.refresh = refresh
        self.reuse = profile.reuse
        self.steps: list[Step] = []
        self._content = Content()
        self._earlier = _earlier(tracking, profile.name)
        self._known: dict[str, Reference] = {}

    def stage(
        self, stage: str, config: StageConfig, label: str | None = None, **inputs: Reference | None
    ) -> Reference:
        """The stage's output where it is there, else a reference to what it would make."""
        label = label or stage
        work = work_of(stage, config, inputs, self._content)
        if work.key in self._known:  # a training of another seed shares it
            return self._known[work.key]
        waits = [one.uri for one in work.inputs.values() if is_planned(one)]
        again = stage in self.refresh or asks_anew(config)
        found = None if again or waits else find(self.tracking, work, self.reuse)
        self.steps.append(self._step(label, work, found, waits, again))
        made = Reference(stage=stage, run_id=PLANNED, key=work.key, digest=f"{PLANNED} {work.key}", uri=label)
        self._known[work.key] = found or made
        return self._known[work.key]

    def _step(self, label: str, work: Work, found: Reference | None, waits: list[str], again: bool) -> Step:
        if found:
            return Step(label, True, "", 0.0, 0, True)
        last = self._last(label)
        if last is None:
            return Step(label, False, "not done before", None, None, False)
        changed = _changed(work, last)
        reasons = ["asked to be done again"] if again else [*changed]
        if waits:
            named = list(dict.fromkeys(waits))
            reasons.append(f"{', '.join(named[:2])}{' and more' if named[2:] else ''} not cached")
        elif not reasons:
            reasons.append(MADE_ELSEWHERE if last.data.tags.get(KEY) == work.key else CHANGED)
        seconds = (last.info.end_time - last.info.start_time) / 1000
        folder = local_folder(last.info.artifact_uri)
        size = size_of(folder) if folder and folder.is_dir() else None
        return Step(label, False, "; ".join(reasons), round(seconds, 1), size, not changed)

    def _last(self, label: str) -> Run | None:
        """The newest finished run of the stage in an earlier run of the profile."""
        for run in self._earlier:
            if run_id := run.data.tags.get(MADE_BY + label):
                found = self.tracking.client.get_run(run_id)
                if found.info.end_time:
                    return found
        return None


def plan(tracking: Tracking, profile: Profile, refresh: Collection[str]) -> dict[str, Any]:
    """What `touchstone run PROFILE --dry-run --json` prints, of a profile as it was read."""
    profile = with_digests(profile.with_commits())
    planned = Plan(tracking, profile, refresh)
    for training in trainings_of(profile):
        stages(planned, training.profile)
    running = [step for step in planned.steps if not step.cached]
    parameters = _parameters(profile)
    trains = any(step.name in WEIGHTS for step in running)
    sizes = [_bytes(step, parameters) for step in running]
    return {
        "status": "completed",
        "profile": profile.name,
        "stages": [asdict(step) for step in planned.steps],
        "seconds": round(sum(step.seconds or 0 for step in running), 1),
        "seconds_not_known": [step.name for step in running if step.seconds is None],
        "parameters": parameters,
        "memory_bytes": parameters * BYTES_TRAINED if parameters and trains else None,
        "disk_bytes": sum(size or 0 for size in sizes),
        "disk_not_known": [step.name for step, size in zip(running, sizes, strict=True) if size is None],
        "disk_free": shutil.disk_usage(tracking.root).free,
    }


def sum_lines(found: dict[str, Any]) -> list[str]:
    """Time, memory and disk of what would run."""
    running = [step for step in found["stages"] if not step["cached"]]
    if not running:
        return ["Every stage is cached: the run only finds what there is."]
    return [
        f"{len(running)} of {len(found['stages'])} stages run.",
        f"Time: {_known(duration(found['seconds']), found['seconds_not_known'], running)}",
        "Memory: not known"
        if found["memory_bytes"] is None
        else f"Memory: at least {size(found['memory_bytes'])} for the weights, gradients and moments of "
        f"{short(found['parameters'])} parameters; activations come on top",
        f"Disk: {_known(size(found['disk_bytes']), found['disk_not_known'], running)}; "
        f"{size(found['disk_free'])} are free",
    ]


def _known(total: str, unknown: list[str], running: list[dict[str, Any]]) -> str:
    if len(unknown) == len(running):
        return "not known"
    return f"about {total}" + (f", and what {', '.join(unknown)} take" if unknown else "")


def _bytes(step: Step, parameters: int | None) -> int | None:
    if step.bytes is None and parameters and step.name in WEIGHTS:
        return parameters * BYTES_KEPT
    return step.bytes


def _parameters(profile: Profile) -> int | None:
    """Of a GPT that is pretrained here on a vocabulary whose size is set; None where only a run can tell."""
    config, words = profile.pretrain, profile.tokenize
    vocabulary = words.vocab_size if words.kind == "bpe" else VOCABULARIES.get(words.kind)
    if profile.base or config.model or vocabulary is None:
        return None
    layers, _, width = config.shape()
    return (vocabulary + config.context + 2) * width + layers * (12 * width**2 + 13 * width)


def _earlier(tracking: Tracking, profile: str) -> list[Run]:
    return tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{PROFILE}` = '{profile}'",
        order_by=["attributes.start_time DESC"],
        max_results=LOOKED_AT,
    )


def _changed(work: Work, last: Run) -> list[str]:
    """The settings that are not as in the last run of the stage, as `steps 160, now 80`."""
    reference = reference_to(last)
    if reference is None:
        return []
    try:
        before = work.stage.config.model_validate(json.loads(read_config(reference))).key_fields()
    except (OSError, ValidationError):
        return []  # of another version, or gone
    now = work.config.key_fields()
    return [
        f"{work.stage.name}.{name} {_short(old)}, now {_short(new)}"
        for name, (old, new) in _differences(before, now).items()
    ]


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> dict[str, tuple[Any, Any]]:
    found: dict[str, tuple[Any, Any]] = {}
    for name in now:
        old, new = before.get(name), now[name]
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found[f"{prefix}{name}"] = (old, new)
    return found


def _short(value: Any) -> str:
    is_plain = not isinstance(value, list | dict)
    text = str(value) if is_plain else json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if len(text) <= 40 else f"{text[:39]}…"
