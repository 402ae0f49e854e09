"""The card on a classifier of each task: what its sections say, in every form."""

import pytest

from tasks.classify.examples import classified, misclassified
from tasks.classify.stage import classify
from tasks.classify.tasks import card_of
from tasks.config import ClassifyConfig, ReportConfig
from tasks.show.document import Document
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tests.classify.tagged_rows import rows_in, several_row, tagged_row
from tests.finetune.labelled_texts import gpt_in, message_tokenizer
from tests.runs import stage_run_in

CONFIG = ClassifyConfig(tune="full", epochs=4, batch_size=8, learning_rate=5e-3, evaluations=2, device="cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (tagged_row, ["F1 on the test split", "majority tag", "Each type on the test split", "note (N)"]),
        (several_row, ["Mean F1 of a text", "micro F1", "Hamming loss", "bag of words", "F1 of each label"]),
    ],
)
def test_a_card_says_what_was_measured(tmp_path, make, said):
    run = stage_run_in(tmp_path / "run")
    base = gpt_in(tmp_path / "base", message_tokenizer())
    classify(CONFIG, run, base=base, rows=rows_in(tmp_path / "rows", make))
    report = classified(ReportConfig(), run.out)
    card = card_of(report["evaluation"])
    sections = list(card.sections(report, misclassified(run.out)))
    document = Document(kind="card", title="Test", subtitle="", sections=sections)
    for text in (as_html(document), as_markdown(document)):
        plain = " ".join(text.replace("\\", "").split())
        assert not [words for words in said if words.lower() not in plain.lower()]
    assert report["examples"]["of"] == 12
    assert all(not card.is_right(row) for row in misclassified(run.out))
