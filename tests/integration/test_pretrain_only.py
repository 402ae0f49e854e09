"""`touchstone run` of a profile without instruction rows: it ends after pretraining, with a report."""

import httpx
import pytest

from tests.commands import LOGIN

STAGES = ["download corpus", "tokenize", "pretrain", "report"]
ONLY = """
description: a few characters
corpus: corpus.txt
tokenize: {kind: char}
pretrain: {size: 1x2x16, context: 32, steps: 4, batch_size: 2, warmup: 1, eval_every: 2}
"""


@pytest.fixture(scope="module")
def pretrained(make_workplace):
    workplace = make_workplace("pretrained")
    (workplace.folder / "only.yaml").write_text(ONLY, encoding="utf-8")
    result = workplace("run", "only.yaml", "--json")
    assert result.status == 0, result.err
    return workplace, result


def test_run_ends_after_pretraining_without_scores_or_promotion(pretrained):
    workplace, result = pretrained
    summary = result.json
    assert (summary["status"], summary["scores"], summary["model"]) == ("completed", [], None)
    assert [stage["name"] for stage in summary["stages"]] == STAGES
    assert summary["stages"][2]["metrics"]["best_step"] in (2, 4)
    tracking = workplace.store()
    parameters = tracking.client.get_run(summary["run_id"]).data.params
    assert parameters["pretrain.size"] == "1x2x16"
    assert not {name for name in parameters if name.startswith(("finetune", "judge", "promote"))}
    assert tracking.client.search_registered_models() == []


@pytest.mark.slow
def test_second_run_does_nothing_and_other_steps_train_again(pretrained):
    workplace, first = pretrained
    second = workplace("run", "only.yaml", "--json")
    assert all(second.cached.values())
    digests = [[stage["digest"] for stage in result.json["stages"]] for result in (first, second)]
    assert digests[0] == digests[1]
    other = workplace("run", "only.yaml", "--json", "--set", "pretrain.steps=2")
    assert [name for name, cached in other.cached.items() if not cached] == ["pretrain", "report"]


def test_the_card_is_shown_in_every_place(pretrained, prefect_server):
    workplace, first = pretrained
    shown = workplace("report", first.json["run_id"])
    assert shown.status == 0, shown.err
    for part in ("GPT-2 on corpus.txt", "Pretrained", "Best validation loss", "step 4", "tokens/s"):
        assert part in shown.out
    tracking = workplace.store()
    run = tracking.client.get_run(first.json["run_id"]).data.tags["touchstone.prefect_flow_run_id"]
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    artifacts = httpx.post(f"{prefect_server}/artifacts/filter", json=asked, auth=LOGIN).json()
    by_key = {artifact["key"]: artifact["data"] for artifact in artifacts}
    assert "GPT-2 on corpus" in by_key["report-only"]
    assert "scores-only" not in by_key


def test_a_judge_without_anything_to_judge_is_wrong_usage(pretrained):
    workplace, _ = pretrained
    for arguments in (("--judge", "ollama:llama3.2"), ("--set", "judge.scorer=ollama:llama3.2")):
        result = workplace("run", "only.yaml", "--json", *arguments)
        assert result.status == 2
        assert "judge.scorer: set, but there are no instructions" in result.json["error"]
