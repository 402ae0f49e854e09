"""A name stands for one model in every command that takes one; kept adapters go with their base."""

import json

import pytest
from transformers import AutoModelForCausalLM

from flows.dispatch.find_model import find_made, find_model, made_models
from flows.exporting.sources import find_exported
from flows.generating.inputs import find_model_input
from flows.serving.engines import EngineOptions, serving
from flows.serving.local import find_local_model
from tasks.errors import UsageError
from tasks.machine.kept_files import KeptFiles
from tasks.models.folders import find_files
from tasks.record.tracking import open_tracking
from tasks.serve.models import whole_folder
from tests.serve.test_front import reached
from tests.serve.tiny import tiny_model

MODEL, KEPT = "touchstone-tiny", "touchstone-lora"
LORA = ("--set", "finetune.tune=lora", "--set", "finetune.lora.adapters=kept")


@pytest.fixture(scope="module")
def workplace(finished):
    return finished[0]


@pytest.fixture(scope="module")
def kept(workplace):
    """The run of a profile that keeps its adapters as they are."""
    named = ("--set", f"promote.name={KEPT}", "--set", "export.to=adapter")
    ran = workplace("run", "tiny.yaml", *LORA, *named, "--json")
    assert ran.status == 0, ran.err
    return ran.json["run_id"]


def test_a_name_is_one_model_everywhere(finished):
    workplace, ran = finished
    run = ran.json["run_id"][:8]
    with workplace.entered():
        tracking = open_tracking()
        version = find_model(tracking, f"{MODEL}/1")
        for name in (MODEL, run, "@latest"):
            served, asked, left = (
                find_local_model(name),
                find_model_input(name),
                find_exported(tracking, name),
            )
            assert served.name == asked.name == version.name == f"{MODEL}/1"
            assert served.digest == asked.model.digest == left.inputs["model"].digest
            assert (left.name, left.version) == (f"{MODEL}-v1", (MODEL, 1))
            assert left.inputs.keys() == {"model", "base", "scores", "responses", "rows", "report"}
        base = find_model(tracking, f"{run}:base")
        assert (base.name, base.model.stage, base.base) == ("tiny:base", "pretrain", None)
        assert find_local_model(f"{run}:base").digest == find_model_input(f"{run}:base").model.digest
        assert find_exported(tracking, f"{run}:base").inputs == {"model": base.model}, (
            "its card is of another"
        )


def test_a_model_is_found_by_the_first_digits_of_its_digest(finished, tmp_path):
    workplace, ran = finished
    run = ran.json["run_id"][:8]
    with workplace.entered():
        tracking = open_tracking()
        for named in (f"{run}:base", f"{run}:fine-tuned"):
            model = find_model(tracking, named).model
            found = find_made(tracking, model.digest[:12])
            assert (found.name, found.model) == (model.digest[:12], model)
            assert find_model(tracking, model.digest).model == model
            assert model.digest[:12] in made_models(tracking)
        rows = next(one["digest"] for one in ran.json["stages"] if one["name"] == "rows")
        assert rows[:12] not in made_models(tracking)
        folder = tiny_model(tmp_path).path
        for text in (rows[:12], "0123456789ab", str(folder)):
            with pytest.raises(UsageError, match="is no run"):
                find_made(tracking, text)


def test_what_is_no_model_is_one_message_everywhere(workplace, tmp_path):
    with workplace.entered():
        tracking = open_tracking()
        finders = (find_local_model, find_model_input, lambda text: find_exported(tracking, text))
        (tmp_path / "empty").mkdir()
        (tmp_path / "adapters").mkdir()
        (tmp_path / "adapters" / "adapter_config.json").write_text("{}")
        for text, message in {
            "nobody": r"'nobody' is no run, .*; or a folder with a model, and there is none of this name",
            "nothing.gguf": "there is no file nothing.gguf",
            f"{MODEL}/99": "has no version 99",
            f"{MODEL}@champion": "has no champion; `touchstone models` tells of each version$",
            "@latest:preferred": "the run has no model 'preferred'; there are fine-tuned, base",
            str(tmp_path / "empty"): "holds no model: expected a folder with config.json",
            str(tmp_path / "adapters"): "holds adapters alone, and not the model",
        }.items():
            for find in finders:
                with pytest.raises(UsageError, match=message):
                    find(text)


def test_a_folder_or_file_is_taken_where_it_can_be_used(workplace, tmp_path):
    folder = tiny_model(tmp_path / "output").path
    file = tmp_path / "tiny.gguf"
    file.touch()
    with workplace.entered():
        tracking = open_tracking()
        for text in (str(tmp_path / "output"), str(folder)):
            assert find_local_model(text).path == find_model_input(text).folder == folder
            assert find_local_model(text).template.name == find_model_input(text).template == "alpaca"
            assert find_exported(tracking, text).folder == folder
        assert find_local_model(str(file)).name == "tiny"
        for find in (find_model_input, lambda text: find_exported(tracking, text)):
            with pytest.raises(UsageError, match="is a GGUF file"):
                find(str(file))


def test_a_classifier_is_known_by_its_folder_alone(workplace, tmp_path):
    told = {"architectures": ["GPT2ForSequenceClassification"], "id2label": {"1": "spam", "0": "ham"}}
    (tmp_path / "config.json").write_text(json.dumps(told))
    assert find_files(tmp_path).labels == ("ham", "spam")
    with (
        workplace.entered(),
        pytest.raises(UsageError, match=r"is a classifier: it gives labels \(ham, spam"),
    ):
        find_model_input(str(tmp_path))


def test_kept_adapters_are_chatted_with_and_served(workplace, kept, tmp_path):
    with workplace.entered():
        for name in (KEPT, kept[:8], f"{kept[:8]}:fine-tuned"):
            model = find_local_model(name)
            assert (model.path / "adapter_config.json").exists()
            assert model.load()[0].num_parameters() > 0
        with whole_folder(model, KeptFiles(tmp_path)) as folder:
            AutoModelForCausalLM.from_pretrained(folder)
        with serving(model, EngineOptions()) as front, reached(front) as client:
            asked = [{"role": "user", "content": "Say yes"}]
            assert client.chat.completions.create(model=model.name, messages=asked, max_tokens=2).usage


def test_kept_adapters_respond_to_rows(workplace, kept):
    (workplace.folder / "kept.jsonl").write_text(json.dumps({"instruction": "Say yes"}), encoding="utf-8")
    told = workplace("generate", kept[:8], "kept.jsonl", "-o", "kept-out.jsonl", "--json")
    assert told.status == 0, told.err
    assert told.json["model"] == f"{KEPT}/1"


def test_kept_adapters_leave_alone_and_merged_with_their_base(workplace, kept, tmp_path):
    merged = workplace("export", f"{KEPT}/1", "--output", str(tmp_path / "merged"), "--json")
    assert merged.status == 0, merged.err
    AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    for name in (KEPT, kept[:8]):
        alone = workplace("export", name, "--to", "adapter", "--json")
        assert alone.cached == {"export": True}, "the pipeline wrote it"
        assert "adapter_model.safetensors" in alone.json["export"]["files"]


def test_adapters_without_their_base_are_refused(workplace, kept, monkeypatch):
    with workplace.entered():
        monkeypatch.setattr("flows.dispatch.find_model.STARTS_FROM", {})
        for find in (find_local_model, find_model_input):
            with pytest.raises(UsageError, match="is adapters alone, and does not say of which model"):
                find(KEPT)
