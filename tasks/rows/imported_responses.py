"""Rows that another tool has answered: any format of rows, and a column with the response.

The response's column is found before anything else is: a file of prompts and responses alone would otherwise
read as one of prompts and right answers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tasks.config import ResponsesConfig, RowsConfig
from tasks.data.reading import Record, RowError, short, stop, text_field
from tasks.errors import StageError
from tasks.rows.canonical import Row
from tasks.rows.conversations import messages_of
from tasks.rows.files import DataFile, data_files, records_of, survey
from tasks.rows.formats import Layout, check_columns, layout_of

if TYPE_CHECKING:  # MLflow imports pandas and pyarrow
    from tasks.record.stage import StageRun
from tasks.rows.responses import write_responses

RESPONSE_COLUMNS = (
    "model_response",
    "predict",  # LLaMA-Factory, beside `prompt` and `label`
    "prediction",
    "generated_text",
    "generation",
    "model_output",
    "response",
)
KEPT = ("instruction", "input", "output", "category", "messages", "asked_by", "tools")
STAND_IN = "-"  # for a right answer that there is not
REFERENCE_BESIDE = {"predict": "label"}  # where a tool names the right answer as no format of rows does

Values = Mapping[str, Any]


def responses(config: ResponsesConfig, run: "StageRun", *, source: Path) -> None:
    """Read every file of `source` and write `responses.jsonl`, as the generate stage does.

    Raises StageError for files and rows that cannot be used, and where the column of the responses, or that
    of the right answers, is not found.
    """
    reading = RowsConfig(columns=config.columns, splits="drawn")
    check_columns(reading)
    with TemporaryDirectory(dir=run.checkpoint) as scratch:
        found = [
            row
            for file in data_files(source, reading, Path(scratch), run.say)
            for row in _rows(file, config, reading)
        ]
    if not found:
        raise StageError("there is no row in it")
    write_responses(run.out, ({"id": place} | row for place, row in enumerate(found)))
    run.log_metrics({"rows": len(found)})
    run.progress(len(found), len(found), "rows", "")


def _rows(file: DataFile, config: ResponsesConfig, reading: RowsConfig) -> Iterator[Row]:
    columns, sample = survey(file, reading)
    if not columns:  # which leaves out rows that are malformed; their reading tells of the first
        for _ in records_of(file, reading, stop):
            continue
        return
    response = _response_column(file.name, columns, config)
    others = [column for column in columns if column != response]
    if not config.needs_reference and not _has_reference(file.name, others, reading, sample):
        yield from _questions(file, response, others, reading, sample)
        return
    if (beside := REFERENCE_BESIDE.get(response or "")) in others and not config.columns:
        reading = reading.model_copy(update={"columns": {"completion": beside}})
    try:
        layout = layout_of(file.name, others, reading, sample)
    except StageError as error:
        raise StageError(
            f"{_what_is_left(file.name, response)}. {error} Here columns are named with --column NAME=COLUMN."
        ) from error
    if layout.format == "text":  # a prompt, more likely than not: it would be its own right answer
        raise StageError(f"{_what_is_left(file.name, response)}; its columns are {_listed(columns)}.")
    if layout.kind != "completion":
        raise StageError(f"{file.name} holds {layout.kind} rows; what is judged are answers to instructions.")
    for where, record in records_of(file, reading, stop):
        texts = {name: _as_text(value) for name, value in record.items()}
        asked = {name: value for name, value in texts.items() if name != response}
        is_open = not config.needs_reference and _answer_lacking(where, asked, layout)
        try:
            row = layout.row((where, asked))
        except RowError as error:
            raise StageError(
                f"{error}. Every row needs a question and its right answer: take others out, or name the "
                "columns with --column, for example --column output=answer"
            ) from error
        answer = _answer((where, texts), response)
        kept = {name: row[name] for name in KEPT if name in row} | ({"output": ""} if is_open else {})
        yield kept | {"prompt": "", "response": answer}


def _answer_lacking(where: str, asked: dict[str, Any], layout: Layout) -> bool:
    """Whether a chat ends with the user's turn, as questions do; a text then stands for the answer."""
    if layout.format != "chat":
        return False
    column = layout.columns["messages"]
    try:
        turns = messages_of(where, column, asked.get(column))
    except RowError:
        return False  # which the reading of the row tells
    if turns[-1]["role"] != "user":
        return False
    asked[column] = [*turns, {"role": "assistant", "content": STAND_IN}]
    return True


def _has_reference(name: str, columns: list[str], reading: RowsConfig, sample: Sequence[Values]) -> bool:
    """Whether the columns beside the response hold a question with its right answer."""
    try:
        return layout_of(name, columns, reading, sample).format != "text"
    except StageError:
        return False


def _questions(
    file: DataFile,
    response: str | None,
    columns: list[str],
    reading: RowsConfig,
    sample: Sequence[Values],
) -> Iterator[Row]:
    """Rows without right answers. Every format of rows has one, so a text stands for it while one is read."""
    layout, answer = _layout_without_answers(file.name, columns, reading, sample)
    for where, record in records_of(file, reading, stop):
        texts = {name: _as_text(value) for name, value in record.items()}
        asked = {name: value for name, value in texts.items() if name != response}
        row = layout.row((where, asked | {answer: STAND_IN}))
        kept = {name: row[name] for name in KEPT if name in row}
        yield kept | {"output": "", "prompt": "", "response": _answer((where, texts), response)}


def _layout_without_answers(
    name: str, columns: list[str], reading: RowsConfig, sample: Sequence[Values]
) -> tuple[Layout, str]:
    """How the questions are to be read, and the column that the answers would be in.

    Raises StageError where the columns hold no questions.
    """
    for answer in ("output", "completion", "target"):
        try:
            with_answers = [values | {answer: STAND_IN} for values in sample]
            return layout_of(name, [*columns, answer], reading, with_answers), answer
        except StageError:
            continue
    raise StageError(
        f"{name} holds no questions; its columns beside the responses are {_listed(columns)}. Expected an "
        "instruction, a prompt or a source; columns are named with --column NAME=COLUMN, for example "
        "--column instruction=task"
    )


def _what_is_left(name: str, response: str | None) -> str:
    beside = "" if response is None else f" beside the responses in {response!r}"
    return f"{name} holds no questions with their right answers{beside}"


def _listed(columns: list[str]) -> str:
    return ", ".join(map(short, columns)) or "none"


def _response_column(name: str, columns: list[str], config: ResponsesConfig) -> str | None:
    if config.response is not None:
        if config.response not in columns:
            raise StageError(f"{name} has no column {config.response!r}; its columns are {_listed(columns)}.")
        return config.response
    found = next((column for column in RESPONSE_COLUMNS if column in columns), None)
    if found is None and config.needs_response:
        raise StageError(
            f"{name}: no column holds the responses; looked for {', '.join(RESPONSE_COLUMNS)}, its columns "
            f"are {_listed(columns)}. Name it with --response."
        )
    return found if config.needs_response else None


def _as_text(value: Any) -> Any:
    """A number as it would be written; tools that compute answers leave them as numbers."""
    return json.dumps(value) if type(value) in (int, float) else value


def _answer(record: Record, column: str | None) -> str:
    """The response, which may be empty; null is."""
    if column is None or record[1].get(column) is None:
        return ""
    return text_field(record, column, required=False)
