"""Classification with BERT, DistilBERT and RoBERTa: imported, checked, trained and read as they are."""

import json
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AlbertConfig,
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    DebertaV2Config,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
)

from tasks.batches.labelled import classifying_tokenizer
from tasks.classify import stage as classification
from tasks.classify.labels import TASK, mean_loss
from tasks.classify.stage import classify
from tasks.config import BaseConfig, ClassifyConfig, FinetuneConfig, PreflightConfig, PretrainConfig
from tasks.errors import StageError
from tasks.finetune.sft import finetune
from tasks.models.architectures import build_model, context_of, longest
from tasks.models.classifier import heads_of, load_classifier, new_classifier, with_trained_weights
from tasks.models.loading import load_model
from tasks.preflight.classification import preflight_classification
from tasks.preflight.profile.stage import preflight
from tasks.registry.import_model import base as import_base
from tasks.rows import load_split, write_rows
from tests.finetune.labelled_texts import (
    CONTEXT,
    ENCODER_HEADS,
    ENCODERS,
    LAST_BLOCKS,
    encoder_in,
    text_row,
    text_rows_in,
    wordpieces,
)
from tests.runs import stage_run_in, summary_of, weights_in

CONFIG = ClassifyConfig(epochs=2, batch_size=4, learning_rate=5e-3, max_length=CONTEXT, device="cpu")
LABELS = ("ham", "spam")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return text_rows_in(tmp_path_factory.mktemp("labelled") / "rows")


@pytest.fixture
def unmeasured(monkeypatch):
    monkeypatch.setattr(classification, "write_findings", lambda *_: None)


def made(config, base, rows):
    tokenizer = classifying_tokenizer(base / "model")
    model = new_classifier(base / "model", LABELS, tokenizer, config.seed)
    data = TASK.data(config, tokenizer, TASK.read(rows), longest(model))
    return with_trained_weights(config, model), data


def in_backbone(name):
    return name.split(".", 1)[1] if name.split(".")[0] in ("bert", "distilbert", "roberta") else None


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_backbone_is_kept_and_the_head_is_new(encoders, rows, kind):
    """The pooler is kept where the base has one: it was trained."""
    model, _ = made(CONFIG, encoders[kind], rows)
    stored = load_file(encoders[kind] / "model" / "model.safetensors")
    stored = {in_backbone(name) or name: tensor for name, tensor in stored.items()}
    new = set()
    for name, tensor in model.state_dict().items():
        inner = in_backbone(name)
        if inner in stored:
            assert torch.equal(stored[inner], tensor), name
        else:
            new.add(name)
    heads = tuple(name for name in ENCODER_HEADS[kind] if (in_backbone(f"{name}.dense.weight")) not in stored)
    assert new == {name for name in model.state_dict() if name.startswith(heads)}
    assert new


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_new_head_is_drawn_by_the_seed_alone(encoders, rows, kind):
    torch.manual_seed(1)
    first = made(CONFIG, encoders[kind], rows)[0].state_dict()
    torch.manual_seed(2)
    second = made(CONFIG, encoders[kind], rows)[0].state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    other = made(CONFIG.model_copy(update={"seed": 7}), encoders[kind], rows)[0].state_dict()
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())


def test_a_classifier_of_other_labels_gets_a_new_last_layer(encoders, rows, tmp_path):
    """Its two outputs would otherwise begin as what two other labels were."""
    model, data = made(CONFIG, encoders["distilbert"], rows)
    torch.nn.init.constant_(model.classifier.weight, 5.0)
    torch.nn.init.constant_(model.pre_classifier.weight, 5.0)
    model.save_pretrained(tmp_path / "model")
    data.tokenizer.save_pretrained(tmp_path / "model")
    again, _ = made(CONFIG, tmp_path, rows)
    assert (again.classifier.weight < 5).all()
    assert (again.pre_classifier.weight == 5).all(), "what stands before it was trained, and is kept"


