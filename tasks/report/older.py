"""Cards that earlier versions made, in today's form: `touchstone report RUN` shows runs of any age."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


def in_todays_form(report: Json) -> Json:
    """The same report with what its version did not write yet; today's reports come back as they are.

    Nothing is made up: an interval that was not computed then stays away.
    """
    found = dict(report)
    if isinstance(found["curves"], Mapping):  # of losses alone
        found["curves"] = [
            {"training": training, "quantity": "loss"} | curve for training, curve in found["curves"].items()
        ]
    if "parameters" not in found["model"]:
        found["model"] = found["model"] | {"parameters": found["pretraining"]["parameters"]}
    if "samples" in found:  # of a base and a fine-tuned model
        pair = {"model": "fine-tuned", "against": "base"}
        found["differences"] = [pair | entry for entry in found["differences"]]
        found["samples"] = {"by": "fine-tuned"} | found["samples"]
        found["responses"] = [_responses(entry) for entry in found["responses"]]
        found["judge"] = _judge(found["judge"])
        found["scores"] = [{"correlations": {}} | entry for entry in found["scores"]]
        found.setdefault("agreements", [])
    return found


def _judge(judge: Json | None) -> Json | None:
    """One judge that nobody had audited, and whose scores counted; what servers refused was not known.

    Before there were criteria all judges compared with the reference, and were audited by it.
    """
    if judge is None:
        return None
    if "judges" in judge:
        unknown: Json = {"refusals": [], "criterion": None}
        judges = [
            unknown | own | {"audit": own["audit"] and {"falsifiable": True} | own["audit"]}
            for own in judge["judges"]
        ]
        return {"criteria": []} | judge | {"judges": judges}
    known = {name: judge[name] for name in ("scorer", "digest", "version", "prompt_version")}
    return {
        "despite_audit": False,
        "criteria": [],
        "judges": [
            known | {"form": None, "criterion": None, "audit": None, "believed": True, "refusals": []}
        ],
    }


def _responses(entry: Json) -> Json:
    if "kinds" not in entry:
        return entry
    counts = {kind: entry["kinds"].get(kind, 0) for kind in ("looping", "echoed", "identical")}
    counts = {"empty": entry["empty"]} | counts | {"cut": entry["cut"]}
    shares = {
        f"share_{kind}": {"count": count, "of": entry["rows"], "share": count / entry["rows"]}
        for kind, count in counts.items()
    }
    return {"model": entry["model"]} | shares | {"length_tokens": {"mean": entry["mean_tokens"]}}
