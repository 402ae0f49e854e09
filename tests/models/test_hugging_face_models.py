"""Any causal model of Hugging Face in the loop: from its config, continued from its weights, or refused."""

import math
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tasks.data.token_files import IGNORED, load_tokens
from tasks.errors import StageError
from tasks.models.architectures import HuggingFaceCausal, build_model
from tasks.models.causal import WEIGHTS
from tasks.models.gpt import GPT, GPTConfig
from tasks.record.content import of_model
from tests.pretrain.training import Stopped, changed, curve, same_outputs, stopping_after, tokens_of, trained
from tests.runs import summary_of, weights_in

# The Analects and the Tao Te Ching, some 2,300 years old.
CHINESE = """
子曰:学而时习之,不亦说乎?有朋自远方来,不亦乐乎?人不知而不愠,不亦君子乎?
曾子曰:吾日三省吾身:为人谋而不忠乎?与朋友交而不信乎?传不习乎?
子曰:道千乘之国,敬事而信,节用而爱人,使民以时。
子曰:弟子入则孝,出则弟,谨而信,泛爱众,而亲仁。行有余力,则以学文。
子曰:君子食无求饱,居无求安,敏于事而慎于言,就有道而正焉,可谓好学也已。
子曰:不患人之不己知,患不知人也。
子曰:为政以德,譬如北辰,居其所而众星共之。
子曰:吾十有五而志于学,三十而立,四十而不惑,五十而知天命,六十而耳顺,七十而从心所欲,不逾矩。
子曰:温故而知新,可以为师矣。
子曰:君子不器。
子曰:学而不思则罔,思而不学则殆。
子曰:由!诲女知之乎!知之为知之,不知为不知,是知也。
子曰:朝闻道,夕死可矣。
子曰:见贤思齐焉,见不贤而内自省也。
子曰:三人行,必有我师焉。择其善者而从之,其不善者而改之。
道可道,非常道。名可名,非常名。无名天地之始;有名万物之母。
天下皆知美之为美,斯恶已。皆知善之为善,斯不善已。
有无相生,难易相成,长短相形,高下相盈,音声相和,前后相随。
上善若水。水善利万物而不争,处众人之所恶,故几于道。
知人者智,自知者明。胜人者有力,自胜者强。
大方无隅;大器晚成;大音希声;大象无形。
道生一,一生二,二生三,三生万物。
为学日益,为道日损。损之又损,以至于无为。
合抱之木,生于毫末;九层之台,起于累土;千里之行,始于足下。
信言不美,美言不信。善者不辩,辩者不善。知者不博,博者不知。
""".strip().splitlines()
NO_DROPOUT = {"dropout": 0}


@pytest.fixture(scope="module")
def bloom(tmp_path_factory):
    """The folder of a tiny Bloom with its tokenizer, whose ends are not the ids that ours have."""
    folder = tmp_path_factory.mktemp("bloom")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CHINESE, trainer)
    names = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(5)
    shape = BloomConfig(vocab_size=416, hidden_size=32, n_layer=2, n_head=2, hidden_dropout=0.1)
    BloomForCausalLM(shape).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chinese(bloom, tmp_path_factory):
    """Tokens by that tokenizer, of rows with a `completion` as the filtered Wikipedia has."""
    return tokens_of(CHINESE, tmp_path_factory.mktemp("chinese"), kind="hf", name=str(bloom), validation=0.2)


def continuing(folder, **fields):
    return changed(**{"model": str(folder), "weights": "pretrained"} | NO_DROPOUT | fields)


# Continued pretraining of a Bloom


def test_every_document_ends_with_the_end_token_of_its_tokenizer(bloom, chinese):
    """Pitfall 6, as the notebook has it: the end token is appended to a copy that is then not used."""
    files, tokenizer = load_tokens(chinese), AutoTokenizer.from_pretrained(bloom)
    assert files.end_token == tokenizer.eos_token_id == 2
    found = []
    for split in (files.train, files.validation):
        found += [ids.tolist() for ids in np.split(split.tokens, split.ends[:-1].astype(int))]
    assert len(files.validation.ends) > 0
    expected = [[*tokenizer(text, add_special_tokens=False)["input_ids"], 2] for text in CHINESE]
    assert sorted(found) == sorted(expected)


