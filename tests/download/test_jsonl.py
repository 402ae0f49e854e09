"""The rows of a Hugging Face data set: labels by their names."""

import datasets
import pytest

from tasks.config import Source
from tasks.download.hub import dataset_rows

FEATURES = datasets.Features(
    {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["ham", "spam"])}
)
NUMBERED = {"text": ["a", "b", "c", "d"], "label": [0, 1, -1, None]}


@pytest.mark.parametrize("streaming", [False, True])
def test_numbered_labels_are_given_by_name_and_hidden_as_null(monkeypatch, streaming):
    made = datasets.Dataset.from_dict(NUMBERED, features=FEATURES)
    made = made.to_iterable_dataset() if streaming else made
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: made)
    assert list(dataset_rows(Source(dataset="owner/messages"))) == [
        {"text": "a", "label": "ham"},
        {"text": "b", "label": "spam"},
        {"text": "c", "label": None},
        {"text": "d", "label": None},
    ]


def test_numbered_labels_stay_numbers_where_that_is_asked(monkeypatch):
    made = datasets.Dataset.from_dict(NUMBERED, features=FEATURES)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: made)
    found = dataset_rows(Source(dataset="owner/messages", labels="numbers"))
    assert [row["label"] for row in found] == [0, 1, -1, None]
    assert "labels" not in Source(dataset="owner/messages").key_fields()
    with pytest.raises(ValueError, match="labels goes with dataset, not with made"):
        Source(made="skills", labels="numbers")


def test_stream_without_known_columns_is_given_as_it_is(monkeypatch):
    made = datasets.IterableDataset.from_generator(lambda: iter([{"text": "a", "label": 0}]))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: made)
    assert list(dataset_rows(Source(dataset="owner/messages"))) == [{"text": "a", "label": 0}]
