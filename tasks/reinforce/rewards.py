"""What a response is worth: metrics, rules and functions of the user's, each by itself and in their sum."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tasks.config import GrpoConfig, RewardConfig
from tasks.errors import StageError
from tasks.judge.score.metrics import bleu, chrf, exact, metric_scores, rouge_l, words_of
from tasks.machine.digests import sha256_of
from tasks.models.folders import find_files
from tasks.record.manifest import require_unaltered, sha256_of_tree
from tasks.rows import Row

Score = Callable[[Sequence[str], Sequence[Row]], list[float]]
"""Of responses, and the rows that they answer: a number for each."""

METRICS = {"exact": exact, "chrf": chrf, "bleu": bleu, "rouge-l": rouge_l}


@dataclass(frozen=True)
class Reward:
    """A reward by the name that numbers and curves have."""

    label: str
    weight: float
    score: Score


def rewards_of(
    config: GrpoConfig,
    judged: Mapping[str, Score] | None = None,
    digests: Mapping[str, str] | None = None,
) -> list[Reward]:
    """The rewards of a configuration; `judged` are those that a judge or a reward model gives, by name.

    `digests` are the `fingerprints` in the key. Raises StageError for a function that cannot be had, and for
    one whose file was altered since then.
    """
    scores = dict(judged or {})
    found = [Reward(own.label, own.weight, scores.get(own.name) or _score_of(own)) for own in config.rewards]
    for file in _files(config):
        known = (digests or {}).get(_key_of(file))
        require_unaltered(f"the file {file}, which a reward is a function of", _existing(file), known)
    return found


def require_functions(config: GrpoConfig) -> None:
    """Load the functions among the rewards, before anything takes time. Raises StageError as `rewards_of`."""
    for reward in config.rewards:
        if reward.file:
            from_function(reward)


def _score_of(config: RewardConfig) -> Score:
    """The one place where a name becomes what is called: a new kind of reward is a line here."""
    if config.file:
        return from_function(config)
    if config.name == "length":
        return partial(_each, partial(of_length, config.least, config.most))
    if config.name == "format":
        return of_json if config.parses and not config.pattern else partial(of_format, config)
    return of_metric(config.name)


def total(rewards: Sequence[Reward], values: Mapping[str, Sequence[float]]) -> list[float]:
    """The weighted sum of every response, from `values` by the rewards' labels."""
    count = len(next(iter(values.values())))
    return [sum(own.weight * values[own.label][place] for own in rewards) for place in range(count)]


def scored(
    rewards: Sequence[Reward], responses: Sequence[str], rows: Sequence[Row]
) -> dict[str, list[float]]:
    """Every reward of every response, by label, without its weight."""
    return {own.label: own.score(responses, rows) for own in rewards}


def fingerprints(config: GrpoConfig) -> dict[str, str]:
    """The digests of the Python files that rewards are functions of, and of reward models in folders.

    Raises StageError for a file that is not there.
    """
    files = {_key_of(file): sha256_of(_existing(file)) for file in _files(config)}
    folders = {name: folder for name in config.models if (folder := model_folder(name))}
    return files | {f"reward model {name}": sha256_of_tree(folder) for name, folder in folders.items()}


def model_folder(name: str) -> Path | None:
    """The folder of a reward model that is named by it; None where that is the name of something else."""
    path = Path(name).expanduser()
    return path.resolve() if name and find_files(path) else None


def _key_of(file: str) -> str:
    """What the digest of a file is called in the key."""
    return f"reward {file}"


def _files(config: GrpoConfig) -> list[str]:
    return sorted({reward.file for reward in config.rewards if reward.file})


def _existing(file: str) -> Path:
    path = Path(file).expanduser()
    if not path.is_file():
        raise StageError(
            f"there is no file {file}, which a reward is a function of; it is looked for from "
            f"{Path.cwd()}. Name the file as it is from there, or whole"
        )
    return path


# Metrics


