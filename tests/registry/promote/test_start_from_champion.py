"""The next training begins with a model of the registry: the version that the key names, unaltered."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoTokenizer

from tasks.batches.tuning import sft_data
from tasks.config import BaseConfig, FinetuneConfig, PretrainConfig
from tasks.errors import StageError, UsageError
from tasks.machine.json_files import read_json, write_json
from tasks.models.loading import load_causal, load_model
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute, find
from tasks.record.work import Stage, Work, stage_key
from tasks.registry.champions import override
from tasks.registry.resolve import registered_fingerprints, resolve, with_version
from tasks.rows import write_rows
from tests.registry.promote.promoting import QUESTIONS, Made, around, made, write_checks

BASE = Stage("base", 1, "tasks.registry.import_model:base")


def taken(tracking, uri, refresh=False):
    """The base stage's output folder for a model of the registry."""
    config = with_version(tracking, BaseConfig(model=uri))
    fingerprints = registered_fingerprints(tracking, config.model)
    reference = execute(tracking, Work(BASE, config, {}, fingerprints), refresh=refresh)
    return fetch(tracking, reference) / OUTPUT


def key_now(tracking, uri):
    return stage_key(BASE, BaseConfig(model=uri), registered_fingerprints(tracking, uri))


def weights_of(tracking, reference):
    return load_file(fetch(tracking, reference) / OUTPUT / "model" / "model.safetensors")


def test_the_champion_is_taken_over_weight_for_weight_and_named(tracking, promoted):
    promoted(around(40))
    champion = promoted.inputs["model"]
    promoted(around(30))
    output = taken(tracking, f"models:/{promoted.name}@champion")
    ours = load_file(output / "model" / "model.safetensors")
    theirs = weights_of(tracking, champion)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    summary = read_json(output / "summary.json")
    assert summary.pop("parameters") > 0
    assert summary == {
        "model": f"models:/{promoted.name}/1",
        "revision": champion.digest,
        "registered": {"version": f"{promoted.name}/1", "preflight": "passed"},
    }
    candidate = read_json(taken(tracking, f"models:/{promoted.name}/2") / "summary.json")
    assert candidate["revision"] == promoted.inputs["model"].digest


def test_the_run_says_which_version_it_took(tracking, promoted):
    promoted(around(40))
    uri = f"models:/{promoted.name}@champion"
    taken(tracking, uri)
    pinned = BaseConfig(model=f"models:/{promoted.name}/1")
    work = Work(BASE, pinned, {}, registered_fingerprints(tracking, uri))
    run = tracking.client.get_run(find(tracking, work).run_id)
    assert run.data.tags["touchstone.base.version"] == f"{promoted.name}/1"


def test_tokenizer_and_template_come_along_and_it_tunes_again(tracking, promoted, tmp_path):
    promoted(around(40))
    model = fetch(tracking, promoted.inputs["model"]) / OUTPUT / "model"
    output = taken(tracking, f"models:/{promoted.name}@champion") / "model"
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (output, model))
    assert ours.get_vocab() == theirs.get_vocab()
    assert "<|assistant|>" in ours.chat_template == theirs.chat_template
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / f"{split}.jsonl", QUESTIONS[:5])
    data = sft_data(FinetuneConfig(template="phi3", max_length=64), ours, tmp_path, 64)
    assert data.examples["train"][0].input_ids[-1] == ours.eos_token_id


def test_another_champion_is_another_key_and_the_same_is_found(tracking, promoted):
    uri = f"models:/{promoted.name}@champion"
    promoted(around(40))
    first = key_now(tracking, uri)
    promoted(around(30))
    assert key_now(tracking, uri) == first
    override(tracking, promoted.name, 2, "a try")
    assert key_now(tracking, uri) != first


def test_version_of_the_key_is_taken_whoever_holds_the_alias(tracking, promoted):
    """Regression for a race: the alias moves between the making of the key and the stage."""
    promoted(around(40))
    champion = promoted.inputs["model"]
    uri = f"models:/{promoted.name}@champion"
    fingerprints = registered_fingerprints(tracking, uri)
    promoted(around(60))
    reference = execute(tracking, Work(BASE, BaseConfig(model=uri), {}, fingerprints))
    assert read_json(fetch(tracking, reference) / OUTPUT / "summary.json")["revision"] == champion.digest


def test_version_that_became_another_model_is_not_of_the_key(tracking, promoted):
    promoted(around(40))
    uri = f"models:/{promoted.name}/1"
    fingerprints = registered_fingerprints(tracking, uri) | {"model": "0" * 64}
    with pytest.raises(StageError, match="is another model than when this stage was started"):
        execute(tracking, Work(BASE, BaseConfig(model=uri), {}, fingerprints))


def test_failed_checks_go_along_with_a_base_of_the_registry(tracking, promoted):
    promoted(around(90), failed="end token")
    output = taken(tracking, f"models:/{promoted.name}/1")
    registered = read_json(output / "summary.json")["registered"]
    assert registered["preflight"] == "failed: fine-tuning, end token"


