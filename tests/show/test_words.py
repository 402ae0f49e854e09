"""Words on pages: what begins a sentence is written large, and names stay as they are."""

import pytest

from tasks.show.text import capital


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("its server refuses max_tokens: it is not sent", "Its server refuses max_tokens: it is not sent"),
        ("end of it.", "End of it."),
        ("alone.", "Alone."),
        ("dpo", "Dpo"),
        ("finetune.learning_rate of the best", "finetune.learning_rate of the best"),
        ("d_model", "d_model"),
        ("touchstone-quickstart/1: above chance", "touchstone-quickstart/1: above chance"),
        ("quickstart:base: above chance", "quickstart:base: above chance"),
        ("none: above chance", "None: above chance"),
        ("", ""),
    ],
)
def test_a_sentence_begins_large_and_a_setting_as_it_is(words, told):
    assert capital(words) == told