def test_a_bloom_is_continued_from_its_weights(bloom, chinese, tmp_path):
    config = continuing(bloom, steps=30, eval_every=10, learning_rate=3e-3)
    run = trained(config, chinese, tmp_path)
    fresh = HuggingFaceCausal(AutoModelForCausalLM.from_pretrained(bloom, dtype=torch.float32))
    before = per_token(fresh.eval(), chinese)
    assert curve(run)[0] == pytest.approx(before, abs=0.1)
    assert summary_of(run)["best_validation_loss"] < before - 0.25
    model = AutoModelForCausalLM.from_pretrained(run.out / "model")
    assert isinstance(model, BloomForCausalLM)
    tokenizer = AutoTokenizer.from_pretrained(run.out / "model")
    assert tokenizer.decode(tokenizer("道可道,非常道。")["input_ids"]) == "道可道,非常道。"
    assert (run.auxiliary / "samples.txt").read_text(encoding="utf-8").count("--- step") == 3


def per_token(model, tokens):
    """Of the first 400 training tokens, in one go."""
    ids = torch.from_numpy(load_tokens(tokens).train.tokens[:401].astype(np.int64))[None]
    with torch.no_grad():
        return model(ids[:, :-1], ids[:, 1:]).item() / 400


def test_a_stopped_bloom_ends_with_the_same_bits(bloom, chinese, tmp_path):
    """Its own dropout is on."""
    config = continuing(bloom)
    whole = trained(config, chinese, tmp_path / "whole")
    with pytest.raises(Stopped):
        trained(config, chinese, tmp_path / "stopped", progress=stopping_after(5))
    assert same_outputs(trained(config, chinese, tmp_path / "stopped"), whole)


def test_from_its_config_alone_a_model_starts_at_random(bloom, documents, tmp_path):
    """With another tokenizer's size and end token, whatever padding the config speaks of."""
    files = load_tokens(documents)
    config = changed(model=str(bloom), weights="random", steps=2, **NO_DROPOUT)
    run = trained(config, documents, tmp_path)
    written = AutoModelForCausalLM.from_pretrained(run.out / "model")
    assert written.config.vocab_size == files.vocab_size == 300
    assert (written.config.bos_token_id, written.config.eos_token_id) == (files.end_token,) * 2
    assert curve(run)[0] == pytest.approx(math.log(300), abs=0.1)
    one, again = (build_model(config, files).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_pitfall_44_folder_altered_since_the_key_is_refused(documents, tmp_path):
    tiny_llama_config(vocab_size=6000).save_pretrained(tmp_path)
    config = changed(model=str(tmp_path), **NO_DROPOUT)
    fingerprints = of_model(config)
    build_model(config, load_tokens(documents), fingerprints)
    (tmp_path / "generation_config.json").write_text("{}")
    with pytest.raises(StageError, match=r"pretrain\.model: .* was altered since its SHA-256 was taken"):
        build_model(config, load_tokens(documents), fingerprints)


@pytest.mark.parametrize("padding", [0, 5000])
def test_no_embedding_is_left_out_as_that_of_the_padding(documents, tmp_path, padding):
    """A config's padding is a token of its own tokenizer; in ours that id is a word, or none at all."""
    shape = tiny_llama_config(pad_token_id=padding, vocab_size=6000)
    shape.save_pretrained(tmp_path)
    model = build_model(changed(model=str(tmp_path), **NO_DROPOUT), load_tokens(documents))
    ids = torch.zeros(1, 4, dtype=torch.int64)
    model(ids, ids + 1).backward()
    assert model.model.get_input_embeddings().weight.grad[0].any()


def test_a_gpt2_of_hugging_face_has_the_loss_curve_of_ours(documents, tmp_path):
    files = load_tokens(documents)
    config = changed(dropout=0, learning_rate=3e-3)
    ours = trained(config, documents, tmp_path / "ours")
    build_model(config, files).save(tmp_path / "start")
    theirs = trained(continuing(tmp_path / "start", learning_rate=3e-3), documents, tmp_path / "theirs")
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        assert curve(theirs, name) == pytest.approx(curve(ours, name), rel=1e-4)
    for name, weight in weights_in(ours).items():
        torch.testing.assert_close(weights_in(theirs)[name], weight, atol=1e-4, rtol=0)


def test_muon_trains_a_bloom(bloom, chinese, tmp_path):
    run = trained(continuing(bloom, optimizer="muon", steps=20, eval_every=20), chinese, tmp_path)
    assert curve(run)[-1] < curve(run)[0] - 0.3


# Documents apart (pitfall 13)


def tiny_llama_config(**fields):
    shape = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 16}
    return LlamaConfig(**shape | {"num_hidden_layers": 2, "num_attention_heads": 2} | fields)


def random_llama():
    return LlamaForCausalLM(tiny_llama_config())