def make_adapters(config, run, *, base):
    """Adapters alone, with weights that change what the model computes."""
    model = load_causal(base / "model")
    torch.manual_seed(3)
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, fan_in_fan_out=True)
    adapted = get_peft_model(model, lora)
    adapted.save_pretrained(run.out / "model")
    AutoTokenizer.from_pretrained(base / "model").save_pretrained(run.out / "model")
    write_json(run.out / "summary.json", {"template": "phi3"})
    write_checks(run.out, "fine-tuning", None)


def test_adapters_alone_are_taken_over_merged(tracking, promoted):
    base = made(tracking, "pretrained", None)
    stage = Stage("made-adapters", 1, f"{__name__}:make_adapters")
    adapters = execute(tracking, Work(stage, Made(what="adapters"), {"base": base}))
    rows, scores = made(tracking, "rows", 30), made(tracking, "scores", ["metric:chrf", 40, around(40), None])
    promoted(inputs={"model": adapters, "rows": rows, "scores": scores, "base": base})
    output = taken(tracking, f"models:/{promoted.name}@champion") / "model"
    assert not (output / "adapter_config.json").exists()
    ids = torch.arange(12)[None]
    folders = [fetch(tracking, one) / OUTPUT / "model" for one in (adapters, base)]
    expected = load_model(*folders)[0](ids).logits
    assert torch.allclose(load_causal(output)(ids).logits, expected, atol=1e-5)
    assert not torch.allclose(load_causal(folders[1])(ids).logits, expected, atol=1e-3)


def make_classifier(config, run):
    (run.out / "model").mkdir()
    (run.out / "model" / "tokenizer.json").write_text("{}")
    write_json(run.out / "summary.json", {"task": "classification", "labels": ["a", "b"]})
    write_checks(run.out, "classification", None)


def test_a_classifier_is_no_base(tracking, promoted):
    model = execute(
        tracking, Work(Stage("made-classifier", 1, f"{__name__}:make_classifier"), Made(what="c"))
    )
    rows, scores = made(tracking, "rows", 30), made(tracking, "scores", ["metric:chrf", 40, around(40), None])
    promoted(inputs={"model": model, "rows": rows, "scores": scores})
    with pytest.raises(StageError, match="is a classifier, which cannot be trained to write"):
        taken(tracking, f"models:/{promoted.name}@champion")


# What is not there


def test_the_same_output_of_another_run_serves_as_well(tracking, promoted):
    promoted(around(40))
    model = promoted.inputs["model"]
    uri = f"models:/{promoted.name}@champion"
    config = Made(what=read_json(fetch(tracking, model) / "auxiliary" / "config.json")["what"])
    (fetch(tracking, model) / OUTPUT / "model" / "model.safetensors").unlink()
    with pytest.raises(StageError, match=r"is read from cannot be used: .*model.safetensors is missing"):
        taken(tracking, uri)
    stage = Stage("made-model", 1, "tests.registry.promote.promoting:make_model")
    again = execute(tracking, Work(stage, config))
    assert (again.digest, again.run_id == model.run_id) == (model.digest, False)
    assert read_json(taken(tracking, uri) / "summary.json")["revision"] == model.digest


def test_an_altered_model_is_not_taken_over(tracking, promoted):
    promoted(around(40))
    (fetch(tracking, promoted.inputs["model"]) / OUTPUT / "model" / "config.json").write_text("{}")
    with pytest.raises(StageError, match="cannot be used"):
        taken(tracking, f"models:/{promoted.name}@champion")


def test_what_there_is_not_is_told(tracking, promoted):
    promoted(around(5))
    name = promoted.name
    with pytest.raises(UsageError, match=rf"{name} has no champion yet.*models:/{name}/1; there are: 1"):
        resolve(tracking, f"models:/{name}@champion")
    with pytest.raises(UsageError, match="has no version 7; there are: 1"):
        resolve(tracking, f"models:/{name}/7")
    with pytest.raises(UsageError, match=f"no registered model 'none-such'; there are .*{name}"):
        resolve(tracking, "models:/none-such@champion")
    tracking.client.delete_model_version_tag(name, "1", "touchstone.model")
    with pytest.raises(UsageError, match="was registered by another tool or an earlier version"):
        resolve(tracking, f"models:/{name}/1")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "models:/mine"}, "names no registered model; expected models:/NAME@champion"),
        ({"model": "models:/mine/latest"}, "names no registered model"),
        ({"model": "models:/mine/3", "revision": "v1"}, "revision goes with a model of Hugging Face"),
    ],
)
def test_an_address_that_names_no_version_is_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        BaseConfig(**settings)


def test_pretraining_says_that_it_cannot_go_on_from_the_registry():
    with pytest.raises(ValueError, match="which pretraining cannot go on from; fine-tune it"):
        PretrainConfig(model="models:/mine@champion", weights="pretrained")
