"""What the numbers of an exported file cost: the test rows answered from it, beside the original's answers.

The weights are read from the file by Transformers and decoded as the original's were, so that whatever
differs comes from the file. An engine that also rounds what it computes with may differ by more.
"""

import math
from collections.abc import Sequence

from transformers import PreTrainedModel

from tasks.config import GenerateConfig
from tasks.export.source import ExportSource
from tasks.generate.outputs import GenerateSummary
from tasks.generate.stage import respond
from tasks.judge.score.metrics import METRICS, SUMMARY_METRICS, metric_scores
from tasks.judge.score.outputs import ScoreSummary, read_score_lines
from tasks.machine.json_files import Json
from tasks.record.stage import StageRun
from tasks.rows import Row
from tasks.rows.responses import read_responses
from tasks.statistics.bounded import bounded_interval
from tasks.statistics.comparing import paired_test

DEFAULT = "metric:chrf"  # where a judge is the headline: it is not asked about every file


def cost_of(source: ExportSource, network: PreTrainedModel, file: str, kind: str) -> Json | None:
    """What the responses of a model that was read from a file score, paired with the original's.

    `difference` is the file's score minus the original's, in points, with its 95% interval. None where no
    test row has a reference.
    """
    run = source.run
    own = StageRun(
        out=run.checkpoint / kind / "output",
        auxiliary=run.checkpoint / kind / "auxiliary",
        checkpoint=run.checkpoint / kind / "checkpoint",
        progress=run.progress,
        phase=lambda what: run.phase(f"{file}: {what}"),
    )
    respond(_decoding(source), own, network, source.tokenizer, source.test)
    scorer = scorer_of(source)
    before = read_score_lines(source.scores)
    earlier = {row["id"]: row for row in read_responses(source.responses)}
    answers, every = read_responses(own.out), METRICS | SUMMARY_METRICS
    scores = [metric_scores(row["response"], row["output"], every).get(scorer) for row in answers]
    originals = [before[row["id"]].get(scorer) for row in answers]
    sources = _sources(source.test)
    paired = paired_test(scores, originals, sources)
    if paired is None:
        return None
    known = [score for score in scores if score is not None]
    owners = [own for own, score in zip(sources, scores, strict=True) if score is not None]
    mean, low, high = bounded_interval(known, 0.0, 100.0, owners)
    return {
        "file": file,
        "kind": kind,
        "scorer": scorer,
        "rows": len(answers),
        "mean": mean,
        "original_mean": sum(score for score in originals if score is not None) / len(known),
        "low": low,
        "high": high,
        "difference": paired.difference,
        "difference_low": paired.low,
        "difference_high": paired.high,
        "p": paired.p,
        "same": sum(row["response"] == earlier[row["id"]]["response"] for row in answers),
        "perplexity": GenerateSummary.read(own.out).reference_perplexity,
        "original_perplexity": _perplexity([earlier[row["id"]] for row in answers]),
    }


def scorer_of(source: ExportSource) -> str:
    """The metric that files are scored by: the headline of the original where that is one."""
    headline = ScoreSummary.read(source.scores).headline
    return headline if headline in METRICS | SUMMARY_METRICS else DEFAULT


def _decoding(source: ExportSource) -> GenerateConfig:
    """As the original's responses were decoded."""
    settings = GenerateSummary.read(source.responses).decoding
    return GenerateConfig(template=source.template.name, device=source.config.device, **settings)


def _sources(rows: Sequence[Row]) -> list[str | None]:
    return [row.get("source") for row in rows]


def _perplexity(rows: Sequence[Json]) -> float:
    tokens = sum(row["reference_tokens"] for row in rows)
    return math.exp(sum(row["reference_loss"] * row["reference_tokens"] for row in rows) / tokens)