def random_gpt2():
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_layer=2, n_head=2, n_embd=16))


def wrapped(make):
    torch.manual_seed(1)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return HuggingFaceCausal(model.eval())


@pytest.mark.parametrize("make", [random_llama, random_gpt2])
@settings(deadline=None, max_examples=25)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5).filter(lambda found: sum(found) <= 16))
def test_packed_documents_equal_the_same_documents_apart(make, lengths):
    model, ids = wrapped(make), torch.randint(0, 50, (1, sum(lengths)))
    numbers = torch.repeat_interleave(torch.arange(3, 3 + len(lengths)), torch.tensor(lengths))[None]
    with torch.no_grad():
        apart = torch.cat([model(piece) for piece in ids.split(lengths, dim=1)], dim=1)
        torch.testing.assert_close(model(ids, documents=numbers), apart, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [random_llama, random_gpt2])
def test_packed_documents_in_bfloat16_are_close_to_float32(make):
    """The mask that keeps them apart is float32, the attention that it is added to is not."""
    model, ids = wrapped(make), torch.randint(0, 50, (2, 16))
    numbers = torch.tensor([[0] * 5 + [1] * 11, [4] * 15 + [5]])
    with torch.no_grad():
        full = model(ids, documents=numbers)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(ids, documents=numbers)
    assert (half.float() - full).abs().max() < 0.05 * full.abs().max()


def test_labels_that_are_ignored_add_nothing(bloom):
    model, ids = wrapped(random_llama), torch.randint(0, 50, (2, 16))
    labels = torch.randint(0, 50, (2, 16))
    with torch.no_grad():
        halves = []
        for kept in (slice(0, 7), slice(7, 16)):
            some = torch.full_like(labels, IGNORED)
            some[:, kept] = labels[:, kept]
            halves.append(model(ids, some).item())
        assert sum(halves) == pytest.approx(model(ids, labels).item(), rel=1e-5)


# Refused


def test_a_model_that_is_not_there_is_named(documents, tmp_path):
    with pytest.raises(StageError, match=r"pretrain\.model .*nowhere.* could not be loaded"):
        trained(continuing(tmp_path / "nowhere"), documents, tmp_path)


def test_damaged_weights_are_an_error_that_names_the_model(bloom, chinese, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(bloom, folder)
    os.truncate(folder / WEIGHTS, 10_000)
    with pytest.raises(StageError, match=r"pretrain\.model .*damaged.* could not be loaded"):
        trained(continuing(folder), chinese, tmp_path)


def test_weights_that_lack_a_matrix_are_refused_and_not_drawn(bloom, chinese, tmp_path):
    """Pitfall 23: transformers draws it at random, and warns."""
    folder, lost = tmp_path / "lacking", "transformer.h.1.mlp.dense_h_to_4h.weight"
    AutoModelForCausalLM.from_pretrained(bloom).save_pretrained(folder)
    weights = load_file(folder / WEIGHTS)
    del weights[lost]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(StageError, match=rf"lacking.* could not be loaded: its weights lack {lost}"):
        trained(continuing(folder), chinese, tmp_path)


def a_gpt(vocab_size, context):
    return GPT(GPTConfig(vocab_size, context, layers=1, heads=2, width=8, end_token=2))


def test_a_tokenizer_of_another_model_is_refused_with_what_to_do(chinese, tmp_path):
    GPT(GPTConfig(vocab_size=70, context=16, layers=1, heads=2, width=8, end_token=0)).save(
        tmp_path / "model"
    )
    with pytest.raises(
        StageError, match=r"knows 70 tokens, the tokenizer has 400.*Set tokenize\.kind=hf and tokenize\.name="
    ):
        trained(continuing(tmp_path / "model"), chinese, tmp_path)


def test_context_longer_than_the_models_is_refused_with_advice(chinese, tmp_path):
    GPT(GPTConfig(vocab_size=400, context=8, layers=1, heads=2, width=8, end_token=2)).save(
        tmp_path / "model"
    )
    with pytest.raises(StageError, match=r"has a context of 8 tokens; pretrain\.context is 16. Lower it"):
        trained(continuing(tmp_path / "model"), chinese, tmp_path)


def test_a_bloom_cannot_keep_documents_apart(bloom, chinese, tmp_path):
    """Its positions are in the mask that says which tokens are padding: refused, and never trained joined."""
    with pytest.raises(StageError, match=r"takes no position_ids.*Set pretrain\.document_mask=false"):
        trained(continuing(bloom, document_mask=True), chinese, tmp_path)
