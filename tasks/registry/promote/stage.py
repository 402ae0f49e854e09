"""The promote stage: a model in the registry, champion if its scores earn that."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from tasks.classify.outputs import require_measured
from tasks.config import PromoteConfig
from tasks.judge.labels.stage import Labels
from tasks.machine.digests import sha256_of
from tasks.models.summary import ModelSummary, was_trained
from tasks.record.stage import StageRun
from tasks.record.work import Reference
from tasks.registry.champions import ROLLED_BACK, champion_history, set_champion
from tasks.registry.log_model import Logged, create_version, log_model
from tasks.registry.promote.candidate import Candidate, taken_from
from tasks.registry.promote.decision import decide
from tasks.registry.promote.page import decision_tags, description
from tasks.registry.promote.rescoring import MET, SCORES
from tasks.registry.promotion import Promotion
from tasks.registry.usage import snippet
from tasks.registry.versions import (
    CANDIDATE,
    DECIDED,
    FILES,
    INPUT,
    KEY,
    MODEL,
    UNDER,
    champion_of,
    is_dead,
    number_of,
    one_at_a_time,
    registered_files,
    versions_of,
)


def promote(
    config: PromoteConfig,
    run: StageRun,
    *,
    model: Path,
    rows: Path,
    scores: Path,
    base: Path | None = None,
    tuned: Path | None = None,
    preferred: Path | None = None,
    labels: Path | None = None,
    **_others: Path,
) -> None:
    """Register `model/model`, name it the candidate, and the champion if it earns that.

    The scores of a classifier are in the output that holds it. `base`, `tuned` and `preferred` are what it
    was trained from, one after the other; adapters alone are registered merged into the last of them. An
    input `champion` has scores of the present champion that were made anew, where its own came about under
    other conditions. `labels` are those that people gave its responses, where the profile requires some.
    Whatever else is among the inputs (the corpus, the tokens) is named with its digest on the version.

    Writes `promotion.json`. A champion needs trainings whose checks all passed, and judges whose audits did
    not fail. The first one needs the mean `config.min_score`; a later one needs the paired interval against
    the present champion, on the same sealed rows by the same scorer under the same conditions, to lie above
    the margin whatever missing scores would have been. Two promotions on one machine are decided one after
    the other; one from another machine is noticed before the alias is moved.

    A model that is not `config.eligible` is registered, and neither named the candidate nor compared.

    An attempt that was killed leaves a version that it may have made champion: that one is used again, any
    other is deleted.

    Raises StageError for a classifier that was not measured on test rows.
    """
    require_measured(model)
    before = {"base": base, "tuned": tuned, "preferred": preferred}
    trained = {name: folder for name, folder in (before | {"model": model}).items() if folder}
    candidate = Candidate.of(rows, scores, run.references, trained, config.criterion)
    candidate = replace(candidate, labels=Labels.read(labels) if labels else None)
    under = next((name for name in reversed(before) if before[name]), "base")
    identity = _identity(run, model, base, candidate, under)
    with one_at_a_time(run.tracking, config.name):
        left = _left_by_the_dead(config, run, identity[KEY])
    if left is not None:
        promotion = json.loads(left.tags[DECIDED])
    else:
        run.phase("logging the model to MLflow")
        logged = log_model(run, config.name, model, rows, trained.get(under), _trained_from(base))
        run.phase("hashing the registered files")
        identity[FILES] = json.dumps(registered_files(logged.source), allow_nan=False)
        run.phase("deciding whether it is the champion")
        with one_at_a_time(run.tracking, config.name):
            promotion = _decided(config, run, candidate, logged, identity)
    version = run.tracking.client.get_model_version(config.name, str(promotion["version"]))
    files = registered_files(version.source)
    Promotion.of(promotion | {"files": files}, f"the tag {DECIDED}").write(run.out)
    run.log_metrics({"champion": float(promotion["champion"])})
    told = f"{config.name} version {promotion['version']}: {promotion['reason']}"
    run.progress(1, 1, "model", told)


def _left_by_the_dead(config: PromoteConfig, run: StageRun, key: str) -> ModelVersion | None:
    """The version that an attempt at this key made champion before it died; others it left are deleted."""
    client = run.tracking.client
    champions = {turn.version for turn in champion_history(run.tracking, config.name)}
    for version in versions_of(run.tracking, config.name):
        if version.tags.get(KEY) != key or not is_dead(run.tracking, version.run_id):
            continue
        if number_of(version) in champions or ROLLED_BACK in version.tags:
            return version
        client.delete_model_version(config.name, version.version)
    return None


def _decided(
    config: PromoteConfig, run: StageRun, candidate: Candidate, logged: Logged, identity: dict[str, str]
) -> dict[str, Any]:
    """Create the version, decide on it and give it the aliases that it earns; returns what was decided."""
    client, name = run.tracking.client, config.name
    number = create_version(config, run, logged, identity)
    if config.eligible:
        client.set_registered_model_alias(name, CANDIDATE, number)
    while True:
        present = champion_of(run.tracking, name)
        decision = decide(config, run.tracking, candidate, present)
        promotion = {"name": name, "version": int(number), **vars(decision)}
        for tag, value in (
            decision_tags(decision) | {DECIDED: json.dumps(promotion, allow_nan=False)}
        ).items():
            client.set_model_version_tag(name, number, tag, value)
        told = description(decision, _origin(run, identity), snippet(name, f"/{number}"))
        client.update_model_version(name, number, told)
        if not decision.champion:
            return promotion
        if number_of(champion_of(run.tracking, name)) == number_of(present):
            set_champion(run.tracking, name, int(number), "promotion", decision.reason)
            return promotion


def _identity(
    run: StageRun, model: Path, base: Path | None, candidate: Candidate, under: str
) -> dict[str, str]:
    """Enough to walk from a version to the bytes, the code and the flow run that made it."""
    mean = candidate.entry["mean"]
    stages = {f"{INPUT}{name}": reference.digest for name, reference in run.references.items()}
    identity = {
        **run.lineage,
        **stages,
        KEY: run.tracking.client.get_run(run.run_id).data.tags["touchstone.key"],
        MODEL: _json(run.references["model"]),
        "touchstone.rows": candidate.rows,
        "touchstone.tokenizer": sha256_of(model / "model" / "tokenizer.json"),
        SCORES: _json(run.references["scores"]),
        "touchstone.scorer": candidate.scorer,
        "touchstone.mean": "missing" if mean is None else f"{mean:.4f}",
    }
    if "champion" in run.references:
        identity[MET] = _json(run.references["champion"])
    if under in run.references:
        identity[UNDER] = _json(run.references[under])
    if base and (origin := taken_from(base)):
        identity["touchstone.base.version"] = origin["version"]
    return identity


def _trained_from(base: Path | None) -> str:
    """What a model began as; a folder of this machine is not named."""
    summary = ModelSummary.find(base) if base else None
    if summary is None or was_trained(base):
        return "random weights"
    if summary.registered:
        return summary.registered["version"]
    name, revision = summary.numbers["model"], summary.numbers.get("revision")
    return f"https://huggingface.co/{name} (revision {revision})" if revision else "the weights of a folder"


def _json(reference: Reference) -> str:
    return reference.model_dump_json()


def _origin(run: StageRun, identity: dict[str, str]) -> dict[str, str]:
    """What a person asks next: from what, and by what code."""
    found = {"Model": run.references["model"].digest[:12], "Rows": identity["touchstone.rows"][:12]}
    if "touchstone.base.version" in identity:
        found["Trained from"] = identity["touchstone.base.version"]
    if "touchstone.git_commit" in identity:
        found["Code"] = identity["touchstone.git_commit"]
    return found
