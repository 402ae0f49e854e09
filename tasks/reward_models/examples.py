"""What the report keeps of a reward model: how good it is, and of which pairs it is most surely wrong."""

from pathlib import Path

from tasks.machine.json_files import Json
from tasks.reward_models.outputs import RewardEvaluation, read_pairs
from tasks.rows import load_split, prompt_of


def evaluated(model: Path, rows: Path, most: int) -> Json:
    """The evaluation in the output `model`, and `most` of the test pairs that it has in the wrong order."""
    texts = {row["id"]: row for row in load_split(rows, "test")}
    wrong = [line for line in read_pairs(model) if line["chosen"] <= line["rejected"]]
    wrong.sort(key=lambda line: line["chosen"] - line["rejected"])
    shown = [
        {"id": line["id"], "prompt": "\n".join(filter(None, prompt_of(texts[line["id"]])))}
        | {side: {"text": texts[line["id"]][side], "reward": line[side]} for side in ("chosen", "rejected")}
        for line in wrong[:most]
    ]
    return RewardEvaluation.read(model).as_json() | {"wrong": {"of": len(wrong), "rows": shown}}
