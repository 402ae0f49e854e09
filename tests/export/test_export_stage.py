"""What leaves is checked by reading it back, and what its numbers cost is measured from the files."""

import json

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2ForQuestionAnswering,
    GPT2ForSequenceClassification,
)

from tasks.config import ExportConfig
from tasks.config.exporting import K_KINDS, PLAIN_KINDS
from tasks.errors import StageError
from tasks.export import gguf, gguf_file
from tasks.export.gguf_file import KINDS
from tasks.export.stage import export
from tasks.models.loading import load_model
from tasks.report.exports import FILES, ExportSummary
from tests.export_models import CONTEXT, REFERENCES, answered, model_in, network_of

IDS = torch.arange(20)[None]


@pytest.fixture(scope="module", autouse=True)
def _one_thread(one_thread):
    """Of models this small."""


@pytest.fixture
def without_llama_cpp(monkeypatch):
    """Its process takes seconds to start: what it finds is tested once."""
    monkeypatch.setattr(gguf, "has_llama_cpp", lambda: False)


def exported(stage_run, made, **settings):
    run = stage_run("export")
    export(ExportConfig(device="cpu", **settings), run, **made.folders)
    return run


def test_folder_is_read_by_transformers_and_names_no_machine(tmp_path, stage_run):
    made = model_in(tmp_path / "tuned")
    run = exported(stage_run, made, name="story")
    folder = run.out / FILES
    original, _ = load_model(made["model"] / "model")
    read = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(read(IDS).logits, original(IDS).logits)
    assert read.generation_config.eos_token_id == [made.tokenizer.eos_token_id]
    chat = [{"role": "user", "content": "Hello"}]
    assert (
        AutoTokenizer.from_pretrained(folder).apply_chat_template(chat, tokenize=False).startswith("<|user|>")
    )
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    summary = ExportSummary.read(run.out)
    assert summary.files.keys() == {path.name for path in folder.iterdir()} - {"README.md"}


def test_each_gguf_file_answers_and_is_paired_with_original(tmp_path, stage_run, without_llama_cpp, capsys):
    made = answered(model_in(tmp_path / "tuned"), tmp_path / "data", stage_run, "phi3")
    run = exported(stage_run, made, to="gguf", quantize=("q8_0", "q4_0"), name="story")
    names = {path.name for path in (run.out / FILES).iterdir()}
    assert names == {"story-q8_0.gguf", "story-q4_0.gguf", "README.md"}, "the unquantized was not asked for"
    summary = ExportSummary.read(run.out)
    whole, *_ = costs = summary.costs
    assert [cost["kind"] for cost in costs] == ["f32", "q8_0", "q4_0"]
    assert whole["difference"] == 0.0
    assert whole["same"] == whole["rows"] == len(REFERENCES)
    assert all(cost["difference_low"] < cost["difference"] < cost["difference_high"] for cost in costs)
    assert (
        costs[2]["perplexity"]
        != costs[1]["perplexity"]
        != whole["perplexity"]
        == pytest.approx(whole["original_perplexity"])
    )
    assert any("llama.cpp is not installed" in note for note in summary.notes)
    assert "de-quantizing" not in capsys.readouterr().err, "a progress bar over ours"


def test_some_of_the_rows_can_be_answered(tmp_path, stage_run, without_llama_cpp):
    made = answered(model_in(tmp_path / "tuned"), tmp_path / "data", stage_run, "phi3")
    run = exported(stage_run, made, to="gguf", scored_rows=2)
    assert [cost["rows"] for cost in ExportSummary.read(run.out).costs] == [2]


