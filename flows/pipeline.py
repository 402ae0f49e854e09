"""The whole road, from text and instruction rows to a judged model in the registry."""

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
    corpus = chain.run("download", profile.corpus, "download corpus")
    instructions = chain.run("download", profile.instructions, "download rows")
    rows = chain.run("rows", profile.rows, instructions=instructions)
    words = {"rows": rows} if profile.tokenize.include_rows else {}
    if profile.vocabulary:
        words["vocabulary"] = chain.run("download", profile.vocabulary, "download vocabulary")
    tokens = chain.run("tokenize", profile.tokenize, corpus=corpus, **words)
    base = chain.run("pretrain", profile.pretrain, tokens=tokens)
    tuned = chain.run("finetune", profile.finetune, base=base, rows=rows)
    base_responses = chain.run("generate", profile.generate, "generate base", model=base, rows=rows)
    tuned_responses = chain.run("generate", profile.generate, "generate fine-tuned", model=tuned, rows=rows)
    base_scores = chain.run("judge", profile.judge, "judge base", responses=base_responses)
    tuned_scores = chain.run("judge", profile.judge, "judge fine-tuned", responses=tuned_responses)
    origin = {"corpus": corpus, "tokens": tokens, "base": base}
    promotion = chain.run("promote", profile.promote, model=tuned, rows=rows, scores=tuned_scores, **origin)
    made = {
        "corpus": corpus,
        "instructions": instructions,
        "rows": rows,
        "tokens": tokens,
        "base": base,
        "tuned": tuned,
        "base_responses": base_responses,
        "tuned_responses": tuned_responses,
        "base_scores": base_scores,
        "tuned_scores": tuned_scores,
        "promotion": promotion,
    }
    return made | {"report": chain.run("report", profile.report, **made)}


def conclude(chain: Chain, profile: Profile, made: dict[str, Reference], started: float) -> dict[str, Any]:
    """Put the scores on the pipeline's run and the card into Prefect; returns the summary."""
    scores = [
        {"model": model, **{name: entry[name] for name in SCORE_FIELDS}}
        for model, stage in (("base", "base_scores"), ("fine-tuned", "tuned_scores"))
        for entry in _read(chain, made[stage], "scores.json")["scores"]
    ]
    promotion = _read(chain, made["promotion"], PROMOTION)
    champion = champion_of(chain.tracking, promotion["name"])
    is_champion = champion is not None and int(champion.version) == promotion["version"]
    summary = {
        "status": "completed",
        "run_id": chain.run_id,
        "profile": profile.name,
        "seconds": round(time.monotonic() - started, 3),
        "stages": [outcome.model_dump() for outcome in chain.outcomes],
        "scores": scores,
        "model": {
            "name": promotion["name"],
            "version": promotion["version"],
            "champion": is_champion,  # now: another version may have taken its place since
            "decision": promotion["reason"],
        },
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
    create_table_artifact(score_rows(report), key=f"scores-{profile.name}", description="Scores")
    return summary


SCORE_FIELDS = ("scorer", "kind", "status", "mean", "low", "high", "rows", "scored", "missing")


def _read(chain: Chain, reference: Reference, name: str) -> Any:
    path: Path = fetch(chain.tracking, reference) / OUTPUT / name
    return json.loads(path.read_text(encoding="utf-8"))
