"""The synthesize stage: rows that a language model makes, each kept, or set aside for a reason."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.config import SynthesizeConfig
from tasks.errors import UsageError
from tasks.judge.audit.languages import LANGUAGES, Language
from tasks.judge.protocol.replies import Identity
from tasks.judge.protocol.responses import ResponseRow
from tasks.machine.json_files import Json, write_lines
from tasks.record.stage import StageRun
from tasks.rows.synthetic import MADE, ROWS
from tasks.show.document import spread
from tasks.synthesize.deciding import Decider
from tasks.synthesize.document import document
from tasks.synthesize.filters import TITLES, Against, Candidate, apply, expected_language, plain_filters
from tasks.synthesize.given import given_rows, tasks_of, texts_of_passage, texts_of_row
from tasks.synthesize.making import candidates_of, lineage, row_of
from tasks.synthesize.outputs import SET_ASIDE, Synthesis
from tasks.synthesize.passages import Passage, passages_of
from tasks.synthesize.prompts import prompt_of
from tasks.synthesize.writing import Written, write

SHOWN_IN_TABLE = 1000  # rows, in MLflow
REASONS = 5  # of a filter
EACH = 2  # set-aside rows of a filter on the page


def synthesize(
    config: SynthesizeConfig,
    run: StageRun,
    *,
    corpus: Path | None = None,
    given: Path | None = None,
    **audits: Path,
) -> None:
    """Ask the model for rows, from the passages of `corpus` or from the rows of `given`, and filter them.

    Writes `rows/rows.jsonl` (what is kept), `set_aside.jsonl` (what is not, with the filter and the reason)
    and `synthesis.json`; aside, `calls.jsonl` (every call in full) and the page `synthesis.html`.

    Raises StageError for a corpus or rows that cannot be used and when a model is not there, UsageError for
    a prompt that lacks its placeholder or for more rows than the sources can give, RefusedError for a model
    none of whose first answers can be read, and for a judge that failed its audit.
    """
    prompt = prompt_of(config)
    decider = Decider(config, run, audits)  # refuses before anything is asked
    passages = passages_of(corpus, config) if config.asks_passages else []
    people = given_rows(given, config)
    texts = [texts_of_passage(each) for each in passages] or [texts_of_row(row, config) for row in people]
    tasks = tasks_of(texts, config)
    sources: Sequence[Passage | ResponseRow] = passages or people
    language = _language(config, [next(iter(each.values())) for each in texts])

    asked: list[tuple[Identity, float, list[Written]]] = []
    for writer, temperature in _askings(config):
        identity, written = write(config, run, writer, prompt, tasks, temperature)
        asked.append((identity, temperature, written))
    candidates = candidates_of(config, sources, [written for _, _, written in asked])

    run.phase("filtering")
    against = Against(
        config,
        language,
        [passage.text for passage in passages],
        [(row.instruction, row.input) for row in people],
        [None if config.kind == "rewordings" else row.reference for row in people],
    )
    filters = plain_filters(against) | decider.filters(sources)
    told = [_told("form", candidates)]
    for name in TITLES:
        if name in filters:
            apply(name, candidates, filters[name])
            told.append(_told(name, candidates))

    writers = [_writer(*each) for each in asked]
    kept, aside = [], []
    for one in candidates:
        line = row_of(sources[one.task.source], one) | lineage(
            config, prompt, sources[one.task.source], one, writers
        )
        if one.filter:
            aside.append(line | {"filter": one.filter, "why": one.why})
        else:
            kept.append(line)
    (run.out / MADE).mkdir()
    write_lines(run.out / MADE / ROWS, kept)
    write_lines(run.out / SET_ASIDE, aside)
    calls = [call for _, _, written in asked for one in written for call in one.calls]
    write_lines(run.auxiliary / "calls.jsonl", [*calls, *decider.calls])
    found = Synthesis(
        kind=config.kind,
        writers=writers,
        prompt=prompt.name,
        prompt_digest=prompt.digest,
        seed=config.seed,
        sources=len(sources),
        documents=len({passage.document for passage in passages}),
        asked=len(tasks),
        kept=len(kept),
        language=language and language.name,
        filters=told,
        reasons=_reasons(candidates),
        samples=[_sample(line, passages) for line in spread(kept, config.shown)],
        rejected=[_sample(line, passages) for line in _some_of_each(aside)],
        judge=decider.told,
    )
    found.write(run.out)
    seconds = sum(call["latency"] for call in calls if not call["cached"])
    run.log_table(kept[:SHOWN_IN_TABLE], "rows.json")
    run.log_document(
        "synthesis", document(found.as_json(), seconds), f"{len(kept)} of {len(tasks)} rows kept"
    )
    run.log_metrics({"rows": len(kept), "asked": len(tasks), "seconds_of_answers": seconds})
    run.log_metrics({"calls": sum(not call["cached"] for call in calls)})
    run.log_metrics({f"set_aside_{each['name']}": each["set_aside"] for each in told})
    run.progress(len(tasks), len(tasks), "rows", f"{len(kept)} kept")


def _language(config: SynthesizeConfig, texts: Sequence[str]) -> Language | None:
    try:
        return expected_language(config.language, texts)
    except KeyError as error:
        raise UsageError(
            f"synthesize.language is {config.language!r}; expected auto, any, or one of "
            f"{', '.join(LANGUAGES)}"
        ) from error


def _askings(config: SynthesizeConfig) -> list[tuple[str, float]]:
    """Who is asked, and at which temperature: of preferences two models, or one twice."""
    if config.kind != "preferences":
        return [(config.writers[0], config.temperature)]
    if len(config.writers) == 2:
        return [(writer, config.temperature) for writer in config.writers]
    return [(config.writers[0], config.temperature), (config.writers[0], config.second_temperature)]


def _writer(identity: Identity, temperature: float, written: Sequence[Written]) -> Json:
    calls = [call for one in written for call in one.calls]
    return {
        "model": identity.scorer,
        "digest": identity.digest,
        "version": identity.version,
        "known_by": "name" if identity.by_name else "digest",
        "temperature": temperature,
        "answers": len(written),
        "prompt_tokens": sum(call["prompt_tokens"] or 0 for call in calls),
        "tokens": sum(call["tokens"] or 0 for call in calls),
    }


def _told(name: str, candidates: Sequence[Candidate]) -> Json:
    counts = Counter(one.filter for one in candidates)
    return {"name": name, "title": TITLES[name], "set_aside": counts[name], "left": counts[""]}


def _reasons(candidates: Sequence[Candidate]) -> Mapping[str, Sequence[Json]]:
    """Reasons of one row alone are with the row."""
    by_filter: dict[str, Counter[str]] = defaultdict(Counter)
    for one in candidates:
        if one.filter:
            by_filter[one.filter][one.why] += 1
    return {
        name: [
            {"reason": why, "count": count}
            for why, count in by_filter[name].most_common(REASONS)
            if count > 1
        ]
        for name in TITLES
        if name in by_filter
    }


def _some_of_each(aside: Sequence[Json]) -> list[Json]:
    by_filter: dict[str, list[Json]] = {name: [] for name in TITLES}
    for line in aside:
        by_filter[line["filter"]].append(line)
    return [line for lines in by_filter.values() for line in spread(lines, EACH)]


def _sample(line: Json, passages: Sequence[Passage]) -> Json:
    """A row with its passage, which is in no row unless it is the input."""
    place = line["synthetic"].get("passage")
    return line | ({} if place is None else {"passage": passages[place].text})