def test_rows_of_one_source_count_together(tmp_path, stage_run, without_llama_cpp):
    made = answered(model_in(tmp_path / "tuned"), tmp_path / "data", stage_run, "phi3")
    apart = ExportSummary.read(exported(stage_run, made, to="gguf").out).costs[0]
    path = made["rows"] / "test.jsonl"
    rows = [json.loads(line) | {"source": "one book"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    together = ExportSummary.read(exported(lambda _: stage_run("other"), made, to="gguf").out).costs[0]
    assert together["difference_high"] > apart["difference_high"]


@pytest.mark.parametrize("template", ["alpaca", "phi3", "chatml", "plain"])
def test_llama_cpp_has_our_tokens_and_transformers_answers(tmp_path, stage_run, template):
    pytest.importorskip("xllamacpp")
    run = exported(stage_run, model_in(tmp_path / "tuned", template), to="gguf")
    found = {check["name"]: check["found"] for check in ExportSummary.read(run.out).checks}
    assert "10 texts in several scripts and 6 prompts" in found["Tokens in llama.cpp"]
    assert "are those of Transformers" in found["Unquantized, greedy in llama.cpp"]


def test_a_file_that_llama_cpp_cuts_otherwise_is_refused(tmp_path, stage_run, monkeypatch):
    pytest.importorskip("xllamacpp")
    vocabulary = gguf_file.vocabulary_of

    def exchanged(*arguments):
        found = vocabulary(*arguments)
        a, b = found.tokens.index("a"), found.tokens.index("b")
        found.tokens[a], found.tokens[b] = "b", "a"
        return found

    monkeypatch.setattr(gguf_file, "vocabulary_of", exchanged)
    with pytest.raises(StageError, match=r"llama.cpp cuts .* into other tokens"):
        exported(stage_run, model_in(tmp_path / "tuned"), to="gguf")


def test_a_file_with_other_weights_is_refused(tmp_path, stage_run, monkeypatch, without_llama_cpp):
    write = gguf.write_gguf

    def altered(model, *arguments, **settings):
        with torch.no_grad():
            model.transformer.wpe.weight[3].mul_(-1)
        write(model, *arguments, **settings)
        with torch.no_grad():
            model.transformer.wpe.weight[3].mul_(-1)

    monkeypatch.setattr(gguf, "write_gguf", altered)
    with pytest.raises(StageError, match="gives other logits"):
        exported(stage_run, model_in(tmp_path / "tuned"), to="gguf")


def test_tokenizers_of_characters_are_refused_with_the_reason(tmp_path, stage_run, without_llama_cpp):
    made = model_in(tmp_path / "tuned", "plain", kind="char")
    with pytest.raises(StageError, match=r"cannot be written as GGUF: .*Export the model as a folder"):
        exported(stage_run, made, to="gguf")


@pytest.mark.parametrize("to", ["gguf", "ollama", "adapter"])
def test_classifiers_leave_as_a_folder_alone(tmp_path, stage_run, to):
    made = model_in(tmp_path / "classifier")
    (made["model"] / "summary.json").write_text(
        json.dumps({"task": "classification", "labels": ["a", "b"], "parameters": 9})
    )
    with pytest.raises(StageError, match=r"is a classifier, .* Export it as folder"):
        exported(stage_run, made, to=to)


def test_a_classifier_leaves_with_its_labels_and_accuracy(tmp_path, stage_run):
    made = model_in(tmp_path / "classifier")
    folder = made["model"] / "model"
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=len(made.tokenizer), n_embd=8, n_layer=1, n_head=2, pad_token_id=0)
    config.id2label, config.label2id = {0: "ham", 1: "spam"}, {"ham": 0, "spam": 1}
    original = GPT2ForSequenceClassification(config).eval()
    original.save_pretrained(folder)
    summary = {"task": "classification", "labels": ["ham", "spam"], "parameters": 9}
    (made["model"] / "summary.json").write_text(json.dumps(summary))
    run = exported(stage_run, made, name="post")
    read = AutoModelForSequenceClassification.from_pretrained(run.out / FILES)
    assert read.config.id2label == {0: "ham", 1: "spam"}
    assert torch.equal(read(IDS).logits, original(IDS).logits)
    data = ModelCard.load(run.out / FILES / "README.md").data
    assert data.pipeline_tag == "text-classification"


def test_a_model_that_finds_answers_leaves_with_its_use(tmp_path, stage_run):
    """Transformers 5 has no pipeline for it: the README asks the model itself."""
    made = model_in(tmp_path / "answers")
    folder = made["model"] / "model"
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=len(made.tokenizer), n_embd=8, n_layer=1, n_head=2, pad_token_id=0)
    original = GPT2ForQuestionAnswering(config).eval()
    original.save_pretrained(folder)
    summary = {"task": "questions", "labels": ["start", "end"], "parameters": 9}
    (made["model"] / "summary.json").write_text(json.dumps(summary))
    run = exported(stage_run, made, name="post")
    read = AutoModelForQuestionAnswering.from_pretrained(run.out / FILES)
    assert torch.equal(read(IDS).end_logits, original(IDS).end_logits)
    card = ModelCard.load(run.out / FILES / "README.md")
    assert card.data.pipeline_tag == "question-answering"
    assert "AutoModelForQuestionAnswering.from_pretrained" in card.text
    assert "pipeline(" not in card.text


def with_adapters(tmp_path):
    """A base, and a model of adapters alone on it."""
    base = model_in(tmp_path / "base")
    tuned = model_in(tmp_path / "tuned")
    for path in (tuned["model"] / "model").glob("*.safetensors"):
        path.unlink()
    (tuned["model"] / "model" / "config.json").unlink()
    torch.manual_seed(2)
    lora = get_peft_model(
        network_of(base.tokenizer), LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    )
    for name, weight in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    lora.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    lora.save_pretrained(tuned["model"] / "model")
    (tuned["model"] / "model" / "README.md").unlink()
    return base, tuned


