"""Where labels are kept: as assessments on traces of MLflow, by whom and when.

The labels of one file of responses hang on traces of their own, one a row, under an MLflow run that names the
responses by their digest: whatever judged them, and however often, they are the same labels. The traces of
the judging are others, since they show what the judge gave. The run holds how the rows are drawn
(`design.json`). A label is written the moment it is given.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import mlflow
from mlflow.entities import Assessment, AssessmentSource, AssessmentSourceType, Feedback, SpanType, Trace
from mlflow.exceptions import MlflowException

from tasks.errors import StageError
from tasks.judge.labels.queue import Save
from tasks.judge.labels.sample import Design
from tasks.judge.labels.scale import LABELS, label_of
from tasks.judge.protocol.responses import ResponseRow
from tasks.machine.locks import holding
from tasks.record.tracking import Tracking, traces_of
from tasks.record.work import Reference

KIND, OF = "touchstone.kind", "touchstone.labels.of"
SET = "labels"  # the kind of a run that labels hang on
DRAWN = "touchstone.labels.drawn"  # the most rows that were ever drawn
ROW = "touchstone.labels.row"  # tag of a trace
LABEL = "label"  # the assessment's name
DESIGN = "design.json"
LONGEST = 250  # characters of a person's name


class Label(NamedTuple):
    """One person's label of one row; `at` is in UTC."""

    row: int
    by: str
    label: int
    at: str


