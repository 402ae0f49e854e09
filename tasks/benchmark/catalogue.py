"""The tasks of lm-eval by name: the data set that each asks from, and whether it can be asked here.

They are read from the files of the package. The package itself is not imported, which takes seconds, nor
asked for its list of tasks, which takes fifteen.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tasks.benchmark.outputs import MEASURE
from tasks.config import BenchmarkConfig, DownloadConfig, Source, SuiteConfig
from tasks.download.commits import commit_of, pinned
from tasks.errors import UsageError

PACKAGE = "lm_eval"
KNOWN_COMMITS = {
    "EleutherAI/lambada_openai": "900124bf3b8235c6daf21033af9948b3f07346c4",
    "Rowan/hellaswag": "218ec52e09a7e7462a5400043bb9a69a41d06b76",
    "allenai/ai2_arc": "210d026faf9955653af8916fad021475a3f00453",
    "allenai/openbookqa": "388097ea7776314e93a529163e0fea805b8a6454",
    "allenai/sciq": "2c94ad3e1aafab77146f384e23536f97a4849815",
    "allenai/winogrande": "01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    "aps/super_glue": "3de24cf8022e94f4ee4b9d55a6f539891524d646",
    "baber/piqa": "142f6d7367fd9877f0fb3b5734ea6a545f54cdd1",
    "cais/mmlu": "c30699e8356da336a370243923dbaf21066bb9fe",
    "nyu-mll/blimp": "877fba0801ffb7cbd8c39c1ff314a46f053f6036",
    "nyu-mll/glue": "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c",
    "tau/commonsense_qa": "94630fe30dad47192a8546eb75f094926d47e155",
    "truthfulqa/truthful_qa": "741b8276f2d1982aa3d5b832d3ee81ed3b896490",
}
"""Of data sets: the state in which others have published results on them."""

ASKED = ("multiple_choice", "loglikelihood")
"""Kinds of tasks whose answers are given, and a model only says how likely each is."""

LISTED = 8  # names in a message
_NAME = re.compile(
    rb"^['\"]?(task|group)['\"]?:[ \t]*['\"]?([\w.+\-()]+)['\"]?[ \t]*(?:#.*)?\r?$", re.MULTILINE
)
_LISTS = re.compile(rb"^['\"]?(tag|include)['\"]?:([^\n#]*(?:\n[ \t]*-[^\n#]*)*)", re.MULTILINE)
_WORD = re.compile(rb"[\w./][\w.+/\-]*")
_FUNCTION = "!function"


@dataclass(frozen=True)
class HubTask:
    """A task of lm-eval, and what is downloaded for it."""

    name: str
    path: Path
    """Its description in the package."""
    dataset: str
    subset: str | None
    split: str
    """That is asked."""
    examples: str | None
    """The split that answered examples are drawn from; None where there are none, or the task has its own."""
    shots: int
    revision: str | None
    """That the task itself names."""

    @property
    def splits(self) -> list[str]:
        return list(dict.fromkeys(filter(None, (self.split, self.examples))))


def require_lm_eval() -> Path:
    """The folder of lm-eval's tasks. Raises UsageError where it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            "benchmark: lm-eval is not installed here. Install it with: pip install 'touchstone[benchmark]'"
        )
    return Path(next(iter(found.submodule_search_locations))) / "tasks"


def fingerprints(_config: SuiteConfig | BenchmarkConfig) -> dict[str, str]:
    """The version of lm-eval, which has the tasks and scores them. Raises UsageError as above."""
    require_lm_eval()
    return {PACKAGE: version(PACKAGE)}


def hub_tasks(config: SuiteConfig) -> list[HubTask]:
    """The tasks that are named, groups as their members, in their order.

    Raises UsageError for a name that lm-eval does not have, and for a task that cannot be asked here.
    """
    folder = require_lm_eval()
    names = dict.fromkeys(member for name in config.tasks for member in _members(folder, name))
    return [_hub_task(folder, name, config.shots) for name in names]


def data_of(config: BenchmarkConfig) -> DownloadConfig | None:
    """What is downloaded for the tasks of lm-eval: TASK/SPLIT.jsonl each; None where none are named."""
    sources = tuple(
        Source(
            name=f"{task.name}/{split}.jsonl",
            dataset=task.dataset,
            subset=task.subset,
            split=split,
            labels="numbers",
            revision=config.revisions.get(task.dataset),
        )
        for task in hub_tasks(config.suite)
        for split in task.splits
    )
    return DownloadConfig(sources=sources, mirror=config.mirror) if sources else None


def questions_of(config: BenchmarkConfig) -> DownloadConfig | None:
    """What is downloaded of one's own questions."""
    own = config.questions
    return own.model_copy(update={"mirror": own.mirror or config.mirror}) if own else None


def with_revisions(config: BenchmarkConfig) -> BenchmarkConfig:
    """The configuration with the commit of every data set of the hub that it asks from.

    That which it says, else that which the task says, else a known one, else the one that `main` is now.
    With a mirror they are left as they are said: its files are known by their digests. Raises UsageError as
    `hub_tasks` does, and StageError where no commit can be found out.
    """
    tasks, revisions = hub_tasks(config.suite), dict(config.revisions)
    if strange := sorted(revisions.keys() - {task.dataset for task in tasks}):
        asked = ", ".join(sorted({task.dataset for task in tasks})) or "none"
        raise UsageError(
            f"benchmark.revisions names {strange[0]}, which no task asks from; the data sets are {asked}"
        )
    for task in tasks:
        if not config.mirror:
            said = revisions.get(task.dataset) or task.revision or KNOWN_COMMITS.get(task.dataset)
            revisions[task.dataset] = commit_of("dataset", task.dataset, said)
    questions = pinned(config.questions) if config.questions else None
    return config.model_copy(update={"revisions": revisions, "questions": questions})


