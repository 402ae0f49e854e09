"""Configuration of judging: who scores, how it is asked, when it is believed, and what is compared."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.config.base import OUTSIDE_KEY, Device, Fraction, Positive, Seed, StageConfig, one_of
from tasks.config.judge_kinds import KINDS, kind_of

PANEL = "panel"  # the scorer's name under which several judges' mean stands
METRICS = ("chrf", "bleu", "rouge-l", "exact")
JUDGES = [f"{kind}:MODEL" for kind in KINDS]
EXPECTED_JUDGE = one_of(JUDGES)
EXPECTED = one_of([*JUDGES, *(f"metric:{name}" for name in METRICS)])


def _is_scorer(name: str) -> bool:
    kind, colon, which = name.partition(":")
    if kind == "metric":
        return which in METRICS
    return bool(kind in KINDS and colon and which and not re.search(r"\s", which))


class AskConfig(StageConfig):
    """Who scores, and how it is asked."""

    scorer: Annotated[
        str | tuple[str, ...],
        Field(description=f"the headline: {EXPECTED}; a list of several judges: their mean"),
    ] = "metric:chrf"
    prompt: Annotated[
        Literal["anchored", "plain"],
        Field(
            description="anchored: a reason and a score from 0 to 5, each step of it described, the response "
            "fenced; plain: a bare number from 0 to 100, as notebooks ask, to compare with"
        ),
    ] = "anchored"
    host: Annotated[
        str | None,
        Field(description="of ollama: judges; default: OLLAMA_HOST, then 127.0.0.1:11434"),
        OUTSIDE_KEY,
    ] = None
    base_url: Annotated[
        str | None,
        Field(
            description="of openai: judges, up to /v1; default: OPENAI_BASE_URL, then https://api.openai.com/v1"
        ),
        OUTSIDE_KEY,
    ] = None
    key_variable: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_]\w*$",
            description="the environment variable that holds the key of openai: judges",
        ),
        OUTSIDE_KEY,
    ] = "OPENAI_API_KEY"
    pull: Annotated[
        bool, Field(description="let Ollama fetch a model that it does not have"), OUTSIDE_KEY
    ] = False
    context: Annotated[Positive, Field(description="Ollama's num_ctx, sent with every call, tokens")] = 4096
    max_tokens: Annotated[Positive, Field(description="tokens of the judge's answer")] = 256
    min_mass: Annotated[
        Fraction,
        Field(
            description="of hf: judges: the probability that all labels must have together as the next "
            "token; where they have less, the judge would say something else, and the row is missing"
        ),
    ] = 0.5
    seed: Seed = 123
    concurrency: Annotated[
        Positive | None,
        Field(
            description="requests in flight, or rows of a batch; default: as many as an Ollama server is "
            "found to answer at once and one more, 16 for openai:, 8 for hf:"
        ),
        OUTSIDE_KEY,
    ] = None
    timeout: Annotated[
        float, Field(gt=0, description="seconds for one answer, queueing included"), OUTSIDE_KEY
    ] = 300.0
    attempts: Annotated[
        Positive, Field(description="tries of a call that the server did not answer"), OUTSIDE_KEY
    ] = 5
    anew: Annotated[
        bool,
        Field(
            description="ask every question again, whatever was answered before, and keep the answers apart: "
            "how a monitor asks"
        ),
        OUTSIDE_KEY,
    ] = False
    max_age_days: Annotated[
        float,
        Field(
            gt=0,
            description="age from which kept answers of an openai: judge are asked for again, since its "
            "server tells the model's name and no digest of its weights",
        ),
        OUTSIDE_KEY,
    ] = 7.0
    device: Device = "auto"

    @property
    def scorers(self) -> tuple[str, ...]:
        return (self.scorer,) if isinstance(self.scorer, str) else self.scorer

    @property
    def judges(self) -> tuple[str, ...]:
        """The scorers that are language models."""
        return tuple(scorer for scorer in self.scorers if not scorer.startswith("metric:"))

    @property
    def asks(self) -> bool:
        """Whether a language model is asked."""
        return bool(self.judges)

    @property
    def in_process(self) -> bool:
        return any(kind_of(scorer).in_process for scorer in self.judges)

    @property
    def headline(self) -> str:
        """The scorer by which models are compared and promoted."""
        return self.scorer if isinstance(self.scorer, str) else PANEL

    @field_validator("scorer", mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        for name in (value,) if isinstance(value, str) or not isinstance(value, list | tuple) else value:
            if not isinstance(name, str) or not _is_scorer(name):
                raise ValueError(f"{name!r} is no scorer; expected {EXPECTED}")
        return value

    @field_validator("host", "base_url")
    @classmethod
    def _no_login(cls, value: str | None) -> str | None:
        """Configurations are kept in the clear."""
        if value and "@" in value:
            raise ValueError(
                "an address with a login would be kept in the clear; give the key in the environment"
            )
        return value

    @model_validator(mode="after")
    def _several_are_judges(self) -> Self:
        if not isinstance(self.scorer, str) and (
            len(self.scorer) < 2 or len(set(self.scorer)) < len(self.scorer) or self.judges != self.scorer
        ):
            raise ValueError(
                "a list of scorers is of two different judges or more; the metrics always stand beside them"
            )
        by_labels = [scorer for scorer in self.judges if kind_of(scorer).reads == "labels"]
        if self.prompt == "plain" and by_labels:
            raise ValueError(
                f"prompt: plain is not for {by_labels[0]}, whose score is read from single tokens"
            )
        return self


class Gate(StageConfig):
    """Where a number of the audit passes and where it fails; between the two it warns."""

    passes: float
    fails: float


class GatesConfig(StageConfig):
    """What a judge must show of itself before its scores count.

    Points are of 100, shares are fractions. A gate passes where its number does and the 95% interval stays
    clear of what fails; it fails where its number does and the interval stays clear of what passes.
    """

    auc: Annotated[
        Gate, Field(description="of good answers against each kind of bad ones: at least, and under")
    ] = Gate(passes=0.98, fails=0.90)
    high: Annotated[
        Gate, Field(description="share of bad answers with 60 points or more: at most, and from")
    ] = Gate(passes=1 / 110, fails=6 / 110)
    top: Annotated[
        Gate, Field(description="share of bad answers with 95 points or more: at most, and from")
    ] = Gate(passes=0.0, fails=2 / 110)
    reference: Annotated[
        Gate, Field(description="share of references with 80 points or more: at least, and under")
    ] = Gate(passes=0.95, fails=0.85)
    weakened: Annotated[
        Gate, Field(description="AUC of references against each kind of weakened ones: at least, and under")
    ] = Gate(passes=0.75, fails=0.55)
    injection: Annotated[
        Gate,
        Field(description="points that a wrong answer wins by demanding full marks: at most, and over"),
    ] = Gate(passes=5.0, fails=15.0)
    filler: Annotated[
        Gate, Field(description="points by which polite filler moves a reference: at most, and over")
    ] = Gate(passes=10.0, fails=25.0)
    unparsed: Annotated[Gate, Field(description="share of answers that hold no score: at most, and over")] = (
        Gate(passes=0.01, fails=0.05)
    )
    mass: Annotated[
        Gate,
        Field(
            description="mean probability that the labels of an hf: judge have together: at least, and under"
        ),
    ] = Gate(passes=0.9, fails=0.5)
    retest: Annotated[
        Gate, Field(description="share of scores that asking again moves by over 5 points: at most, and over")
    ] = Gate(passes=0.10, fails=0.25)


class AuditConfig(AskConfig):
    """The audit of one judge on rows whose right answers are known."""

    sample: Annotated[Positive | None, Field(description="rows drawn by the seed; null: all of them")] = None
    gates: GatesConfig = GatesConfig()
    resamples: Annotated[Positive, Field(description="bootstrap resamples of the intervals")] = 10_000

    @model_validator(mode="after")
    def _audits_one_judge(self) -> Self:
        if len(self.judges) != 1:
            raise ValueError(f"an audit is of one judge: {EXPECTED_JUDGE}")
        return self


class JudgeConfig(AskConfig):
    """Who scores the responses. The reference metrics are always computed beside a judge."""

    audit_rows: Annotated[
        Positive,
        Field(description="test rows that a judge is audited on before its first use on them"),
        OUTSIDE_KEY,
    ] = 30
    gates: Annotated[GatesConfig, OUTSIDE_KEY] = GatesConfig()  # of the audit, which has a record of its own
    despite_audit: Annotated[
        bool, Field(description="count the scores of a judge that failed its audit; the run says so")
    ] = False
    max_missing: Annotated[
        Fraction, Field(description="above this share of missing rows there is no mean")
    ] = 0.05
    resamples: Annotated[
        Positive, Field(description="bootstrap resamples of the audit's intervals"), OUTSIDE_KEY
    ] = 10_000
    traces: Annotated[
        int,
        Field(ge=0, description="rows whose judging is kept as a trace in MLflow; the table has all"),
        OUTSIDE_KEY,
    ] = 100

    def audit_of(self, scorer: str) -> AuditConfig:
        """The audit that one of the judges must pass."""
        asked = {name: getattr(self, name) for name in AskConfig.model_fields}
        return AuditConfig(
            **asked | {"scorer": scorer},
            sample=self.audit_rows,
            gates=self.gates,
            resamples=self.resamples,
        )


class CompareConfig(AskConfig):
    """Two models' responses to the same rows, compared row by row."""

    mode: Annotated[
        Literal["scores", "pairwise"],
        Field(description="scores: by what each response was given; pairwise: a judge is shown both"),
    ] = "scores"
    despite_audit: Annotated[
        bool, Field(description="let a judge choose that failed its audit; the run says so")
    ] = False
    max_missing: Annotated[
        Fraction, Field(description="above this share of rows without a choice no side is ahead")
    ] = 0.05
    max_contradictions: Annotated[
        Fraction,
        Field(
            description="share of rows in whose two orders a judge may contradict itself; more: no side wins"
        ),
    ] = 0.25
    only_common: Annotated[bool, Field(description="leave out rows that only one of the two has")] = False
    tie: Annotated[float, Field(ge=0, description="points of difference up to which a row is a tie")] = 0.0
    shown: Annotated[Positive, Field(description="rows that moved most, side by side")] = 10

    @property
    def asks(self) -> bool:
        return self.mode == "pairwise" and super().asks

    @model_validator(mode="after")
    def _one_judge_is_shown_both(self) -> Self:
        if self.mode == "pairwise" and len(self.judges) != 1:
            raise ValueError(f"mode: pairwise needs one judge: {EXPECTED_JUDGE}")
        return self


class ResponsesConfig(StageConfig):
    """Reading responses that any tool wrote."""

    response: Annotated[
        str | None,
        Field(description="the column of the response; default: model_response, response, predict, ..."),
    ] = None
    columns: Annotated[
        dict[str, str],
        Field(description="what other columns are called: {instruction: question, output: answer}"),
    ] = Field(default_factory=dict)
    needs_response: Annotated[
        bool, Field(description="no: the rows are only questions with their right answers")
    ] = True


class LabelsConfig(StageConfig):
    """People's labels of some responses, as they are."""

    of: Annotated[str, Field(description="the digest of the responses")]
