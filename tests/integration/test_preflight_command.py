"""`touchstone preflight` as a user meets it: what it shows and refuses, and that it is not done twice."""

import pytest


@pytest.fixture(scope="module")
def workplace(make_workplace):
    return make_workplace("preflight")


def results(result):
    return {(result["training"], result["check"]): result["verdict"] for result in result.json["checks"]}


def test_sound_profile_passes_once_and_is_found_the_second_time(workplace):
    first = workplace("preflight", "tiny.yaml", "--json")
    assert first.status == 0, first.err
    assert (first.json["status"], first.json["verdict"]) == ("completed", "passed")
    assert results(first)["pretraining", "causality"] == "passed"
    assert results(first)["fine-tuning", "prompt as configured"] == "passed"
    assert "pretrain" not in first.cached
    assert "trained on │" in first.json["examples"]["fine-tuning"]
    assert "causality" not in first.err, "it is standard output that holds results"
    second = workplace("preflight", "tiny.yaml", "--json")
    assert second.cached == dict.fromkeys(first.cached, True)
    assert second.json["checks"] == first.json["checks"]


@pytest.mark.slow
def test_repetitive_corpus_is_refused_with_all_checks_and_advice(workplace):
    """Whatever is held out of it has been trained on."""
    text = "The keeper of the lighthouse climbed its stairs each evening and lit the lamp for the ships. "
    (workplace.folder / "repeating.txt").write_text(text * 200, encoding="utf-8")
    broken = ("--set", "corpus=repeating.txt", "--set", "tokenize.validation=0.2")
    result = workplace("preflight", "tiny.yaml", "--json", *broken)
    assert result.status == 3, result.err
    assert (result.json["status"], result.json["verdict"]) == ("refused", "failed")
    assert results(result)["pretraining", "splits share no near duplicate"] == "failed"
    assert results(result)["fine-tuning", "prompt as configured"] == "passed"
    assert "validation document" in result.json["error"]
    assert "train without a validation loss (tokenize.validation=0)" in result.json["error"]
    assert "Traceback" not in result.err

    trained = workplace("run", "tiny.yaml", "--json", *broken)
    assert trained.status == 3
    assert trained.json["status"] == "refused"
    assert trained.json["error"].startswith("pretrain: ")
    assert "splits share no near duplicate" in trained.json["error"]
    followed = workplace("run", "tiny.yaml", "--json", *broken[:2], "--set", "tokenize.validation=0")
    assert followed.status == 0, followed.err


def test_a_wrong_profile_is_told_before_anything_runs(workplace):
    result = workplace("preflight", "tiny.yaml", "--set", "pretrain.contxt=3", "--json")
    assert (result.status, result.json["status"]) == (2, "usage")
    assert "did you mean pretrain.context?" in result.json["error"]
