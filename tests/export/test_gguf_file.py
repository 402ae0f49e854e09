"""A GGUF file holds the weights of the model; what it cannot express is refused."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tasks.errors import StageError
from tasks.export.gguf_file import KINDS, write_gguf

END = "<|endoftext|>"


def tokenizer_of(pre=None, size=300):
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat, the other cat on the other mat"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END)


def gpt2(size):
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=size, n_positions=32, n_embd=64, n_layer=2, n_head=2)).eval()


def llama(size, **options):
    torch.manual_seed(0)
    own = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    own |= {"num_key_value_heads": 2, "max_position_embeddings": 32}
    return LlamaForCausalLM(LlamaConfig(vocab_size=size, **(own | options))).eval()


def read_back(model, path):
    own = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, config=model.config, dtype=torch.float32
    )
    return own.eval()


@pytest.mark.parametrize("make", [gpt2, llama, lambda size: llama(size, tie_word_embeddings=True)])
def test_weights_are_read_back_as_they_were_written(tmp_path, make):
    tokenizer = tokenizer_of()
    model, path = make(len(tokenizer)), tmp_path / "model.gguf"
    counts = write_gguf(model, tokenizer, path)
    assert set(counts) == {"f32"}
    ids = torch.arange(20)[None]
    assert torch.allclose(read_back(model, path)(ids).logits, model(ids).logits, atol=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "f32"])
def test_smaller_kinds_differ_by_their_rounding_alone(tmp_path, kind):
    tokenizer = tokenizer_of()
    model, path = gpt2(len(tokenizer)), tmp_path / "model.gguf"
    assert kind in write_gguf(model, tokenizer, path, kind=kind)
    ids = torch.arange(20)[None]
    expected, found = model(ids).logits, read_back(model, path)(ids).logits
    assert not torch.equal(expected, found)
    assert (expected - found).abs().max() < 0.2 * expected.abs().max()


def test_rows_of_no_whole_number_of_blocks_stay_in_float16(tmp_path):
    tokenizer = tokenizer_of()
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=32, n_embd=48, n_layer=1, n_head=2)
    counts = write_gguf(GPT2LMHeadModel(config), tokenizer, tmp_path / "model.gguf", kind="q8_0")
    assert set(counts) == {"f32", "f16", "q8_0"}  # rows of 48 are none, those of 192 are


def test_other_architectures_are_refused_by_name(tmp_path):
    tokenizer = tokenizer_of()
    model = gpt2(len(tokenizer))
    model.config.model_type = "mamba"
    with pytest.raises(StageError, match="architecture mamba cannot be written as GGUF here"):
        write_gguf(model, tokenizer, tmp_path / "model.gguf")


def test_tokenizers_gguf_cannot_express_are_refused(tmp_path):
    words = Tokenizer(WordLevel({"a": 0, END: 1}, unk_token=END))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END)
    with pytest.raises(StageError, match="a token is a whole word or character"):
        write_gguf(gpt2(2), tokenizer, tmp_path / "model.gguf")
    unknown = tokenizer_of(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Punctuation(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    )
    with pytest.raises(StageError, match="splits words in a way for which"):
        write_gguf(gpt2(len(unknown)), unknown, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_tokenizer_with_more_tokens_than_the_model_is_refused(tmp_path):
    with pytest.raises(StageError, match="and the model only 100"):
        write_gguf(gpt2(100), tokenizer_of(), tmp_path / "model.gguf")
