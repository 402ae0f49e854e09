"""The stages of a synthesis, for pipelines, for the flow that makes rows alone, and for its command.

Prefect, which takes seconds to import, is not needed for it.
"""

from collections.abc import Mapping
from typing import Any

from flows.dispatch.lookup import Runs
from flows.dispatch.runs import read_output
from flows.judging.audits import audits
from tasks.config import DownloadConfig, ResponsesConfig, SynthesizeConfig
from tasks.record.work import Reference
from tasks.synthesize.outputs import Synthesis


def synthesized(
    run: Runs,
    config: SynthesizeConfig,
    corpus: Reference | None,
    given: DownloadConfig | None,
    columns: Mapping[str, str],
) -> Reference:
    """Rows that a model makes; a judge that decides on them is audited on the given rows first."""
    rows = None
    if given:
        downloaded = run.stage("download", given, "download given rows")
        reading = ResponsesConfig(columns=dict(columns), needs_response=False, needs_reference=False)
        rows = run.stage("responses", reading, "given rows", source=downloaded)
    judge = config.judging()
    audited = audits(run, judge, rows) if judge and rows else {}
    bare = config.model_copy(update={"given": None})
    passages = corpus if config.asks_passages else None
    return run.stage("synthesize", bare, corpus=passages, given=rows, **audited)


def made(
    run: Runs,
    source: DownloadConfig,
    config: SynthesizeConfig,
    columns: Mapping[str, str],
) -> tuple[dict[str, Any], str | None]:
    """Rows made from a corpus or from rows; what is told of them, and why there are none, if so."""
    corpus = run.stage("download", source, "download corpus") if config.asks_passages else None
    given = config.given if config.asks_passages else source
    rows = synthesized(run, config, corpus, given, columns)
    found = read_output(run.tracking, rows, Synthesis.read)
    told = {"synthesis": found.as_json(), "rows": rows.model_dump()}
    return told, None if found.kept else _none_kept(found)


def _none_kept(found: Synthesis) -> str:
    most = max(found.filters, key=lambda each: each["set_aside"])
    return (
        f"none of the {found.asked} rows is kept; the filter that set most aside, {most['set_aside']}: "
        f"{most['title']}. The page of the stage shows them with their reasons"
    )
