"""The commands about judges: `judge`, `audit`, `compare`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command.options import (
    RUN,
    Columns,
    Commands,
    DespiteAudit,
    Json,
    Overrides,
    Pull,
    Refresh,
    Scorers,
    Verbose,
    end_with_documents,
    judge_settings,
    parse_columns,
)
from tasks.errors import UsageError

if TYPE_CHECKING:
    from tasks.config import AuditConfig, DownloadConfig, JudgeConfig

commands = Commands()

DEFAULT_JUDGE = "ollama:llama3.2"
QUICKSTART_ROWS = {"sources": [{"made": "skills", "name": "skills.jsonl", "count": 110}]}

File = Annotated[str, typer.Argument(metavar="FILE", help="JSON, JSON Lines or CSV: rows with a response")]
Response = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="The column of the responses, where it is not recognised")
]
Criteria = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="YAML with a list `criteria`: what the judge is asked, as judge.criteria has it"
    ),
]


@commands.command()
def judge(
    file: File,
    judge: Scorers = None,
    criteria: Criteria = None,
    response: Response = None,
    column: Columns = None,
    pull: Pull = False,
    despite_audit: DespiteAudit = False,
    set_: Overrides = None,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Score a file of responses from any tool: by a metric, or by a judge that is audited first."""
    from flows.server.readiness import stages_to_refresh
    from tasks.config import ResponsesConfig

    config = _judge_config(judge, pull, despite_audit, set_, _criteria(criteria))
    source = source_of(file)
    reading = ResponsesConfig(
        response=response, columns=parse_columns(column), needs_reference=config.needs_reference
    )
    stages = stages_to_refresh(refresh or (), ["download", "responses", "audit", "judge"])
    from flows.judging.judged import found_outcome, judged
    from tasks.judge.score.document import document

    asked = (file.rpartition("/")[2], source, reading, config)
    outcome = None if stages else found_outcome(judged, *asked)
    if outcome is None:
        _start(config, verbose)
        from flows.dispatch.results import run_here
        from flows.judging.judging import judging

        outcome = run_here(judging, *asked, stages)
    end_with_documents(outcome, lambda told: [document(told)], json_)


@commands.command()
def audit(
    judge: Annotated[
        str, typer.Option("--judge", metavar="JUDGE", help="ollama:, openai:, hf:, reward:MODEL")
    ] = (DEFAULT_JUDGE),
    rows: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Instructions with their right answers; else ones made here"),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only N of the rows, drawn by judge.seed")
    ] = None,
    criteria: Criteria = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Audit its choices between two responses, not its scores")
    ] = False,
    column: Columns = None,
    pull: Pull = False,
    set_: Overrides = None,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ask a judge about answers of known worth: is it fit to be believed?"""
    from flows.server.readiness import stages_to_refresh
    from tasks.config import AuditConfig, DownloadConfig
    from tasks.config.judging import EXPECTED_JUDGE

    if judge.startswith("metric:"):
        raise UsageError(f"{judge} is a metric, not a judge; an audit is of {EXPECTED_JUDGE}")
    found = _judge_config([judge], pull, False, set_, _criteria(criteria))
    if pairwise and found.criteria:
        raise UsageError("--pairwise asks which response is closer to the reference, and by no criterion")
    config = AuditConfig.model_validate(
        found.audit_of(found.headline, "pairwise" if pairwise else "scores").model_dump() | {"sample": sample}
    )
    source = source_of(rows) if rows else DownloadConfig.model_validate(QUICKSTART_ROWS)
    stages = stages_to_refresh(refresh or (), ["download", "responses", "audit"])
    from flows.judging.judged import audited, found_outcome
    from tasks.judge.audit.document import documents

    asked = (source, parse_columns(column), config, found.criteria)
    outcome = None if stages else found_outcome(audited, *asked)
    if outcome is None:
        _start(config, verbose)
        from flows.dispatch.results import run_here
        from flows.judging.judging import auditing

        outcome = run_here(auditing, *asked, stages)
    end_with_documents(outcome, documents, json_)


@commands.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help=f"A file of responses, or what was run: {RUN}; of a run also :MODEL",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one")],
    judge: Scorers = None,
    criteria: Criteria = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Show the judge both responses, in both orders")
    ] = False,
    only_common: Annotated[
        bool, typer.Option("--only-common", help="Leave out rows that only one of the two has")
    ] = False,
    response: Response = None,
    column: Columns = None,
    pull: Pull = False,
    despite_audit: DespiteAudit = False,
    set_: Overrides = None,
    refresh: Refresh = None,
    json_: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare two models' responses to the same rows; positive differences mean that A is better.

    Runs that pretrained and did nothing else are compared by their losses on the same text.
    """
    given = {
        "--judge": judge,
        "--criteria": criteria,
        "--pairwise": pairwise,
        "--only-common": only_common,
        "--response": response,
        "--column": column,
        "--pull": pull,
        "--despite-audit": despite_audit,
        "--set": set_,
    }
    from flows.command.losses import compare_losses, pretrained_sides

    if sides := pretrained_sides(a, b, [option for option, value in given.items() if value]):
        compare_losses(*sides, refresh or (), json_, verbose)
        return
    from flows.profiles.load import load_settings
    from flows.server.readiness import stages_to_refresh, verbosely
    from tasks.config import CompareConfig, ResponsesConfig
    from tasks.download.stage import fingerprints

    verbosely(verbose)
    from flows.judging.inputs import parse_comparison_input

    sides = [parse_comparison_input(a), parse_comparison_input(b)]
    for side in sides:
        if side.file:
            fingerprints(side.file)  # a file that is missing
    if pairwise and (several := next((side for side in sides if len(side.responses) > 1), None)):
        raise UsageError(
            f"--pairwise shows a judge two responses, and {several.name} has one of each seed for every row; "
            "name the run of one seed, or compare their scores without --pairwise"
        )
    overrides = set_ or ()
    for_judge = [own for own in overrides if own.startswith("judge.")]
    as_recorded = {} if judge else _settings_of_both([side.judge for side in sides if not side.file])
    config = _judge_config(judge, pull, despite_audit, for_judge, as_recorded | _criteria(criteria))
    asked = {name: getattr(config, name) for name in CompareConfig.model_fields if hasattr(config, name)}
    own = {"mode": "pairwise" if pairwise else "scores", "only_common": only_common}
    comparison = load_settings(
        CompareConfig, "compare", asked | own, [own for own in overrides if own not in for_judge]
    )
    stages = stages_to_refresh(refresh or (), ["download", "responses", "audit", "judge", "compare"])
    from flows.judging.comparison import compared
    from flows.judging.judged import found_outcome
    from tasks.judge.compare.document import document

    reading = ResponsesConfig(
        response=response, columns=parse_columns(column), needs_reference=config.needs_reference
    )
    names = [side.name for side in sides]
    if names[0] == names[1]:
        names = [a, b]
    asked = (*names, tuple(sides), reading, config, comparison)
    outcome = None if stages else found_outcome(compared, *asked)
    if outcome is None:
        _start(config, verbose)
        from flows.dispatch.results import run_here
        from flows.judging.judging import comparing

        outcome = run_here(comparing, *names, *sides, reading, config, comparison, stages)
    end_with_documents(outcome, lambda told: [document(told)], json_)


