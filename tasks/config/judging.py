"""Configuration of judging: who scores, how it is asked, when it is believed, and what is compared."""

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.config.base import (
    OUTSIDE_KEY,
    Device,
    Fraction,
    Positive,
    Seed,
    StageConfig,
    one_of,
    without_login,
)
from tasks.config.criteria import Criterion
from tasks.config.gates import ChoiceGatesConfig, GatesConfig
from tasks.config.judge_kinds import KINDS, kind_of
from tasks.config.servers import ServerConfig

PANEL = "panel"  # the scorer's name under which several judges' mean stands
NO_CRITERION = "and by no criterion"
METRICS = ("chrf", "bleu", "rouge-1", "rouge-2", "rouge-l", "exact")
JUDGES = [f"{kind}:MODEL" for kind in KINDS]
EXPECTED_JUDGE = one_of(JUDGES)
EXPECTED_TOLD = one_of([f"{name}:MODEL" for name, kind in KINDS.items() if kind.reads != "rewards"])
"""Judges that are told in words what to look at."""
EXPECTED = one_of([*JUDGES, *(f"metric:{name}" for name in METRICS)])


def is_scorer(name: str) -> bool:
    """Whether a name is of a judge or a metric."""
    kind, colon, which = name.partition(":")
    if kind == "metric":
        return which in METRICS
    return bool(kind in KINDS and colon and which and not re.search(r"\s", which))


class AskConfig(ServerConfig):
    """Who scores, and how it is asked."""

    SECTION: ClassVar[str] = "judge"
    """Where its settings stand in a profile, for messages."""
    ROLE: ClassVar[str] = "the judge"
    """What messages call who is asked."""
    REFUSED: ClassVar[str] = "to judge"
    """What a server does not do that refuses."""

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
            if not isinstance(name, str) or not is_scorer(name):
                quoting = "" if isinstance(value, str) else "; one with a comma in its name goes in quotes"
                raise ValueError(f"{name!r} is no scorer; expected {EXPECTED}{quoting}")
        return value

    @field_validator("host")
    @classmethod
    def _host_without_login(cls, value: str | None) -> str | None:
        return without_login(value)

    @model_validator(mode="after")
    def _several_are_judges(self) -> Self:
        if not isinstance(self.scorer, str) and (
            len(self.scorer) < 2 or len(set(self.scorer)) < len(self.scorer) or self.judges != self.scorer
        ):
            raise ValueError(
                "a list of scorers is of two different judges or more; the metrics always stand beside them"
            )
        others = [scorer for scorer in self.judges if kind_of(scorer).reads != "text"]
        if self.prompt == "plain" and others:
            raise ValueError(f"prompt: plain is not for {others[0]}, which answers with no text")
        return self

    def require_words(self, what: str) -> None:
        """Raise ValueError for a reward model, which cannot be told `what` it is to look at."""
        rewards = [scorer for scorer in self.judges if kind_of(scorer).reads == "rewards"]
        if rewards:
            raise ValueError(
                f"{what} are for judges that are told in words what to look at; {rewards[0]} is a reward "
                "model, which says what a response is worth by what it has learned"
            )


class AuditConfig(AskConfig):
    """The audit of one judge on rows whose right answers are known."""

    mode: Annotated[
        Literal["scores", "pairwise"],
        Field(description="scores: of the scores that it gives; pairwise: of its choices between two"),
    ] = "scores"
    criterion: Annotated[
        Criterion | None, Field(description="what the judge is asked; none: what the reference says")
    ] = None
    choice_gates: ChoiceGatesConfig = ChoiceGatesConfig()
    sample: Annotated[Positive | None, Field(description="rows drawn by the seed; null: all of them")] = None
    gates: GatesConfig = GatesConfig()
    resamples: Annotated[Positive, Field(description="bootstrap resamples of the intervals")] = 10_000

    @property
    def reference_shown(self) -> bool:
        """Whether the judge is shown a reference, against which answers can be right and wrong."""
        return self.criterion is None or self.criterion.is_falsifiable

    @model_validator(mode="after")
    def _audits_one_judge(self) -> Self:
        if len(self.judges) != 1:
            raise ValueError(f"an audit is of one judge: {EXPECTED_JUDGE}")
        return self

    @model_validator(mode="after")
    def _asks_one_way(self) -> Self:
        if self.criterion or self.mode == "pairwise":
            self.require_words("criteria and choices between two")
        if self.criterion and self.mode == "pairwise":
            raise ValueError(f"mode: pairwise asks which is closer to the reference, {NO_CRITERION}")
        if self.criterion and self.prompt == "plain":
            raise ValueError(f"prompt: plain asks for a bare number, {NO_CRITERION}")
        return self


