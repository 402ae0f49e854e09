"""What is responded to: the test rows of a pipeline, or rows of anyone's, with or without references."""

from pathlib import Path

from tasks.errors import StageError
from tasks.machine.json_files import read_lines
from tasks.models.summary import ModelSummary
from tasks.rows import Row, load_split

RESPONSES = "responses.jsonl"  # of a responses stage, which reads rows without splitting them
NOT_ASKED = ("prompt", "response")  # of its rows, what this stage writes


def prompted(rows: Path) -> list[Row]:
    """The rows of an output of a rows stage or of a responses stage."""
    path = rows / RESPONSES
    if not path.is_file():
        return load_split(rows, "test")
    return [{name: value for name, value in row.items() if name not in NOT_ASKED} for row in read_lines(path)]


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
