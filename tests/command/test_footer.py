"""The last lines of a run say where its model is, and only commands that work on it."""

import pytest

from flows.command.footer import footer_lines

RUN = "3f2a9c11" + "0" * 24


@pytest.fixture(scope="module")
def store(tmp_path_factory, fresh_store):
    tracking = fresh_store(tmp_path_factory.mktemp("footer") / "mlruns")
    tracking.client.create_registered_model("touchstone-own")
    tracking.client.create_model_version("touchstone-own", "file:///models/m-1")
    return tracking


def told(store, *stages, model=None, **others):
    made = store.client.create_run(store.experiment_id).info
    stages = [{"name": name, "run_id": made.run_id} for name in stages]
    lines = footer_lines(store, {"run_id": RUN, "model": model, "stages": stages, **others})
    return "\n".join(lines), made


def test_a_fine_tuned_model_is_told_with_its_version_and_files(store):
    model = {"name": "touchstone-own", "version": 1, "champion": False}
    lines, _ = told(store, "pretrain", "finetune", "generate base", "generate fine-tuned", model=model)
    assert lines.startswith("Model: touchstone-own/1, not the champion; /models/m-1\nNext:\n")
    assert "touchstone compare 3f2a9c11 3f2a9c11:base" in lines
    assert "touchstone promote touchstone-own/1 --because REASON" in lines


def test_footer_offers_only_what_the_model_can_do(store):
    model = {"name": "touchstone-own", "version": 1, "champion": True}
    lines, _ = told(store, "pretrain", "classify", model=model)
    assert "the champion" in lines
    assert "promote" not in lines
    assert "compare" not in lines
    assert "label" not in lines


def test_a_pretrained_model_is_a_folder_of_this_machine(store):
    lines, made = told(store, "tokenize", "pretrain", "report")
    (first, *_) = lines.splitlines()
    assert first == f"Model: {made.artifact_uri.removeprefix('file://')}/output/model"
    assert "touchstone init FILES" in lines


def test_of_several_seeds_no_one_is_compared(store):
    assert "compare" not in told(store, "generate base", seeds=[])[0]
