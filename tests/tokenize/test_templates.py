"""Prompt templates, to the letter: what is trained on is what is asked with (pitfalls 10 and 11)."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from tasks.errors import StageError
from tasks.machine.time_limit import TooLongError, within
from tasks.tokenize.stage import train_bpe
from tasks.tokenize.templates import OURS, load_template

INSTRUCTION = "Name the opposite of {hot}."
CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hi"},
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(["Name the opposite of hot. Below is an instruction"], 300)


@pytest.fixture
def beginning():
    """A tokenizer that puts its beginning token before every text, as Llama's does."""
    tokenizer = train_bpe(["Name the opposite of hot."], 300)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.convert_tokens_to_ids("<s>"))]
    )
    return tokenizer


def test_alpaca_with_and_without_input(tokenizer):
    alpaca = load_template("alpaca", tokenizer)
    preamble = (
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request."
    )
    without = f"{preamble}\n\n### Instruction:\n{INSTRUCTION}\n\n### Response:\n"
    assert alpaca.prompt({"instruction": INSTRUCTION}) == without
    assert alpaca.prompt({"instruction": INSTRUCTION, "input": ""}) == without
    assert alpaca.prompt({"instruction": "Translate.", "input": "10 €, {} %s\n"}) == (
        f"{preamble}\n\n### Instruction:\nTranslate.\n\n### Input:\n10 €, {{}} %s\n\n\n### Response:\n"
    )


@pytest.mark.parametrize(
    ("name", "without", "with_input"),
    [
        ("phi3", "<|user|>\nAsk.<|end|>\n<|assistant|>\n", "<|user|>\nAsk.\nten<|end|>\n<|assistant|>\n"),
        (
            "chatml",
            "<|im_start|>user\nAsk.<|im_end|>\n<|im_start|>assistant\n",
            "<|im_start|>user\nAsk.\nten<|im_end|>\n<|im_start|>assistant\n",
        ),
        ("plain", "Ask.", "Ask.\nten"),
    ],
)
def test_the_other_templates_with_and_without_input(tokenizer, name, without, with_input):
    template = load_template(name, tokenizer)
    assert template.prompt({"instruction": "Ask.", "input": ""}) == without
    assert template.prompt({"instruction": "Ask.", "input": "ten"}) == with_input


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        (
            "alpaca",
            "Be short.\n\n### Instruction:\nHello\n\n### Response:\nHi<|endoftext|>"
            "\n\n### Instruction:\nAsk.\n\n### Response:\n",
        ),
        (
            "phi3",
            "<|system|>\nBe short.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\nHi<|endoftext|>\n"
            "<|user|>\nAsk.<|end|>\n<|assistant|>\n",
        ),
        (
            "chatml",
            "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
            "<|im_start|>assistant\nHi<|endoftext|>\n<|im_start|>user\nAsk.<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
    ],
)
def test_earlier_turns_stand_before_the_question(tokenizer, name, prompt):
    row = {"instruction": "Ask.", "input": "", "messages": CHAT}
    assert load_template(name, tokenizer).prompt(row) == prompt


@pytest.mark.parametrize("name", OURS)
def test_completion_ends_with_one_end_token_and_begins_bare(tokenizer, name):
    template = load_template(name, tokenizer)
    text = tokenizer("hot", add_special_tokens=False)["input_ids"]
    assert template.completion_ids("hot") == [*text, tokenizer.eos_token_id]
    assert template.response(template.completion_ids("  hot\n")) == "hot"


@pytest.mark.parametrize("name", OURS)
def test_pitfall_11_loaded_tokenizer_asks_with_tokens_trained_on(tokenizer, name, tmp_path):
    template = load_template(name, tokenizer)
    template.export(tokenizer).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    row = {"instruction": "Name the opposite.", "input": "", "messages": CHAT}
    turns = [*CHAT, {"role": "user", "content": "Name the opposite."}]
    asked = loaded.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert asked == template.prompt_ids(row)
    whole = [*turns, {"role": "assistant", "content": "hot"}]
    trained = template.prompt_ids(row) + template.completion_ids("hot")
    assert loaded.apply_chat_template(whole, return_dict=False)[: len(trained)] == trained