def _settings_of_both(recorded: "list[JudgeConfig]") -> dict[str, Any]:
    """How the runs that are compared were scored; nothing where both sides are files.

    Raises UsageError when the two were scored in different ways.
    """
    if not recorded:
        return {}
    first, *others = recorded
    for other in others:
        ours, theirs = first.key_fields(), other.key_fields()
        if differing := [name for name in ours if ours[name] != theirs[name]]:
            told = "; ".join(f"judge.{name} {ours[name]} and {theirs[name]}" for name in differing)
            raise UsageError(
                f"A and B were scored in different ways: {told}. Say with --judge who is to score both"
            )
    return first.model_dump()


def _judge_config(
    scorers: list[str] | None,
    pull: bool,
    despite_audit: bool,
    overrides: Iterable[str] | None,
    raw: Mapping[str, Any] | None = None,
) -> "JudgeConfig":
    from flows.judging.reward_models import with_reward_digests
    from flows.profiles.load import load_settings
    from tasks.config import JudgeConfig

    settings = [*judge_settings(scorers, pull, despite_audit), *(overrides or ())]
    config = load_settings(JudgeConfig, "judge", dict(raw or {}), settings)
    return with_reward_digests(config)


def _criteria(path: Path | None) -> dict[str, Any]:
    """The setting `criteria` of a file. Raises UsageError for one that is not there or holds other things."""
    if path is None:
        return {}
    from flows.profiles.yaml_settings import read_yaml
    from tasks.config import Criterion

    if not path.is_file():
        raise UsageError(f"--criteria {path}: there is no such file")
    found = read_yaml(path, {"criteria": tuple[Criterion, ...]})
    if list(found) != ["criteria"] or not found["criteria"]:
        there = ", ".join(map(str, found)) or "nothing"
        raise UsageError(f"--criteria {path}: expected a list under the name criteria, found {there}")
    return found


def source_of(text: str) -> "DownloadConfig":
    """A file, an address, or hf:NAME. Raises UsageError for what is none, or is not there."""
    from pydantic import ValidationError

    from flows.profiles.faults import explain
    from tasks.config import DownloadConfig, source_from_text
    from tasks.download.stage import fingerprints

    try:
        source = DownloadConfig.model_validate({"sources": [source_from_text(text)]})
    except ValidationError as error:
        raise UsageError(
            f"{text!r}: expected a file, an address or hf:NAME ({explain(error, DownloadConfig)})"
        ) from error
    fingerprints(source)
    return source


def _start(config: "JudgeConfig | AuditConfig", verbose: bool) -> None:
    """What can be told before Prefect has started."""
    from flows.process.console import console
    from flows.server.readiness import begin_prefect, prefect_is_ready, verbosely

    verbosely(verbose)
    begin_prefect()
    console.wait("starting Prefect")
    from flows.judging.judging import find_judges
    from flows.process.flow_body import load_secrets

    prefect_is_ready()
    load_secrets()
    find_judges(config)