@dataclass(frozen=True)
class _Index:
    """Every name that lm-eval has: the files of tasks and groups, and the tasks that have a tag."""

    paths: Mapping[str, Path]
    tagged: Mapping[str, list[str]]

    def __contains__(self, name: str) -> bool:
        return name in self.paths or name in self.tagged


@cache
def _index(folder: Path) -> _Index:
    paths: dict[str, Path] = {}
    tagged: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_bytes()
        names = _NAME.findall(text)
        for kind, name in names:
            if name.decode() not in paths and kind == b"task" and len(names) == 1:
                for tag in _tags(path, text):
                    tagged.setdefault(tag, []).append(name.decode())
            paths.setdefault(name.decode(), path)
    return _Index(paths, tagged)


def _tags(path: Path, text: bytes) -> list[str]:
    """Those that a file names, else those of the last file that it includes."""
    lists = {kind: [word.decode() for word in _WORD.findall(words)] for kind, words in _LISTS.findall(text)}
    if b"tag" in lists:
        return lists[b"tag"]
    included = (path.parent / name for name in reversed(lists.get(b"include", [])))
    return next((tags for other in included if (tags := _tags(other, _text(other)))), [])


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()


def _path_of(folder: Path, name: str) -> Path:
    paths = _index(folder).paths
    if name not in paths:
        close = difflib.get_close_matches(name, paths, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "a list: lm_eval ls tasks"
        raise UsageError(
            f"benchmark.tasks: lm-eval {version(PACKAGE)} has no task {name!r}; {hint} Rows of your own go "
            "into benchmark.questions"
        )
    return paths[name]


def _members(folder: Path, name: str) -> Iterator[str]:
    """The task itself, or those that have a tag, or the tasks of a group, and of the groups in it."""
    index = _index(folder)
    if name in index.tagged and name not in index.paths:
        yield from index.tagged[name]
        return
    described = _described(_path_of(folder, name))
    if described.get("group") != name:
        yield name
        return
    members = described.get("task")
    for member in members if isinstance(members, list) else [members]:
        if not isinstance(member, str) or member not in index:
            plain = [one for one in members if isinstance(one, str)] if isinstance(members, list) else []
            told = f"; name its tasks one by one ({', '.join(plain[:LISTED])})" if plain else ""
            raise UsageError(
                f"benchmark.tasks: {name} is a group of lm-eval with members that are no tasks of their own, "
                f"which is not taken apart here{told}"
            )
        yield from _members(folder, member)


def _hub_task(folder: Path, name: str, asked_shots: int | None) -> HubTask:
    path = _path_of(folder, name)
    described = _described(path)
    if why := _why_not(described):
        raise UsageError(f"benchmark.tasks: {name} of lm-eval cannot be asked here: {why}")
    own_shots = described.get("num_fewshot")
    shots = (own_shots or 0) if asked_shots is None or own_shots == 0 else asked_shots
    split = described.get("test_split") or described["validation_split"]
    return HubTask(
        name=name,
        path=path,
        dataset=described["dataset_path"],
        subset=described.get("dataset_name"),
        split=split,
        examples=_examples_split(described, split) if shots else None,
        shots=shots,
        revision=(described.get("dataset_kwargs") or {}).get("revision"),
    )


def _examples_split(described: Mapping[str, Any], split: str) -> str | None:
    """As lm-eval chooses it."""
    own = described.get("fewshot_config") or {}
    if own.get("samples"):
        return None
    said = own.get("split") or described.get("fewshot_split")
    return said or described.get("training_split") or described.get("validation_split") or split


def _why_not(described: Mapping[str, Any]) -> str:
    """Why a task cannot be asked; empty where it can."""
    kind = described.get("output_type", "generate_until")
    measures = [one.get("metric") for one in described.get("metric_list") or [{"metric": MEASURE}]]
    kwargs = {*(described.get("dataset_kwargs") or {})} - {"trust_remote_code", "revision"}
    reasons = {
        "it is a program, not a description": "class" in described,
        "it runs what a model writes": bool(described.get("unsafe_code")),
        "it shows pictures or sounds": bool(described.get("doc_to_image") or described.get("doc_to_audio")),
        f"it is of the kind {kind}, and asked are those whose answers are given ({', '.join(ASKED)})": kind
        not in ASKED,
        "its data are no data set of the hub": bool(described.get("custom_dataset"))
        or str(described.get("dataset_path")).count("/") != 1,
        f"its data are loaded in a way of their own ({', '.join(sorted(kwargs))})": bool(kwargs),
        "it has neither a test nor a validation split": not (
            described.get("test_split") or described.get("validation_split")
        ),
        f"it has no accuracy of each row; it measures {', '.join(map(str, measures))}": MEASURE
        not in measures,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


class _Loader(yaml.SafeLoader):
    """Reads a function's name as text."""


_Loader.add_constructor(_FUNCTION, lambda loader, node: f"{_FUNCTION} {loader.construct_scalar(node)}")


def _described(path: Path) -> dict[str, Any]:
    """What a file says, over what the files say that it includes."""
    own = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    included = own.pop("include", ())
    found: dict[str, Any] = {}
    for name in (included,) if isinstance(included, str) else included:
        found |= _described(path.parent / name)
    return found | own