@dataclass
class LabelSet:
    """The labels of one file of responses."""

    tracking: Tracking
    run_id: str
    of: str
    """The digest of the responses."""
    design: Design
    unreadable: tuple[str, ...] = ()
    """What stands among the labels and is none: told, and left out."""

    @classmethod
    def find(cls, tracking: Tracking, of: str) -> Self | None:
        """The set of some responses; of two that were begun at the same time, the first."""
        runs = tracking.client.search_runs(
            [tracking.experiment_id],
            f"tags.`{OF}` = '{of}' AND tags.`{KIND}` = '{SET}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        if not runs:
            return None
        run_id = runs[0].info.run_id
        try:
            design = mlflow.artifacts.load_dict(f"{runs[0].info.artifact_uri}/{DESIGN}")
        except MlflowException as error:
            raise StageError(
                f"how rows were drawn for the labels in MLflow run {run_id} cannot be read: {error}. Delete "
                "that run to begin anew; its labels are then no longer used"
            ) from error
        return cls(tracking, run_id, of, Design.model_validate(design))

    @classmethod
    def open(cls, tracking: Tracking, responses: Reference, name: str, design: Callable[[], Design]) -> Self:
        """The set of some responses, begun with a design where there is none."""
        with holding(tracking.work / f"labels-{responses.digest}.lock"):
            if found := cls.find(tracking, responses.digest):
                return found
            made = design()
            tags = {"mlflow.runName": f"labels of {name}", "touchstone.responses": responses.run_id}
            run = tracking.client.create_run(tracking.experiment_id, tags=tags)
            tracking.client.log_dict(run.info.run_id, made.model_dump(mode="json"), DESIGN)
            for tag, value in {OF: responses.digest, KIND: SET}.items():  # last: a set that has them is whole
                tracking.client.set_tag(run.info.run_id, tag, value)
            tracking.client.set_terminated(run.info.run_id)
            return cls(tracking, run.info.run_id, responses.digest, made)

    def draw(self, count: int) -> list[int]:
        """Ids of the rows that are asked about, at least `count` where there are as many."""
        if count > self._drawn():
            self.tracking.client.set_tag(self.run_id, DRAWN, count)
        return self.design.drawn(count)

    def asked(self) -> set[int]:
        """Ids of all rows that anybody was asked about."""
        return set(self.design.drawn(self._drawn()))

    def _drawn(self) -> int:
        return int(self.tracking.client.get_run(self.run_id).data.tags.get(DRAWN, 0))

    def labels(self) -> list[Label]:
        """Every label, in the order of rows and people; of two by one person the later one."""
        latest: dict[tuple[int, str], tuple[int, Label]] = {}
        unreadable = []
        for trace in self._traces():
            row = int(trace.info.tags[ROW])
            for given in trace.info.assessments:
                if not _is_label(given):
                    continue
                value = label_of(given.feedback.value if given.feedback else None)
                if value is None:
                    found = given.feedback.value if given.feedback else given.error
                    unreadable.append(
                        f"row {row}: {given.source.source_id} gave {found!r:.40}; expected {LABELS[0]} to "
                        f"{LABELS[-1]}"
                    )
                    continue
                at = given.last_update_time_ms
                label = Label(row, given.source.source_id, value, _utc(at))
                key = row, label.by
                if key not in latest or latest[key][0] <= at:
                    latest[key] = at, label
        self.unreadable = tuple(unreadable)
        return sorted(label for _, label in latest.values())

    def given_by(self, by: str) -> dict[int, int]:
        """One person's labels by row."""
        return {one.row: one.label for one in self.labels() if one.by == by}

    def with_traces(self, rows: Sequence[ResponseRow]) -> dict[int, str]:
        """The id of the trace of each row, made where there is none."""
        found = {int(trace.info.tags[ROW]): trace.info.trace_id for trace in self._traces()}
        made = {row.id: self._begin(row) for row in rows if row.id not in found}
        if made:
            mlflow.flush_trace_async_logging()
        for row in rows:
            if row.id in made:
                mlflow.log_expectation(trace_id=made[row.id], name="expected_response", value=row.reference)
        return found | made

    def saver(self, rows: Sequence[ResponseRow], by: str) -> Save:
        """What keeps a person's labels of these rows, each the moment it is given."""
        of = {row.id: row for row in rows}
        traces: dict[int, str] = {}

        def save(row: int, label: int) -> None:
            if row not in traces:
                traces.update(self.with_traces([of[row]]))
            self.save(traces[row], label, by)

        return save

    def save(self, trace_id: str, label: int, by: str) -> None:
        """Write a person's label of a row; one that the person gave before is changed."""
        own = [
            given
            for given in self.tracking.client.get_trace(trace_id, flush=False).info.assessments
            if _is_label(given) and given.source.source_id == by
        ]
        feedback = Feedback(name=LABEL, value=label, source=AssessmentSource(AssessmentSourceType.HUMAN, by))
        if own:
            mlflow.update_assessment(trace_id, own[-1].assessment_id, feedback)
        else:
            mlflow.log_assessment(trace_id, feedback)

    def _begin(self, row: ResponseRow) -> str:
        client = self.tracking.client
        inputs: dict[str, Any] = {"input": "\n".join(row.question)}
        if row.before:
            inputs["messages"] = [turn._asdict() for turn in row.before]
        root = client.start_trace(
            f"row {row.id} to label",
            span_type=SpanType.UNKNOWN,
            inputs=inputs,
            tags={ROW: str(row.id)},
            experiment_id=self.tracking.experiment_id,
            run_id=self.run_id,
        )
        client.end_trace(root.trace_id, outputs={"response": row.response})
        return root.trace_id

    def _traces(self) -> Iterator[Trace]:
        for trace in traces_of(self.tracking, self.run_id):
            if trace.info.tags.get(ROW, "").isdecimal():
                yield trace


def _is_label(given: Assessment) -> bool:
    """Whether a person wrote an assessment as a label; one that was overridden counts no more."""
    by_a_person = given.source.source_type == AssessmentSourceType.HUMAN
    return given.name == LABEL and by_a_person and given.valid is not False


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def by_row(labels: Sequence[Label]) -> dict[int, list[Label]]:
    """The labels of each row, in the order of people."""
    found: dict[int, list[Label]] = {}
    for label in labels:
        found.setdefault(label.row, []).append(label)
    return found


def snapshot(tracking: Tracking, of: str) -> Mapping[str, Any] | None:
    """All labels of some responses as JSON values, as the labels stage writes them; None without any."""
    found = LabelSet.find(tracking, of)
    labels = by_row(found.labels()) if found else {}
    if not found or not labels:
        return None
    chances = found.design.chances(labels)
    return {
        "of": of,
        "design": {"seed": found.design.seed, "scorer": found.design.scorer, "rows": found.design.rows},
        "labels": [
            {
                "id": row,
                "chance": chances[row],
                "given": [{"by": one.by, "label": one.label, "at": one.at} for one in own],
            }
            for row, own in labels.items()
        ],
        "unreadable": list(found.unreadable),
    }