@pytest.mark.parametrize("name", OURS)
def test_pitfall_10_beginning_token_begins_a_prompt_once(beginning, name):
    template = load_template(name, beginning)
    for row in (
        {"instruction": "Name it.", "input": "<s> and <s>"},
        {"instruction": "Name it.", "plain": True},
    ):
        ids = template.prompt_ids(row)
        assert ids[0] == beginning.bos_token_id
        assert ids.count(beginning.bos_token_id) == 1
    assert beginning.bos_token_id not in template.completion_ids("It is <s>.")


def test_template_that_holds_the_beginning_token_begins_once(beginning):
    beginning.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
    ids = load_template("tokenizer", beginning).prompt_ids({"instruction": "Name it.", "input": ""})
    assert ids.count(beginning.bos_token_id) == 1


@pytest.mark.parametrize("name", OURS)
def test_what_looks_like_a_special_token_in_a_row_is_text(tokenizer, name):
    template = load_template(name, tokenizer)
    end = tokenizer.eos_token_id
    row = {"instruction": "Say <|endoftext|>", "input": "", "messages": CHAT}
    assert template.prompt_ids(row).count(end) == 1  # the turn of the assistant before
    assert tokenizer.decode(template.prompt_ids(row)) == template.prompt(row)
    assert template.completion_ids("<|endoftext|>").count(end) == 1
    plain = {"instruction": "Say <|endoftext|>", "plain": True}
    assert end not in template.prompt_ids(plain)


def test_a_row_of_plain_text_has_no_template(tokenizer):
    row = {"instruction": "Once upon", "input": "", "output": " a time", "plain": True}
    assert load_template("alpaca", tokenizer).prompt(row) == "Once upon"


def test_own_template_closes_turns_with_more_than_the_end_token(tokenizer):
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>"]})
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    template = load_template("tokenizer", tokenizer)
    assert template.prompt({"instruction": "Ask.", "input": ""}) == "<user>Ask.<end_of_turn>\n<assistant>"
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert template.completion_ids("hot")[-2:] == [end_of_turn, tokenizer.eos_token_id]
    assert template.response(template.completion_ids("hot")) == "hot"


def test_turn_refused_by_the_tokenizers_template_names_the_row(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(StageError, match=r"row 7 does not fit .* no system role"):
        load_template("tokenizer", tokenizer).prompt({"id": 7, "instruction": "Ask.", "input": ""})


LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("hostile", "told"),
    [
        (LOOP, "had not ended after 0 s"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "RecursionError"),
        ("{{ range(10**9) | length }}", "OverflowError"),
        ("{{ 'a' * 10**18 }}", "MemoryError|OverflowError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages[0].content.nothing.at.all }}", "no attribute|undefined"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe|undefined"),
        ("{{ cycler.__init__.__globals__.os.popen('touch was-here') }}", "unsafe|undefined"),
        ("{{ lipsum.__globals__['os'].system('touch was-here') }}", "unsafe|undefined"),
        ("{{ messages.append(1) }}", "unsafe|not safe"),
        ("{% for a in messages", "row 7|unexpected"),
    ],
)
def test_hostile_template_ends_soon_with_one_message(tokenizer, tmp_path, monkeypatch, hostile, told):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.tokenize.templates.LONGEST_RENDERING", 0.3)
    carrier = train_bpe(["Name the opposite of hot."], 300)
    carrier.chat_template = hostile
    started = time.monotonic()
    with pytest.raises(StageError, match=told) as caught:
        load_template("tokenizer", carrier).prompt({"id": 7, "instruction": "Ask."})
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def _never_ends():
    with within(0.1):
        while True:
            pass


def test_a_limit_ends_only_what_is_over_it():
    with within(30):
        assert sum(range(1000)) == 499500
    with pytest.raises(TooLongError):
        _never_ends()
    time.sleep(0.5)  # nothing comes later


def test_limits_of_threads_are_their_own():
    with ThreadPoolExecutor(2) as threads:
        ends = [threads.submit(_never_ends) for _ in range(2)]
        with within(30):
            for end in ends:
                assert isinstance(end.exception(timeout=20), TooLongError)


def test_a_tokenizer_without_a_chat_template_is_refused(tokenizer):
    tokenizer.chat_template = None
    with pytest.raises(StageError, match=r"carries no chat template of its own. Choose one of alpaca, phi3"):
        load_template("tokenizer", tokenizer)


@pytest.mark.parametrize("name", OURS)
def test_a_prompt_never_holds_the_answer(tokenizer, name):
    row = {"instruction": "Say it.", "input": "now", "output": "the answer"}
    assert "the answer" not in load_template(name, tokenizer).prompt(row)
