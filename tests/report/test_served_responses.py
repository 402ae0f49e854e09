"""The card says whose responses a server gave, and what is therefore not known of them."""

from tasks.generate.outputs import GenerateSummary
from tasks.judge.score.scores_wording import served_texts
from tasks.report.judged import _served

SUMMARY = {"rows": 1, "cut": 0, "empty": 0, "mean_tokens": 2.0, "reference_perplexity": None}
SUMMARY |= {"reference_cut": 0, "decoding": {"decoding": "greedy"}}


def test_responses_of_a_server_are_said_to_be_so(tmp_path):
    GenerateSummary(**SUMMARY, served={"model": "big", "digest": "d", "prompts": "tokens"}).write(tmp_path)
    assert _served(tmp_path) == "big"
    (told,) = served_texts({"responses": [{"model": "base"}, {"model": "fine-tuned", "served": "big"}]})
    assert told.startswith("The fine-tuned model's responses are those of a server's model big: ")
    assert told.endswith("so its perplexity of the references is not known.")


def test_nothing_is_said_of_responses_made_here_or_imported(tmp_path):
    assert _served(tmp_path) is None
    GenerateSummary(**SUMMARY).write(tmp_path)
    assert _served(tmp_path) is None
    assert served_texts({"responses": [{"model": "base"}]}) == []
