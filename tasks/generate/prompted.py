"""What is responded to: the test rows of a pipeline, or rows of anyone's, with or without references."""

from pathlib import Path

from tasks.errors import StageError
from tasks.models.summary import ModelSummary
from tasks.rows import Row, load_split
from tasks.rows.responses import has_responses, read_responses

NOT_ASKED = ("prompt", "response")  # of rows that were not split, what this stage writes


def prompted(rows: Path) -> list[Row]:
    """The rows of an output of a rows stage or of a responses stage."""
    if not has_responses(rows):
        return load_split(rows, "test")
    return [
        {name: value for name, value in row.items() if name not in NOT_ASKED} for row in read_responses(rows)
    ]


def has_reference(row: Row) -> bool:
    """Whether a right answer is known; an empty one is none."""
    return row["output"] != ""


def require_writes(model: Path) -> None:
    """Raise StageError for a classifier."""
    summary = ModelSummary.find(model)
    if summary and summary.classifies:
        raise StageError(
            f"the model is a classifier: it gives labels ({', '.join(summary.labels)}), and writes no text"
        )