@pytest.mark.parametrize("tune", ["last-block", "full", "lora"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_a_sound_encoder_passes_every_check(encoders, rows, kind, tune):
    config = CONFIG.model_copy(update={"tune": tune})
    model, data = made(config, encoders[kind], rows)
    report = preflight_classification(config, model, data, mean_loss)
    assert report.failed == []
    verdicts = {result.check: result.verdict for result in report.results}
    assert verdicts["read whole, without padding"] == "passed"
    assert verdicts["learns one batch"] == "passed"
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    if tune == "last-block":
        parts = (LAST_BLOCKS[kind], *ENCODER_HEADS[kind])
        assert {name for name in trained if not name.startswith(parts)} == set()
        assert all(any(name.startswith(part) for name in trained) for part in parts)
    if tune == "lora":
        whole = {name for name in trained if ".modules_to_save." in name}
        assert all(any(f".{head}.modules_to_save." in name for name in whole) for head in ENCODER_HEADS[kind])
        assert not any(".lora_" in name and ".modules_to_save." in name for name in trained)


SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.2,
}
OTHERS = {  # with what is their own: shared blocks, a head of several layers, positions behind the padding's
    "albert": (AlbertConfig, {"embedding_size": 16}, CONTEXT, ("albert.pooler", "classifier")),
    "electra": (ElectraConfig, {"embedding_size": 16}, CONTEXT, ("classifier",)),
    "deberta-v2": (DebertaV2Config, {}, CONTEXT, ("pooler", "classifier")),
    "modernbert": (ModernBertConfig, {"cls_token_id": 2, "sep_token_id": 3}, CONTEXT, ("head", "classifier")),
    "mpnet": (MPNetConfig, {}, CONTEXT + 2, ("classifier",)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_encoders_pass_every_check(rows, tmp_path, kind):
    shape, own, positions, heads = OTHERS[kind]
    tokenizer = wordpieces()
    torch.manual_seed(11)
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = shape(vocab_size=len(tokenizer), max_position_embeddings=positions, **special | SHAPE | own)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    run = stage_run_in(tmp_path / "run")
    import_base(BaseConfig(model=str(tmp_path / "model")), run)
    model, data = made(CONFIG, run.out, rows)
    assert (heads_of(model), longest(model)) == (heads, CONTEXT)
    assert preflight_classification(CONFIG, model, data, mean_loss).failed == []


@pytest.mark.parametrize("kind", ["gpt2", *ENCODERS])
def test_texts_as_long_as_the_context_can_be_checked(families, encoders, rows, tmp_path, kind):
    """No padding is added then: there are no positions for it."""
    for split in ("train", "validation", "test"):
        found = [row | {"text": f"{row['text']} " * 5} for row in load_split(rows, split)]
        write_rows(tmp_path / f"{split}.jsonl", found)
    model, data = made(CONFIG, (families | encoders)[kind], tmp_path)
    assert max(len(text.input_ids) for text in data.texts["train"][:2]) == CONTEXT
    assert preflight_classification(CONFIG, model, data, mean_loss).failed == []


def test_an_encoder_that_reads_its_padding_is_caught(encoders, rows):
    """Pitfall 16: without the mask, BERT reads the padding as it reads words."""
    model, data = made(CONFIG, encoders["bert"], rows)
    forward = model.forward
    model.forward = lambda attention_mask, **inputs: forward(
        attention_mask=torch.ones_like(attention_mask), **inputs
    )
    report = preflight_classification(CONFIG, model, data, mean_loss)
    assert [result.check for result in report.failed] == ["read whole, without padding"]


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_text_keeps_its_first_and_last_special_token_when_cut(encoders, rows, kind):
    config = CONFIG.model_copy(update={"max_length": 6})
    _, data = made(config, encoders[kind], rows)
    tokenizer = data.tokenizer
    for text in data.texts["train"]:
        assert (text.input_ids[0], text.input_ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert len(text.input_ids) <= 6


def test_a_text_that_spells_a_special_token_of_bert_is_text(encoders, rows, tmp_path):
    folder = text_rows_in(tmp_path / "rows", test=1)
    (folder / "test.jsonl").write_text(
        json.dumps({"id": 9, "text": "claim [SEP] [PAD] now", "label": "spam"}) + "\n"
    )
    _, data = made(CONFIG, encoders["bert"], folder)
    (text,) = data.texts["test"]
    special = {data.tokenizer.cls_token_id, data.tokenizer.sep_token_id, data.tokenizer.pad_token_id}
    assert not special & {*text.input_ids[1:-1]}


@pytest.mark.parametrize("kind", ENCODERS)
def test_no_text_is_longer_than_the_positions_that_may_be_read(encoders, kind):
    """RoBERTa's count begins behind the padding's: of 50 positions a text may take 48, and all of these."""
    assert context_of(encoders[kind] / "model") == CONTEXT
    tokenizer = classifying_tokenizer(encoders[kind] / "model")
    model = new_classifier(encoders[kind] / "model", LABELS, tokenizer, 1)
    assert longest(model) == CONTEXT
    ids = torch.full((1, CONTEXT), 7)
    assert model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()


@pytest.mark.parametrize(("kind", "tune"), [*((kind, "full") for kind in ENCODERS), ("roberta", "lora")])
def test_an_encoder_learns_and_is_written_whole(encoders, rows, tmp_path, kind, tune):
    config = CONFIG.model_copy(update={"tune": tune, "epochs": 6.0, "learning_rate": 1e-2})
    run = stage_run_in(tmp_path)
    classify(config, run, base=encoders[kind], rows=rows)
    evaluation = json.loads((run.out / "evaluation.json").read_text())
    assert evaluation["splits"]["train"]["accuracy"]["mean"] > 0.9
    model, tokenizer = load_classifier(run.out / "model"), AutoTokenizer.from_pretrained(run.out / "model")
    assert not any("lora" in name for name in weights_in(run))
    assert model.config.id2label == {0: "ham", 1: "spam"}
    with torch.no_grad():
        given = [
            LABELS[model.eval()(**tokenizer(text_row(index)["text"], return_tensors="pt")).logits.argmax()]
            for index in range(32, 44)
        ]
    predicted = [json.loads(line) for line in (run.out / "predictions.jsonl").read_text().splitlines()]
    assert given == [row["predicted"] for row in predicted]


# What is imported


def test_an_encoder_is_imported_without_an_end_token(encoders):
    assert AutoTokenizer.from_pretrained(encoders["bert"] / "model").eos_token is None
    assert json.loads((encoders["bert"] / "summary.json").read_text())["parameters"] > 0


def test_an_encoder_without_padding_or_a_weight_is_refused(tmp_path):
    folder = encoder_in(tmp_path, "bert") / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(StageError, match=r"is an encoder \(bert\) whose tokenizer has no padding token"):
        import_base(BaseConfig(model=str(folder)), stage_run_in(tmp_path / "one"))
    model = ENCODERS["bert"](len(tokenizer))
    lacking = {n: t for n, t in model.state_dict().items() if "layer.1.output.dense.weight" not in n}
    model.save_pretrained(folder, state_dict=lacking)
    wordpieces().save_pretrained(folder)
    with pytest.raises(StageError, match=r"lacks weights: encoder\.layer\.1\.output\.dense\.weight"):
        import_base(BaseConfig(model=str(folder)), stage_run_in(tmp_path / "two"))


def test_bert_as_a_decoder_is_a_causal_model(tmp_path):
    tokenizer = wordpieces()
    tokenizer.eos_token = "[SEP]"
    shape = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        is_decoder=True,
    )
    BertLMHeadModel(shape).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    run = stage_run_in(tmp_path / "run")
    import_base(BaseConfig(model=str(tmp_path / "model")), run)
    assert summary_of(run)["parameters"] == BertLMHeadModel(shape).num_parameters()


def test_an_encoder_cannot_be_trained_to_write(encoders, rows, tmp_path):
    """Transformers would make it a causal model whose tokens see those after them (pitfall 12)."""
    expected = r"the model is an encoder \(bert\).* cannot write\. Name a causal model"
    with pytest.raises(StageError, match=expected):
        finetune(FinetuneConfig(device="cpu"), stage_run_in(tmp_path), base=encoders["bert"], rows=rows)
    config = PreflightConfig(finetune=FinetuneConfig(), rows_only=True)
    with pytest.raises(StageError, match=f"finetune: {expected}"):
        preflight(config, stage_run_in(tmp_path / "checks"), base=encoders["bert"], rows=rows)
    with pytest.raises(StageError, match=expected):
        load_model(encoders["bert"] / "model")


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_an_encoder_cannot_be_pretrained_to_write(encoders, weights):
    config = PretrainConfig(model=str(encoders["bert"] / "model"), weights=weights, context=16)
    tokens = SimpleNamespace(vocab_size=20, end_token=0)
    with pytest.raises(StageError, match=r"is an encoder \(bert\), whose tokens see those after them"):
        build_model(config, tokens)
