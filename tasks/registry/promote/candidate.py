"""What is decided on: a model's scores, and whether its judges and its trainings can be believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tasks.config import on
from tasks.judge.labels.stage import Labels
from tasks.judge.protocol.criteria import behind
from tasks.judge.score.outputs import Judges, ScoreSummary, judges_of, read_score_lines
from tasks.models.summary import ModelSummary, was_trained
from tasks.preflight.report import Report
from tasks.record.work import Reference
from tasks.registry.promote.criteria import deciding_scorer, unfalsifiable
from tasks.registry.promote.parts import row_digests

PASSED, NOT_NEEDED = "passed", "not needed: metrics alone"
WARNED = "warned: "  # how the word on an audit begins that passed with warnings
TRAINED_AS = {
    "base": "pretraining",
    "tuned": "fine-tuning",
    "preferred": "preference optimization",
    "model": "training",
}

Scores = dict[int, float | None]


@dataclass(frozen=True)
class ChampionScores:
    """The champion's score of each row, under the candidate's conditions."""

    scores: Scores
    made_by: Reference
    """The output that they are in."""
    anew: str | None = None
    """Why they are not those that it was promoted by; None where they are."""


@dataclass(frozen=True)
class Candidate:
    """A model's headline numbers, its score of each row by id, and what stands behind them."""

    entry: Mapping[str, Any]
    scores: Scores
    sources: Mapping[int, str | None]
    """What other rows a row comes with, by id."""
    rows: str
    """The digest of the rows that were scored."""
    tested: Path
    """The folder that they are in."""
    made_by: Reference
    """The output that the scores are in."""
    digests: Mapping[int, str]
    """The digest of what each row asks and expects, by id."""
    model: Reference
    """The output that it is."""
    champion: Reference | None = None
    """Scores of the champion that were made to be compared with, where its own are of other conditions."""
    audit: str = NOT_NEEDED
    """`passed`, `warned`, `not needed: ...` or `failed: ...`."""
    criteria: tuple[str, ...] = ()
    """What the judge was asked about, where that is not what the reference says."""
    unfalsifiable: tuple[str, ...] = ()
    """Those of the criteria that decide, and that no audit can show a judge to be wrong about."""
    failed_checks: tuple[str, ...] = ()
    """Of the trainings that the model comes from, those that went on all the same."""
    labels: Labels | None = None
    """What people have said of its responses, where the profile requires that."""

    @classmethod
    def of(
        cls,
        tested: Path,
        scores: Path,
        references: Mapping[str, Reference],
        trained: Mapping[str, Path],
        criterion: str | None = None,
    ) -> Self:
        """Read from the outputs of the stages, to which `references` leads by input name.

        `tested` are the rows, `trained` the outputs of the trainings, by input name. With a `criterion` its
        scores are those on it, else the overall ones.
        """
        scorer, entry, per_row = read_scores(scores, criterion)
        return cls(
            entry,
            per_row,
            sources={row: line.get("source") for row, line in read_score_lines(scores).items()},
            rows=references["rows"].digest,
            tested=tested,
            made_by=references["scores"],
            digests=row_digests(tested, per_row),
            model=references["model"],
            champion=references.get("champion"),
            audit=audit_of(scores, scorer),
            criteria=tuple(ScoreSummary.read(scores).criteria),
            unfalsifiable=unfalsifiable(behind(judges_of(scores), scorer)),
            failed_checks=tuple(failed_checks(trained)),
        )

    @property
    def scorer(self) -> str:
        return self.entry["scorer"]

    @property
    def preflight(self) -> str:
        """`passed`, or `failed: fine-tuning, end token; ...`."""
        return f"failed: {'; '.join(self.failed_checks)}" if self.failed_checks else PASSED


def read_scores(folder: Path, criterion: str | None = None) -> tuple[str, dict[str, Any], Scores]:
    """The headline scorer of a judge stage's output, on one criterion if one is named: its name, its numbers,
    and its score of each row by id.

    Raises StageError when the scores are on other criteria.
    """
    summary = ScoreSummary.read(folder)
    scorer = deciding_scorer(summary, criterion)
    scores = {row: line[scorer] for row, line in read_score_lines(folder).items()}
    return scorer, summary.entry(scorer), scores


def audit_of(folder: Path, scorer: str) -> str:
    """What the audits said of the judges behind a scorer, the worst of them; nobody audits a metric."""
    judges, verdicts = Judges.find(folder), {}
    for judge in behind(judges.judges if judges else (), scorer):
        verdict = (judge["audit"] or {"verdict": "none"})["verdict"]
        verdicts.setdefault(verdict, []).append(on(judge["scorer"], judge["criterion"]))
    if not verdicts:
        return NOT_NEEDED
    if failed := verdicts.get("fail"):
        counted = "; its scores count by override" if judges.despite_audit else ", so its scores do not count"
        return f"failed: {' and '.join(failed)} failed its audit{counted}"
    if unknown := verdicts.get("none"):
        return f"failed: {' and '.join(unknown)} was not audited"
    return f"{WARNED}{' and '.join(verdicts['warn'])}" if "warn" in verdicts else PASSED


def failed_checks(trained: Mapping[str, Path]) -> list[str]:
    """The checks that failed before a training that went on, as `fine-tuning, end token`.

    `trained` are the outputs `base`, `tuned`, `preferred` and `model`, of which there may be fewer. A base
    that was taken over from Hugging Face was not trained here; one from the registry brings along what its
    version says. A training without any checks counts as one that failed them.
    """
    found = []
    for name, training in TRAINED_AS.items():
        if name not in trained:
            continue
        folder = trained[name]
        if report := Report.find(folder):
            found += [f"{result.training}, {result.check}" for result in report.failed]
        elif name != "base" or was_trained(folder):
            found.append(f"{training}, whose checks are not on record")
        elif inherited := taken_from(folder).get("preflight", PASSED).removeprefix(PASSED):
            found.append(f"{taken_from(folder)['version']}, {inherited.removeprefix('failed: ')}")
    return found


def taken_from(base: Path) -> dict[str, str]:
    """The registered version that a base model was taken from; nothing for any other."""
    summary = ModelSummary.find(base)
    return summary.registered if summary else {}
