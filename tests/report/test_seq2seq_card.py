"""The card of an encoder-decoder: its two stacks, where its weights are from, and how it is used."""

from tasks.judge.score.scores_wording import _perplexity_cell
from tasks.report import use
from tasks.report.training import origin_text, shape_text
from tasks.show.document import Code, Facts

MODEL = {"layers": 2, "heads": 4, "width": 128, "context": None, "kind": "encoder-decoder"}
REPORT = {
    "model": MODEL,
    "promotion": {"name": "touchstone-summaries", "version": 1},
    "samples": {"rows": [{"instruction": "A report.", "input": ""}]},
}


def test_a_card_says_that_a_model_has_two_stacks():
    assert shape_text(MODEL) == "encoder and decoder of 2 layers, 4 heads, width 128"


def test_random_weights_are_not_told_as_imported():
    origin = {"model": "t5 of size tiny", "revision": None, "weights": "random"}
    assert origin_text(origin) == "t5 of size tiny, drawn here: it had read nothing before the rows"


def test_a_card_of_an_encoder_decoder_offers_no_chat():
    (section,) = use.section(REPORT, {"model": {"folder": "model", "tracking": "sqlite:///mlflow.db"}})
    facts, code = section.blocks
    assert isinstance(facts, Facts)
    assert isinstance(code, Code)
    told = " ".join(fact.value for fact in facts.facts)
    assert "touchstone generate touchstone-summaries/1 ROWS -o FILE" in told
    assert "chat" not in told
    assert "serve" not in told
    assert 'predict(["A report."])' in str(code)


def test_a_perplexity_without_sense_is_told_by_its_size():
    cell = _perplexity_cell({"perplexity": 8.6354e33, "low": 1234.5, "high": 5.5e34})
    assert cell == ("8.6e+33", "1,234.50 to 5.5e+34")
