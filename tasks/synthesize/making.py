"""From what a model wrote to a row, with where it comes from."""

from collections.abc import Sequence

from tasks.config import SynthesizeConfig
from tasks.judge.protocol.responses import ResponseRow
from tasks.machine.json_files import Json
from tasks.rows.synthetic import OF, SOURCE, SYNTHETIC, asked_digest
from tasks.synthesize.filters import Candidate
from tasks.synthesize.passages import Passage
from tasks.synthesize.prompts import Prompt
from tasks.synthesize.writing import Written

Source = Passage | ResponseRow


def candidates_of(
    config: SynthesizeConfig, sources: Sequence[Source], written: Sequence[Sequence[Written]]
) -> list[Candidate]:
    """A candidate for each task; `written` is by asking, each in the order of the tasks."""
    return [_candidate(config, sources[own[0].task.source], own) for own in zip(*written, strict=True)]


def _candidate(config: SynthesizeConfig, source: Source, written: Sequence[Written]) -> Candidate:
    task, seed = written[0].task, written[0].seed
    passage = source.text if isinstance(source, Passage) else ""
    if unread := [one for one in written if one.texts is None]:
        return Candidate(task, None, seed, "form", unread[0].why, passage)
    texts = [one.texts for one in written if one.texts is not None]
    row = {"instruction": "", "input": "", "output": ""}
    if isinstance(source, ResponseRow):
        row |= {"instruction": source.instruction, "input": source.input, "output": source.reference}
    if config.kind in ("questions", "rewordings"):
        row["instruction"] = texts[0]["question"]
    if config.kind in ("questions", "answers"):
        row["output"] = texts[0]["response"]
    if config.kind == "questions" and config.with_passage:
        row["input"] = passage
    if config.kind == "preferences":  # which is the better one is decided by a filter
        row |= {"chosen": texts[0]["response"], "rejected": texts[1]["response"]}
    return Candidate(task, row, seed, passage=passage)


def row_of(source: Source, one: Candidate) -> Json:
    """The row as it is written; of what could not be read there is only what was asked about."""
    category = source.category if isinstance(source, ResponseRow) else None
    own = one.row or {"instruction": "", "input": "", "output": ""}
    found = {"id": one.task.id, **own, **({"category": category} if category else {})}
    if isinstance(source, Passage):
        return found | {SOURCE: source.source}
    return found | {SOURCE: source.source or f"given row {source.id}"}


def lineage(
    config: SynthesizeConfig, prompt: Prompt, source: Source, one: Candidate, writers: Sequence[Json]
) -> Json:
    """What a row was made from, and by whom: all that is needed to make it again."""
    own: Json = {"kind": config.kind}
    if isinstance(source, Passage):
        own |= {"passage": source.id, "document": source.document}
    else:
        own |= {"row": source.id, OF: asked_digest(source.instruction, source.input)}
    by = [{name: writer[name] for name in ("model", "digest", "temperature")} for writer in writers]
    own |= {"by": by, "prompt": prompt.name, "prompt_digest": prompt.digest, "seed": one.seed}
    if one.scores:
        own["scores"] = dict(one.scores)
    return {SYNTHETIC: own}
