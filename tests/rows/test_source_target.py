"""Sources and targets as rows: documents and summaries, translations by their languages, a task prefix."""

import json

import pytest

from tasks.config import RowsConfig
from tasks.errors import StageError
from tasks.rows.formats import layout_of

TRANSLATION = {"translation": {"en": "A pear.", "de": "Eine Birne."}}


def row_of(record, **settings):
    layout = layout_of("rows.jsonl", record, RowsConfig(**settings), [record])
    return layout.format, layout.row(("line 1", record))


@pytest.mark.parametrize(
    "names",
    [("source", "target"), ("document", "summary"), ("article", "highlights"), ("dialogue", "summary")],
)
def test_sources_and_targets_are_recognised_by_their_columns(names):
    record = dict(zip(names, ("A long text.", "Short."), strict=True))
    chosen, row = row_of(record)
    assert chosen == "source-target"
    assert (row["instruction"], row["input"], row["output"]) == ("A long text.", "", "Short.")


def test_instructions_with_a_column_source_stay_instructions():
    record = {"instruction": "Say pear.", "output": "pear", "source": "a book", "target": "children"}
    assert row_of(record)[0] == "alpaca"


def test_a_translation_is_read_by_its_two_languages():
    columns = {"source": "translation.en", "target": "translation.de"}
    chosen, row = row_of(TRANSLATION, columns=columns, prefix="translate English to German: ")
    assert chosen == "source-target"
    assert row["instruction"] == "translate English to German: A pear."
    assert row["output"] == "Eine Birne."


def test_a_translation_whose_languages_are_not_named_is_told_how():
    named = r"rows\.columns=\{source: translation\.en, target: translation\.de\}"
    with pytest.raises(StageError, match=named):
        row_of(TRANSLATION)


def test_a_language_that_a_record_lacks_is_named():
    columns = {"source": "translation.en", "target": "translation.fr"}
    with pytest.raises(Exception, match=r"translation\.fr"):
        row_of(TRANSLATION, columns=columns)


def test_a_prefix_goes_with_sources_alone():
    with pytest.raises(StageError, match=r"rows\.prefix is put before the sources"):
        row_of({"instruction": "Say pear.", "output": "pear"}, prefix="summarize: ")


def test_settings_of_sources_are_kept_as_they_are_given():
    assert json.loads(RowsConfig(prefix="summarize: ").model_dump_json())["prefix"] == "summarize: "
