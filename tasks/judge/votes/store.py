"""Where votes are kept: as assessments on traces of MLflow, a trace a vote, under one run of the store.

A trace holds what both models were asked and what each answered; its tags name the models, and the assessment
says which answer was preferred, by whom and when. Whether the models' names were hidden until then is kept,
since a vote on names is worth less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self, get_args

import mlflow
from mlflow.entities import Assessment, AssessmentSource, AssessmentSourceType, Feedback, SpanType, Trace

from tasks.data.reading import Message
from tasks.machine.locks import holding
from tasks.record.tracking import Tracking, traces_of

KIND = "touchstone.kind"
VOTES = "votes"  # the kind of the run that votes hang on
MODELS = ("touchstone.vote.a", "touchstone.vote.b")  # tags of a trace
PREFERRED = "preferred"  # the assessment's name

Choice = Literal["a", "b", "tie", "neither"]
"""Which answer is better: A's, B's, both are as good, or none is any good."""


@dataclass(frozen=True)
class Exchange:
    """What two models, A and B, were asked and answered."""

    models: tuple[str, str]
    conversations: tuple[Sequence[Message], Sequence[Message]]
    """What each was asked: its turns with the newest message last."""
    answers: tuple[str, str]
    settings: Mapping[str, object]
    """How the answers were chosen."""
    blind: bool
    """Whether the models' names were hidden until the vote."""

    @property
    def is_shared(self) -> bool:
        """Whether both were asked the same."""
        return list(self.conversations[0]) == list(self.conversations[1])


@dataclass(frozen=True)
class Vote:
    """One person's choice between two answers; `at` is ISO 8601, in UTC."""

    exchange: Exchange
    preferred: Choice
    by: str
    at: str

    @classmethod
    def of(cls, trace: Trace) -> Self | None:
        """The vote that a trace holds; None for one that holds none, as one that was interrupted."""
        given = next((one for one in reversed(trace.info.assessments) if _is_vote(one)), None)
        tags = trace.info.tags
        if given is None or not trace.data.spans or not tags.keys() >= set(MODELS):
            return None
        asked, answered = trace.data.spans[0].inputs, trace.data.spans[0].outputs
        exchange = Exchange(
            models=(tags[MODELS[0]], tags[MODELS[1]]),
            conversations=(asked["a"], asked["b"]),
            answers=(answered["a"], answered["b"]),
            settings=asked["settings"],
            blind=asked["blind"],
        )
        at = datetime.fromtimestamp(given.last_update_time_ms / 1000, UTC)
        return cls(
            exchange,
            given.feedback.value,
            given.source.source_id,
            at.isoformat(timespec="milliseconds"),
        )


def save_vote(tracking: Tracking, exchange: Exchange, preferred: Choice, by: str) -> None:
    """Keep a vote, at once."""
    client = tracking.client
    root = client.start_trace(
        "A or B",
        span_type=SpanType.UNKNOWN,
        inputs={
            "a": list(exchange.conversations[0]),
            "b": list(exchange.conversations[1]),
            "settings": dict(exchange.settings),
            "blind": exchange.blind,
        },
        tags=dict(zip(MODELS, exchange.models, strict=True)),
        experiment_id=tracking.experiment_id,
        run_id=_run_of_votes(tracking),
    )
    client.end_trace(root.trace_id, outputs=dict(zip("ab", exchange.answers, strict=True)))
    mlflow.flush_trace_async_logging()
    source = AssessmentSource(AssessmentSourceType.HUMAN, by)
    mlflow.log_assessment(root.trace_id, Feedback(name=PREFERRED, value=preferred, source=source))


def votes(tracking: Tracking) -> list[Vote]:
    """Every vote in the store, in the order in which they were given."""
    run_id = _find_run(tracking)
    traces = traces_of(tracking, run_id, spans=True) if run_id else ()
    return sorted((vote for trace in traces if (vote := Vote.of(trace))), key=lambda vote: vote.at)


def _run_of_votes(tracking: Tracking) -> str:
    with holding(tracking.work / "votes.lock"):
        if found := _find_run(tracking):
            return found
        tags = {"mlflow.runName": "votes", KIND: VOTES}
        run_id = tracking.client.create_run(tracking.experiment_id, tags=tags).info.run_id
        tracking.client.set_terminated(run_id)
        return run_id


def _find_run(tracking: Tracking) -> str | None:
    """Of two that two machines began at the same time, the first."""
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{KIND}` = '{VOTES}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return found[0].info.run_id if found else None


def _is_vote(given: Assessment) -> bool:
    """Whether a person wrote an assessment as a vote; one that was overridden counts no more."""
    by_a_person = given.source.source_type == AssessmentSourceType.HUMAN
    known = given.feedback is not None and given.feedback.value in get_args(Choice)
    return given.name == PREFERRED and by_a_person and given.valid is not False and known