def of_metric(name: str) -> Score:
    """A metric against the reference, from 0 to 1."""
    metric = {name: METRICS[name]}

    def score(responses: Sequence[str], rows: Sequence[Row]) -> list[float]:
        found = []
        for response, row in zip(responses, rows, strict=True):
            own = metric_scores(response, row["output"], metric)
            if not own:
                raise StageError(
                    f"row {row['id']} has no reference, and the reward {name} compares with it. Leave the "
                    "row out, or take a reward that needs none (length, format, a function)"
                )
            found.append(own[name] / 100)
        return found

    return score


# Rules


def _each(rule: Callable[[str], float], responses: Sequence[str], _rows: Sequence[Row]) -> list[float]:
    return [rule(response) for response in responses]


def of_length(least: int | None, most: int | None, response: str) -> float:
    """1 from `least` to `most` words; below their share of `least`, above falling to 0 at twice `most`."""
    words = len(words_of(response))
    if least and words < least:
        return words / least
    if most and words > most:
        return max(0.0, 1 - (words - most) / most)
    return 1.0


def of_json(responses: Sequence[str], _rows: Sequence[Row]) -> list[float]:
    """1 for what JSON reads whole."""
    return [float(_parses(response)) for response in responses]


def of_format(config: RewardConfig, responses: Sequence[str], _rows: Sequence[Row]) -> list[float]:
    """1 for a response that the pattern matches whole, and that parses where it is to."""
    pattern = re.compile(config.pattern or "", re.DOTALL)
    matched = [pattern.fullmatch(response.strip()) is not None for response in responses]
    parsed = [config.parses is None or _parses(response) for response in responses]
    return [float(both) for both in map(all, zip(matched, parsed, strict=True))]


def _parses(response: str) -> bool:
    try:
        json.loads(response)
    except (ValueError, RecursionError):
        return False
    return True


# Functions


def from_function(config: RewardConfig) -> Score:
    """A function of a user's file, called as `function(responses, references, rows)` with lists.

    Raises StageError for a file that does not run and for a function that it has not. What it raises when it
    is called, and what it gives that is no finite number, is told with the row.
    """
    path, label = _existing(config.file or ""), config.label
    function = _loaded(path, label)

    def score(responses: Sequence[str], rows: Sequence[Row]) -> list[float]:
        references = [row["output"] for row in rows]
        try:
            given = function(list(responses), references, [dict(row) for row in rows])
        except Exception as error:  # whatever it does
            fault = _at_fault(function, responses, rows)
            raise StageError(f"{config.name} raised {type(error).__name__}: {error}, of {fault}") from error
        return _numbers(config.name, given, responses, rows)

    return score


def _loaded(path: Path, name: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), namespace)
    except Exception as error:
        raise StageError(f"{path} does not run: {type(error).__name__}: {error}") from error
    if not callable(namespace.get(name)):
        raise StageError(f"{path} has no function {name}; a reward is one that is defined in its file")
    return namespace[name]


def _at_fault(function: Callable[..., Any], responses: Sequence[str], rows: Sequence[Row]) -> str:
    """The first row that it does not take by itself."""
    for response, row in zip(responses, rows, strict=True):
        try:
            function([response], [row["output"]], [dict(row)])
        except Exception:  # which row it is, is all that is asked
            return f"row {row['id']} and the response {response!r:.80}"
    return f"{len(rows)} rows together, and of none of them alone"


def _numbers(name: str, given: Any, responses: Sequence[str], rows: Sequence[Row]) -> list[float]:
    count = len(given) if isinstance(given, Sequence) and not isinstance(given, str) else None
    if count != len(rows):
        raise StageError(f"{name} gave {given!r:.80} for {len(rows)} responses; expected a number for each")
    for value, response, row in zip(given, responses, rows, strict=True):
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise StageError(
                f"{name} gave {value!r:.80} for row {row['id']} and the response {response!r:.80}; expected "
                "a finite number"
            )
    return [float(value) for value in given]
