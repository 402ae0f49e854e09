"""Tokenizers as they come, made small: the kinds of Llama, Qwen, BERT and T5, and what is learned."""

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tasks.batches.supervised import supervise
from tasks.data.token_files import IGNORED, id_count
from tasks.errors import StageError
from tasks.tokenize.replies import MERGED
from tasks.tokenize.stage import text_ids
from tasks.tokenize.templates import load_template

LINES = ["Say hello to the world. How are you?", "Name the opposite of hot: cold."] * 3
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
ROW = {
    "id": 7,
    "messages": [{"role": "user", "content": "Say hello"}, {"role": "assistant", "content": "hello"}],
    "instruction": "Name the opposite of hot",
    "input": "",
    "output": "cold ✓",
}


def llama():
    """SentencePiece's byte pairs: a space before each text, and bytes for what the vocabulary lacks."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *BYTES]
    made.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    )
    whole = json.loads(made.to_str())
    whole["added_tokens"] = [token for token in whole["added_tokens"] if token["content"] not in BYTES]
    made = Tokenizer.from_str(json.dumps(whole))
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def qwen():
    """Bytes, split as Qwen does, with a normalizer; its special tokens stand behind a gap in the ids."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        LINES, trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    )
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    whole = json.loads(made.to_str())
    for token in whole["added_tokens"]:
        token["id"] += 20
        whole["model"]["vocab"][token["content"]] = token["id"]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )


def bert():
    """Pieces of lower-case words, and no end token."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece("##")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(
        LINES, trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    )


def t5():
    """A Unigram vocabulary without line breaks, and a space before each text."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always")
    made.decoder = decoders.Metaspace("▁", "always")
    special = ["<pad>", "</s>", "<unk>"]
    made.train_from_iterator(
        LINES,
        trainers.UnigramTrainer(
            vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", eos_token="</s>"
    )


def learned_text(template, row):
    example = supervise(template, row, 1000, turns="all")
    return template.tokenizer.decode([label for label in example.labels if label != IGNORED])


@pytest.mark.parametrize("name", ["phi3", "chatml", "alpaca"])
@pytest.mark.parametrize("make", [llama, qwen])
def test_replies_of_every_turn_are_learned_to_their_ends(make, name):
    tokenizer = make()
    end = tokenizer.eos_token
    assert learned_text(load_template(name, tokenizer), ROW) == f"hello{end}cold ✓{end}"


@pytest.mark.parametrize("name", ["phi3", "chatml", "alpaca"])
@pytest.mark.parametrize("make", [llama, qwen])
def test_reply_has_the_same_tokens_last_as_in_the_conversation(make, name):
    template = load_template(name, make())
    asked = {"id": 0, "instruction": "Say hello", "input": ""}
    whole = template.prompt_ids(asked) + template.completion_ids("hello")
    assert template.prompt_ids(ROW)[: len(whole)] == whole
    assert template.response(template.completion_ids("hello to the ✓")) == "hello to the ✓"


def test_plain_text_goes_on_with_the_one_space_it_has():
    template = load_template("plain", llama())
    whole = template.prompt_ids({"instruction": "Say hello", "plain": True})
    whole += template.completion_ids(" to the world")
    assert template.tokenizer.decode(whole, skip_special_tokens=True) == "Say hello to the world"


def test_bytes_stand_for_what_the_vocabulary_lacks():
    tokenizer = llama()
    (ids,) = text_ids(tokenizer, ["✓"])
    assert tokenizer.convert_ids_to_tokens(ids)[-3:] == ["<0xE2>", "<0x9C>", "<0x93>"]
    assert tokenizer.decode(ids) == "✓"


def test_ids_with_gaps_count_to_the_largest():
    tokenizer = qwen()
    assert len(tokenizer.get_vocab()) < id_count(tokenizer) == tokenizer.eos_token_id + 1


def test_vocabulary_without_line_breaks_learns_what_it_can_tell():
    template = load_template("chatml", t5())
    example = supervise(template, ROW, 1000, turns="all")
    assert example.replies == 2
    assert set(example.unlearned) <= {MERGED}
    assert learned_text(template, ROW).endswith("cold <unk></s>")
    assert template.response(template.completion_ids("hello to the")) == "hello to the"


def test_tokenizer_without_an_end_token_is_refused_with_advice():
    with pytest.raises(StageError, match=r"no end token, .* Choose a base model that writes text, or name"):
        load_template("chatml", bert())