class JudgeConfig(AskConfig):
    """Who scores the responses. The reference metrics are always computed beside a judge."""

    criteria: Annotated[
        tuple[Criterion, ...],
        Field(
            description="what a judge is asked, each by itself; the overall score is their mean by weight; "
            "none: whether the response says what the reference says"
        ),
    ] = ()
    audit_rows: Annotated[
        Positive,
        Field(description="test rows that a judge is audited on before its first use on them"),
        OUTSIDE_KEY,
    ] = 30
    gates: Annotated[
        GatesConfig,
        Field(description="what the audit asks of a judge's scores"),
        OUTSIDE_KEY,  # the audit has a record of its own
    ] = GatesConfig()
    choice_gates: Annotated[
        ChoiceGatesConfig, Field(description="what the audit asks of a judge's choices"), OUTSIDE_KEY
    ] = ChoiceGatesConfig()
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

    @property
    def asked(self) -> tuple[tuple[str, Criterion | None], ...]:
        """Every judge with every criterion that it is asked about; None where there are none."""
        return tuple((scorer, criterion) for scorer in self.judges for criterion in self.criteria or (None,))

    @property
    def needs_reference(self) -> bool:
        """Whether rows without a right answer could not be scored."""
        return not self.criteria or any(criterion.reference == "shown" for criterion in self.criteria)

    @model_validator(mode="after")
    def _criteria_are_asked_of_judges(self) -> Self:
        names = [criterion.name for criterion in self.criteria]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"criteria: {', '.join(twice)} is a duplicate; each has a name of its own")
        if names and not self.judges:
            raise ValueError(
                f"criteria are asked of a judge, and scorer is {self.scorer}; expected {EXPECTED_TOLD}"
            )
        if names and self.prompt == "plain":
            raise ValueError(f"prompt: plain asks for a bare number, {NO_CRITERION}")
        if names:
            self.require_words("criteria")
        return self

    def audit_of(
        self,
        scorer: str,
        mode: Literal["scores", "pairwise"] = "scores",
        criterion: Criterion | None = None,
    ) -> AuditConfig:
        """The audit that one of the judges must pass, on a criterion where it is asked about one."""
        asked = {name: getattr(self, name) for name in AskConfig.model_fields}
        return AuditConfig(
            **asked | {"scorer": scorer},
            sample=self.audit_rows,
            mode=mode,
            criterion=criterion and criterion.unweighted,
            gates=self.gates,
            choice_gates=self.choice_gates,
            resamples=self.resamples,
        )


class CompareConfig(AskConfig):
    """Two models' responses to the same rows, compared row by row."""

    mode: Annotated[
        Literal["scores", "pairwise"],
        Field(description="scores: by what each response was given; pairwise: a judge is shown both"),
    ] = "scores"
    despite_audit: Annotated[
        bool, Field(description="count the choices of a judge that failed its audit; the run says so")
    ] = False
    max_missing: Annotated[
        Fraction, Field(description="above this share of rows without a choice no side is ahead")
    ] = 0.05
    max_contradictions: Annotated[
        Fraction,
        Field(
            description="share of rows in whose two orders a judge may contradict itself; over it nobody wins"
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
        if self.mode == "pairwise":
            self.require_words("choices between two")
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
        bool, Field(description="false: the rows are only questions with their right answers")
    ] = True
    needs_reference: Annotated[
        bool, Field(description="false: there may be no column of right answers, which no criterion looks at")
    ] = True


class LabelsConfig(StageConfig):
    """People's labels of some responses, as they are."""

    of: Annotated[str, Field(description="the digest of the responses")]
