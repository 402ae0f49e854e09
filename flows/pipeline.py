"""The whole road, from text and instruction rows to a judged model in the registry.

Without instruction rows it ends after pretraining, with a report.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from flows.config import Profile
from flows.dispatch import Chain, pipeline_run
from flows.states import failed
from tasks.errors import TouchstoneError
from tasks.outputs import ASIDE, OUTPUT, Reference, fetch, read_aside
from tasks.registry import PROMOTION, champion_of
from tasks.report.markdown import as_markdown, score_rows


@flow(
    name="touchstone",
    flow_run_name="{profile.name}",
    description="Download, tokenize, pretrain, fine-tune, generate, judge, promote, report",
    persist_result=False,
)
def pipeline(profile: Profile, refresh: Sequence[str] = ()) -> State | dict[str, Any]:
    """Run a profile; stages that were done before with the same inputs are not done again.

    Returns the summary that `touchstone run --json` prints, or a failed state with the reason.
    """
    started = time.monotonic()
    try:
        with pipeline_run(profile, refresh) as chain:
            card = stages(chain, profile)
            return conclude(chain, profile, card, started)
    except TouchstoneError as error:
        return failed(error)


def stages(chain: Chain, profile: Profile) -> dict[str, Reference]:
    """The DAG, in the order in which things happen; returns what the report card was made from, and it."""
    made = prepare(chain, profile)
    made["base"] = chain.run("pretrain", profile.pretrain, tokens=made["tokens"])
    if profile.instructions:
        made |= tune_and_judge(chain, profile, made["base"], made)
    return made | {"report": chain.run("report", profile.report, **made)}


def prepare(chain: Chain, profile: Profile) -> dict[str, Reference]:
    """Every stage before training; returns corpus, tokens and, where there are any, instructions and rows."""
    made = {"corpus": chain.run("download", profile.corpus, "download corpus")}
    words = {}
    if profile.instructions:
        made["instructions"] = chain.run("download", profile.instructions, "download rows")
        made["rows"] = chain.run("rows", profile.rows, instructions=made["instructions"])
    if profile.tokenize.include_rows:
        words["rows"] = made["rows"]
    if profile.vocabulary:
        words["vocabulary"] = chain.run("download", profile.vocabulary, "download vocabulary")
    made["tokens"] = chain.run("tokenize", profile.tokenize, corpus=made["corpus"], **words)
    return made


def tune_and_judge(
    chain: Chain, profile: Profile, base: Reference, made: dict[str, Reference]
) -> dict[str, Reference]:
    """What instruction rows are for: a fine-tuned model, both models' responses and scores, a promotion."""
    rows = made["rows"]
    tuned = chain.run("finetune", profile.finetune, base=base, rows=rows)
    base_responses = chain.run("generate", profile.generate, "generate base", model=base, rows=rows)
    tuned_responses = chain.run("generate", profile.generate, "generate fine-tuned", model=tuned, rows=rows)
    base_scores = chain.run("judge", profile.judge, "judge base", responses=base_responses)
    tuned_scores = chain.run("judge", profile.judge, "judge fine-tuned", responses=tuned_responses)
    origin = {"corpus": made["corpus"], "tokens": made["tokens"], "base": base}
    promotion = chain.run("promote", profile.promote, model=tuned, rows=rows, scores=tuned_scores, **origin)
    return {
        "tuned": tuned,
        "base_responses": base_responses,
        "tuned_responses": tuned_responses,
        "base_scores": base_scores,
        "tuned_scores": tuned_scores,
        "promotion": promotion,
    }


def conclude(chain: Chain, profile: Profile, made: dict[str, Reference], started: float) -> dict[str, Any]:
    """Put the scores on the pipeline's run and the card into Prefect; returns the summary."""
    scores = _scores(chain, made)
    summary = {
        "status": "completed",
        "run_id": chain.run_id,
        "profile": profile.name,
        "seconds": round(time.monotonic() - started, 3),
        "stages": [outcome.model_dump() for outcome in chain.outcomes],
        "scores": scores,
        "model": _model(chain, made["promotion"]) if "promotion" in made else None,
        "report": made["report"].uri + f"/{ASIDE}/report.html",
    }
    client = chain.tracking.client
    for entry in scores:
        if entry["mean"] is not None:
            name = f"{entry['model']}.{entry['scorer'].replace(':', '_')}.mean"
            client.log_metric(chain.run_id, name, entry["mean"])
    client.log_dict(chain.run_id, summary, "summary.json")
    report = _read(chain, made["report"], "report.json")
    cost = json.loads(read_aside(made["report"], "cost.json"))
    create_markdown_artifact(
        as_markdown(report, cost), key=f"report-{profile.name}", description="Report card"
    )
    if scores:
        create_table_artifact(score_rows(report), key=f"scores-{profile.name}", description="Scores")
    return summary


SCORE_FIELDS = ("scorer", "kind", "status", "mean", "low", "high", "rows", "scored", "missing")


def _scores(chain: Chain, made: dict[str, Reference]) -> list[dict[str, Any]]:
    return [
        {"model": model, **{name: entry[name] for name in SCORE_FIELDS}}
        for model, stage in (("base", "base_scores"), ("fine-tuned", "tuned_scores"))
        if stage in made
        for entry in _read(chain, made[stage], "scores.json")["scores"]
    ]


def _model(chain: Chain, promotion: Reference) -> dict[str, Any]:
    """The registered version; `champion` is as of now: another may have taken its place since."""
    made = _read(chain, promotion, PROMOTION)
    champion = champion_of(chain.tracking, made["name"])
    return {
        "name": made["name"],
        "version": made["version"],
        "champion": champion is not None and int(champion.version) == made["version"],
        "decision": made["reason"],
    }


def _read(chain: Chain, reference: Reference, name: str) -> Any:
    path: Path = fetch(chain.tracking, reference) / OUTPUT / name
    return json.loads(path.read_text(encoding="utf-8"))