def test_adapters_leave_alone_or_merged_but_not_without_base(tmp_path, stage_run, without_llama_cpp):
    base, tuned = with_adapters(tmp_path)
    for to in ("folder", "gguf", "adapter"):
        with pytest.raises(StageError, match="is adapters alone, and it is not known of which model"):
            exported(stage_run, tuned, to=to)
    tuned.folders["base"] = base["model"]
    expected = load_model(tuned["model"] / "model", base["model"] / "model")[0](IDS).logits
    alone = exported(lambda _: stage_run("alone"), tuned, to="adapter")
    found = load_model(alone.out / FILES, base["model"] / "model")[0](IDS).logits
    assert torch.equal(found, expected)
    assert str(tmp_path) not in (alone.out / FILES / "adapter_config.json").read_text()
    merged = exported(lambda _: stage_run("merged"), tuned, to="folder")
    assert torch.allclose(load_model(merged.out / FILES)[0](IDS).logits, expected, atol=1e-5)


def test_a_model_without_adapters_has_none_to_leave(tmp_path, stage_run):
    with pytest.raises(StageError, match=r"keeps no adapters.*lora.adapters=kept"):
        exported(stage_run, model_in(tmp_path / "tuned"), to="adapter")


def test_kinds_that_only_llama_cpp_makes_need_its_tool(tmp_path, stage_run, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match=r"q4_k_m is quantized by llama.cpp's own llama-quantize.*Install"):
        exported(stage_run, model_in(tmp_path / "tuned"), to="gguf", quantize=("q4_k_m",))


def test_kinds_of_llama_cpp_are_made_by_its_tool(tmp_path, stage_run, monkeypatch, without_llama_cpp):
    """The tool of this test writes the file that it was given, whatever the kind."""
    tool = tmp_path / "llama-quantize"
    tool.write_text('#!/bin/sh\ntest "$3" = Q4_K_M && /bin/cp "$1" "$2"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = exported(stage_run, model_in(tmp_path / "tuned"), to="gguf", quantize=("q4_k_m",), name="story")
    assert {path.name for path in (run.out / FILES).iterdir()} == {"story-q4_k_m.gguf", "README.md"}
    with pytest.raises(StageError, match="llama-quantize made no q5_k_m"):
        exported(lambda _: stage_run("other"), model_in(tmp_path / "x"), to="gguf", quantize=("q5_k_m",))


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, stage_run, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(StageError, match=r"the export needs .* 10 are free"):
        exported(stage_run, model_in(tmp_path / "tuned"))


def test_kinds_in_the_settings_are_those_that_are_written():
    assert set(PLAIN_KINDS) == set(KINDS)
    assert not set(K_KINDS) & set(KINDS)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"to": "zip"}, "'zip' is no format; expected folder, gguf, ollama or adapter"),
        ({"quantize": ["q8_0"]}, "quantize goes with to: gguf or ollama, and this is folder"),
        ({"to": "gguf", "quantize": ["q9"]}, "'q9' is no kind"),
        ({"to": "gguf", "quantize": ["q8_0", "q8_0"]}, "names a kind twice"),
        ({"to": "ollama", "quantize": ["q8_0", "q4_0"]}, "has one file; name one kind"),
        ({"host": "gpu"}, "host is of the Ollama server"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, told):
    with pytest.raises(ValueError, match=told):
        ExportConfig(**settings)


def test_the_model_card_is_one_that_a_hub_reads(tmp_path, stage_run):
    made = model_in(tmp_path / "tuned")
    entry = {
        "scorer": "metric:chrf",
        "kind": "metric",
        "status": "ok",
        "mean": 51.25,
        "low": 40.0,
        "high": 60.5,
    }
    counts = {"rows": 5, "scored": 5, "missing": 0}
    report = {
        "title": "story",
        "model": {
            "family": "GPT-2",
            "parameters": 9,
            "layers": 1,
            "heads": 2,
            "width": 64,
            "context": CONTEXT,
        },
        "origin": {"model": "owner/base", "revision": "a" * 40},
        "scores": [
            {"model": "base"} | entry | counts | {"mean": 1.0},
            {"model": "fine-tuned"} | entry | counts,
        ],
        "responses": [],
        "samples": {},
    }
    run = stage_run("export")
    config = ExportConfig(name="story", license="mit", language=("en", "de"))
    from tasks.export.model_card import metadata
    from tasks.export.source import ExportSource

    source = ExportSource(config, run, made["model"])
    source.__dict__["card"] = report
    front = yaml.safe_dump(metadata(source))
    data = ModelCard(f"---\n{front}---\n# story").data
    assert (data.license, data.language, data.base_model) == ("mit", ["en", "de"], "owner/base")
    (result,) = data.eval_results
    assert (result.metric_type, result.metric_value) == ("chrf", 51.25), "of the last model"
    assert result.metric_args == {"interval": {"level": 0.95, "low": 40.0, "high": 60.5}}
