"""What is learned with tokenizers as they come: the kinds of Llama, Qwen, BERT and T5."""

import pytest

from tasks.batches.supervised import supervise
from tasks.data.token_files import IGNORED, id_count
from tasks.errors import StageError
from tasks.tokenize.replies import MERGED
from tasks.tokenize.stage import text_ids
from tasks.tokenize.templates import load_template
from tests.tokenize.kinds import bert, llama, qwen, t5

ROW = {
    "id": 7,
    "messages": [{"role": "user", "content": "Say hello"}, {"role": "assistant", "content": "hello"}],
    "instruction": "Name the opposite of hot",
    "input": "",
    "output": "cold ✓",
}


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
