"""The card on cost and origin: what every stage took, and the way back from the card to what made it."""

from collections.abc import Iterator

from tasks.machine.json_files import Json
from tasks.show.document import Bar, Bars, Cell, Fact, Facts, Fold, Keep, Section, Text, table_of
from tasks.show.text import duration, short

FLOW_URL = "prefect_pipeline_url"


def sections(cost: Json) -> Iterator[Section]:
    total = total_seconds(cost["stages"])
    bars = [
        Bar(
            stage["output"].replace("_", " "),
            stage["seconds"] / total if stage["seconds"] is not None and total else None,
            duration(stage["seconds"]),
            "" if stage["stage"] == stage["output"] else stage["stage"],
            stage_note(stage, cost),
        )
        for stage in cost["stages"]
    ]
    yield Section("Cost", [Text(cost_text(cost), "muted"), Bars(bars, empty="")])
    yield Section("Where it comes from", list(_lineage(cost)))


def _lineage(cost: Json) -> Iterator[Facts | Fold]:
    lineage = dict(cost["lineage"])
    flow_url = lineage.pop(FLOW_URL, "")
    facts = [Fact("Made", cost["date"])] if cost["date"] else []
    if cost["environment"]:
        facts.append(Fact("Environment", ", ".join(f"{name} {v}" for name, v in cost["environment"].items())))
    if "git_commit" in lineage:
        facts.append(Fact("Code", f"commit {lineage.pop('git_commit')}"))
    name = lineage.pop("prefect_flow_run", "")
    if flow_url or name:
        facts.append(Fact("In Prefect", flow_url or f"flow run {name}", href=flow_url))
    if cost["parent"]:
        url = cost["mlflow_url"] or ""
        facts.append(Fact("In MLflow", url or f"run {cost['parent']}", "the whole pipeline", url))
    if cost["run_id"]:
        facts.append(Fact("This card", f"MLflow run {cost['run_id']}"))
    yield Facts(facts, empty="This card was made without MLflow and without Prefect.")
    ids = [Fact(name.replace("_", " "), value, is_code=True) for name, value in lineage.items()]
    rows = [
        {
            "output": stage["output"].replace("_", " "),
            "MLflow run": Cell(stage["run_id"], is_code=True),
            "key: what decided it": Cell(stage["key"], is_code=True),
            "digest: its bytes": Cell(stage["digest"], is_code=True),
        }
        for stage in cost["stages"]
    ]
    if rows or ids:
        table = [table_of(rows)] if rows else []
        yield Fold("Runs, keys and digests", [*table, Facts(ids)], keep=Keep(terminal=0))


def reused(stage: Json, cost: Json) -> bool:
    """Whether a stage's output was found, made by an earlier pipeline run than the card's."""
    return cost["parent"] is not None and stage["parent"] != cost["parent"]


def stage_note(stage: Json, cost: Json) -> str:
    """`14.5 k tokens/s, reused from another environment (threads 4)`, or nothing."""
    speed = stage["tokens_per_second"]
    notes = [f"{short(speed)} tokens/s"] if speed else []
    if reused(stage, cost):
        facts = ", ".join(f"{name} {value}" for name, value in stage["elsewhere"].items())
        notes.append(f"reused from another environment ({facts})" if facts else "reused")
    return ", ".join(notes)


def total_seconds(stages: list[Json]) -> float | None:
    known = [stage["seconds"] for stage in stages if stage["seconds"] is not None]
    return sum(known) if known else None


def cost_text(cost: Json) -> str:
    """What all stages took, and how much of it an earlier pipeline run had paid."""
    if not cost["stages"]:
        return "Not recorded: this card was made without MLflow."
    if (total := total_seconds(cost["stages"])) is None:
        return "No stage has a time on record."
    text = f"{duration(total)} together"
    if found := [stage for stage in cost["stages"] if reused(stage, cost)]:
        text += f", {duration(total_seconds(found))} of it in earlier runs, whose outputs were reused"
    return f"{text}. A stage that was continued from a checkpoint counts only its last attempt."
