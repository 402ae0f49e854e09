"""An encoder-decoder leaves as a folder or as adapters; what continues a text refuses it with the reason."""

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from tasks.config import ExportConfig, PretrainConfig
from tasks.errors import StageError, UsageError
from tasks.export.stage import export
from tasks.machine.json_files import write_json
from tasks.models.architectures import build_model
from tasks.models.loading import load_causal, load_model
from tasks.report.exports import FILES
from tasks.serve.models import local_model
from tests.finetune.seq2seq_models import seq2seq_in

IDS = torch.arange(20)[None]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(tmp_path):
    folder = seq2seq_in(tmp_path / "tuned", "t5")
    write_json(folder / "summary.json", {"method": "sft", "template": "plain", "parameters": 10_000})
    return folder


def exported(stage_run, model, **settings):
    run = stage_run("export")
    export(ExportConfig(device="cpu", **settings), run, model=model)
    return run


def test_an_encoder_decoder_leaves_as_a_folder_with_equal_logits(model, stage_run):
    run = exported(stage_run, model, name="report")
    read, original = AutoModelForSeq2SeqLM.from_pretrained(run.out / FILES), load_model(model / "model")[0]
    given = {"input_ids": IDS, "decoder_input_ids": IDS}
    assert torch.equal(read.eval()(**given).logits, original.eval()(**given).logits)
    assert AutoTokenizer.from_pretrained(run.out / FILES)("Say")["input_ids"][-1] == 1
    card = (run.out / FILES / "README.md").read_text()
    assert "AutoModelForSeq2SeqLM" in card
    assert "pipeline_tag: text2text-generation" in card


@pytest.mark.parametrize("to", ["gguf", "ollama"])
def test_formats_of_causal_models_refuse_an_encoder_decoder(model, stage_run, to):
    with pytest.raises(StageError, match=f"not exported as {to}.*Export it as folder, adapter"):
        exported(stage_run, model, to=to)


@pytest.mark.parametrize("what", ["chat", "serve"])
def test_chat_and_serve_refuse_an_encoder_decoder(model, what):
    with pytest.raises(UsageError, match=f"is an encoder-decoder.*{what} needs a model that continues"):
        local_model(model).require_causal(what)


def test_pretraining_refuses_an_encoder_decoder(model):
    config = PretrainConfig(model=str(model / "model"))
    with pytest.raises(StageError, match=r"is an encoder-decoder \(t5\).*pretraining needs a model"):
        build_model(config, None)


def test_an_encoder_decoder_is_not_loaded_as_a_causal_model(tmp_path):
    """Transformers would take BART's decoder alone."""
    folder = seq2seq_in(tmp_path / "bart", "bart")
    with pytest.raises(StageError, match=r"the model is an encoder-decoder \(bart\)"):
        load_causal(folder / "model")
