"""Who is champion, who was before, and how each became it.

Every move of the alias is a tag of the registered model, `touchstone.champions.00001` and so on: the version,
how and why it became champion, when, and by whom. A tag is written before the alias is moved, so a move that
was killed in between shows as a last entry that the alias does not bear out, and is left out of account.
"""

import getpass
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlflow.entities.model_registry import ModelVersion

from tasks.errors import StageError, UsageError
from tasks.record.tracking import Tracking
from tasks.registry.versions import (
    CHAMPION,
    DECIDED,
    DECISION,
    KEY,
    KIND,
    champion_of,
    fault_in_files,
    number_of,
    one_at_a_time,
    registered_models,
    require_version,
    tags_of_model,
    version_of,
    versions_of,
)

HISTORY = "touchstone.champions."
OVERRIDE, ROLLED_BACK = "touchstone.override", "touchstone.rolled_back"
LONGEST = 2000  # characters of a reason; a tag of a registered model holds 5000
ELSEWHERE = "the alias was moved by another tool, or before this history began"

UTC = "%Y-%m-%dT%H:%M:%SZ"

How = Literal["promotion", "override", "rollback", "elsewhere"]


@dataclass(frozen=True)
class Tenure:
    """A version's becoming champion. `at` is in UTC."""

    version: int
    how: How
    why: str
    at: str
    by: str

    def told(self) -> str:
        """`champion by override: the customer asked for it`; of a promotion, its reason."""
        return self.why if self.how == "promotion" else f"champion by {self.how}: {self.why}"


@dataclass(frozen=True)
class Move:
    """What moving the alias by hand did."""

    name: str
    version: int
    previous: int | None
    """The version that was champion before the move."""
    because: str
    at: str
    by: str


def history(tracking: Tracking, name: str) -> list[Tenure]:
    """Every turn that was written down, the last one last; none of a model that does not exist."""
    return [Tenure(**json.loads(text)) for _, text in sorted(_noted(tracking, name).items())]


def _noted(tracking: Tracking, name: str) -> dict[int, str]:
    tags = tags_of_model(tracking, name)
    return {int(tag.removeprefix(HISTORY)): text for tag, text in tags.items() if tag.startswith(HISTORY)}


def champion_history(tracking: Tracking, name: str) -> list[Tenure]:
    """The champions that stand behind one another, the last one last; none before the first.

    The last one is the present champion, where there is one. A rollback takes away what it went back over:
    rolling back twice goes two steps back, not to and fro.
    """
    turns = history(tracking, name)
    found, present = _replayed(turns), number_of(champion_of(tracking, name))
    if present is None or (found and found[-1].version == present):
        return found
    return _replayed([*turns, Tenure(present, "elsewhere", ELSEWHERE, "", "")])


def _replayed(turns: list[Tenure]) -> list[Tenure]:
    line: list[Tenure] = []
    for tenure in turns:
        versions = [earlier.version for earlier in line]
        if tenure.how == "rollback":
            line = [*line[: _last(versions[:-1], tenure.version, len(line) - 1)], tenure]
        elif tenure.how == "elsewhere" and tenure.version in versions:
            line = line[: _last(versions, tenure.version) + 1]
        else:
            line.append(tenure)
    return line


def _last(versions: list[int], version: int, otherwise: int = 0) -> int:
    """The place of the last one that is `version`."""
    places = [place for place, one in enumerate(versions) if one == version]
    return places[-1] if places else max(otherwise, 0)


def set_champion(tracking: Tracking, name: str, version: int, how: How, why: str) -> Tenure:
    """Write down the turn and move the alias; call it inside `one_at_a_time`."""
    at = time.strftime(UTC, time.gmtime())
    tenure = Tenure(version, how, why[:LONGEST], at, current_user())
    line, present = _replayed(history(tracking, name)), number_of(champion_of(tracking, name))
    new = [tenure]
    if present is not None and (not line or line[-1].version != present):
        new = [Tenure(present, "elsewhere", ELSEWHERE, at, ""), tenure]
    last = max(_noted(tracking, name), default=0)
    for place, entry in enumerate(new, start=last + 1):
        text = json.dumps(asdict(entry), ensure_ascii=False, allow_nan=False)
        tracking.client.set_registered_model_tag(name, f"{HISTORY}{place:05d}", text)
    tracking.client.set_registered_model_alias(name, CHAMPION, str(version))
    return tenure


def current_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container may have no user of that number
        return "unknown"


def override(tracking: Tracking, name: str, version: int, because: str) -> Move:
    """Make a version the champion by hand, and say so on it.

    Raises UsageError for a version that there is not, that is champion already, or without a reason;
    StageError for one whose files are gone or altered, or whose own promotion was killed.
    """
    if not because.strip():
        raise UsageError("--because is empty: say why, it is kept with the version")
    with one_at_a_time(tracking, name):
        found = require_version(tracking, name, version)
        present = number_of(champion_of(tracking, name))
        if present == version:
            raise UsageError(f"{name} version {version} is the champion already")
        if KIND in found.tags:
            raise UsageError(
                f"{name} version {version} is a reward model, and takes part in no contest: name it where it "
                f"is used, as reward:{name}/{version}"
            )
        if KEY in found.tags and DECIDED not in found.tags:
            raise StageError(
                f"{name} version {version} was left by a promotion that did not come to its end. Run its "
                "profile again, and choose the version that it makes"
            )
        _require_whole(found, "it cannot become champion. Run its profile again to remake it")
        tenure = set_champion(tracking, name, version, "override", because.strip())
        tags = {
            OVERRIDE: tenure.why,
            f"{OVERRIDE}.at": tenure.at,
            f"{OVERRIDE}.by": tenure.by,
            f"{OVERRIDE}.previous": str(present) if present is not None else "none",
        }
        _write_on(tracking, found, tags)
    return Move(name, version, present, tenure.why, tenure.at, tenure.by)


def rollback(tracking: Tracking, name: str, because: str = "") -> Move:
    """Give the alias back to the version that was champion before the present one.

    Versions that were deleted meanwhile are passed over. Raises UsageError when there is none to go back to,
    StageError when its files are gone or altered.
    """
    with one_at_a_time(tracking, name):
        present = champion_of(tracking, name)
        line = champion_history(tracking, name)
        earlier = line[:-1] if present is not None else line
        target = next(
            (
                found
                for tenure in reversed(earlier)
                if tenure.version != number_of(present)
                and (found := version_of(tracking, name, tenure.version))
            ),
            None,
        )
        if target is None:
            now = f"version {present.version} is its first" if present else "there is none now"
            raise UsageError(f"{name} has no champion to roll back to: {now}")
        _require_whole(target, "it cannot become champion again. Choose another: touchstone promote VERSION")
        why = because.strip() or (f"back from version {present.version}" if present else "there was none")
        tenure = set_champion(tracking, name, int(target.version), "rollback", why)
        if present is not None:
            tags = {ROLLED_BACK: tenure.why, f"{ROLLED_BACK}.at": tenure.at, f"{ROLLED_BACK}.by": tenure.by}
            _write_on(tracking, present, tags | {f"{ROLLED_BACK}.to": str(target.version)})
    return Move(name, int(target.version), number_of(present), tenure.why, tenure.at, tenure.by)


def _require_whole(version: ModelVersion, remedy: str) -> None:
    if fault := fault_in_files(version):
        raise StageError(f"{version.name} version {version.version}: {fault}; {remedy}")


def _write_on(tracking: Tracking, version: ModelVersion, tags: dict[str, str]) -> None:
    for tag, value in tags.items():
        tracking.client.set_model_version_tag(version.name, str(version.version), tag, value)


def now(tracking: Tracking, name: str, version: int, champion: bool) -> str | None:
    """What became of a promotion since, where it was moved by hand or by a later one; else None.

    `champion` says what it was when the promotion was decided.
    """
    line = champion_history(tracking, name)
    present = line[-1] if line and champion_of(tracking, name) is not None else None
    if present is None:
        return f"{name} has no champion now" if champion else None
    if present.version == version:
        return (
            None if champion and present.how == "promotion" else f"version {version} is now {present.told()}"
        )
    return f"the champion is now version {present.version} ({present.told()})" if champion else None


def registered(tracking: Tracking) -> list[dict[str, Any]]:
    """Every registered model with its versions, as JSON values."""
    return [_listed(tracking, model.name) for model in registered_models(tracking)]


def _listed(tracking: Tracking, name: str) -> dict[str, Any]:
    aliases: dict[int, list[str]] = {}
    for alias, version in tracking.client.get_registered_model(name).aliases.items():
        aliases.setdefault(int(version), []).append(alias)
    line = champion_history(tracking, name)
    return {
        "name": name,
        "champion": number_of(champion_of(tracking, name)),
        "champions": [asdict(tenure) for tenure in line],
        "versions": [_version(version, aliases) for version in versions_of(tracking, name)],
    }


def _version(version: ModelVersion, aliases: dict[int, list[str]]) -> dict[str, Any]:
    tags = version.tags
    number = int(version.version)
    return {
        "version": number,
        "aliases": sorted(aliases.get(number, [])),
        "created": time.strftime(UTC, time.gmtime(version.creation_timestamp / 1000)),
        "scorer": tags.get("touchstone.scorer"),
        "mean": _known(tags.get("touchstone.mean"), float),
        "sealed_mean": _known(tags.get(f"{DECISION}.sealed_mean"), float),
        "decision": tags.get(DECISION),
        "override": tags.get(OVERRIDE),
        "rolled_back": tags.get(ROLLED_BACK),
        "run_id": version.run_id,
    }


def _known(text: str | None, read: Callable[[str], float]) -> float | None:
    return None if text in (None, "missing", "none") else read(text)
