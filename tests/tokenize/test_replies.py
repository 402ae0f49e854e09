"""What the assistant says in a conversation is learned in every turn: its own tokens and what ends them."""

from itertools import groupby

import pytest
from transformers import AutoTokenizer

from tasks.batches.supervised import supervise, tell_replies
from tasks.data.token_files import IGNORED
from tasks.errors import StageError
from tasks.tokenize.replies import ENDLESS, MERGED, REWRITTEN, UNMARKED, earlier_replies
from tasks.tokenize.stage import characters, train_bpe
from tasks.tokenize.templates import OURS, load_template

EVERY = "".join(map(chr, range(32, 127))) + "\n"
SYSTEM = {"role": "system", "content": "Be short."}
ROW = {
    "id": 7,
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": "How are you?"},
        {"role": "assistant", "content": "Well."},
    ],
    "instruction": "Good.",
    "input": "",
    "output": "Yes",
}
PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
END = "<|endoftext|>"
THREE_TURNS = {
    "alpaca": [
        (False, f"{PREAMBLE}\n\n### Instruction:\nHello\n\n### Response:\n"),
        (True, f"Hi{END}"),
        (False, "\n\n### Instruction:\nHow are you?\n\n### Response:\n"),
        (True, f"Well.{END}"),
        (False, "\n\n### Instruction:\nGood.\n\n### Response:\n"),
        (True, f"Yes{END}"),
    ],
    "phi3": [
        (False, "<|user|>\nHello<|end|>\n<|assistant|>\n"),
        (True, f"Hi{END}"),
        (False, "\n<|user|>\nHow are you?<|end|>\n<|assistant|>\n"),
        (True, f"Well.{END}"),
        (False, "\n<|user|>\nGood.<|end|>\n<|assistant|>\n"),
        (True, f"Yes{END}"),
    ],
    "chatml": [
        (False, "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
        (True, f"Hi{END}"),
        (False, "\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"),
        (True, f"Well.{END}"),
        (False, "\n<|im_start|>user\nGood.<|im_end|>\n<|im_start|>assistant\n"),
        (True, f"Yes{END}"),
    ],
    "plain": [
        (False, "Hello"),
        (True, f"Hi{END}"),
        (False, "How are you?"),
        (True, f"Well.{END}"),
        (False, "Good."),
        (True, f"Yes{END}"),
    ],
}

# Each turn in brackets; the assistant's by `SAID`, which says what becomes of a turn.
TURNS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}[SAID{% else %}[{{ m.role }} {{ m.content }}]"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}[{% endif %}"
)
STABLE = TURNS.replace("SAID", "{{ m.content | trim }}{{ eos_token }}]")
WITHOUT_END = TURNS.replace("SAID", "{{ m.content }}]\n")
MARKED = TURNS.replace("SAID", "{% generation %}{{ m.content }}{{ eos_token }}\n{% endgeneration %}]")
UNTHINKING = TURNS.replace(  # as Qwen3's: what was thought before the last question is left out
    "SAID", "{{ m.content.split('</think>')[-1] if not loop.last else m.content }}{{ eos_token }}]"
)


@pytest.fixture(scope="module")
def tokenizer():
    """One token a character, so that a text says exactly which tokens it is."""
    return characters([EVERY])


def carrying(tokenizer, chat_template):
    tokenizer.chat_template = chat_template
    return load_template("tokenizer", tokenizer)


def parts_of(template, example):
    """Runs of tokens with and without labels, decoded."""
    pairs = list(zip(example.input_ids, example.labels, strict=True))
    assert all(label in (IGNORED, token) for token, label in pairs)
    runs = groupby(pairs, key=lambda pair: pair[1] != IGNORED)
    return [(learned, template.tokenizer.decode([token for token, _ in run])) for learned, run in runs]


@pytest.mark.parametrize("name", OURS)
def test_three_turns_have_labels_at_every_reply_and_its_end(tokenizer, name):
    template = load_template(name, tokenizer)
    example = supervise(template, ROW, 1000, turns="all")
    assert parts_of(template, example) == THREE_TURNS[name]
    assert (example.replies, example.replies_learned, example.lost) == (3, 3, 0)
    assert example.input_ids.count(tokenizer.eos_token_id) == 3


@pytest.mark.parametrize("name", OURS)
def test_turns_last_has_labels_at_the_last_reply_alone(tokenizer, name):
    template = load_template(name, tokenizer)
    parts = parts_of(template, supervise(template, ROW, 1000, turns="last"))
    whole = "".join(text for _, text in THREE_TURNS[name])
    assert parts == [(False, whole.removesuffix(f"Yes{END}")), (True, f"Yes{END}")]


@pytest.mark.parametrize("name", OURS)
def test_every_turn_of_bpe_follows_what_it_is_asked_with(name):
    template = load_template(name, train_bpe(["Hello Hi How are you? Well. Good. Yes"], 300))
    example = supervise(template, ROW, 1000, turns="all")
    whole = "".join(text for _, text in THREE_TURNS[name])
    assert template.tokenizer.decode(example.input_ids) == whole
    turns = [*ROW["messages"], {"role": "user", "content": ROW["instruction"]}]
    for reply, place in zip(earlier_replies(template, ROW), (1, 3), strict=True):
        asked = {"messages": turns[: place - 1], "instruction": turns[place - 1]["content"]}
        prompt, said = template.prompt_ids(asked), template.completion_ids(turns[place]["content"])
        assert example.input_ids[: reply.stop] == prompt + said
        assert (reply.start, reply.stop) == (len(prompt), len(prompt + said))


def test_one_turn_is_the_same_with_either_setting(tokenizer):
    row = {"id": 0, "instruction": "Hello", "input": "x", "output": "Hi", "messages": [SYSTEM]}
    for name in OURS:
        template = load_template(name, tokenizer)
        for length in (1000, len(template.prompt_ids(row)) + 2):
            every, last = (supervise(template, row, length, turns=turns) for turns in ("all", "last"))
            assert every == last


def test_own_template_without_marks_is_read_by_prefixes(tokenizer):
    row = ROW | {"messages": [SYSTEM, *ROW["messages"][:1], {"role": "assistant", "content": " Hi \n"}]}
    template = carrying(tokenizer, STABLE)
    example = supervise(template, row, 1000, turns="all")
    assert parts_of(template, example) == [
        (False, "[system Be short.][user Hello]["),
        (True, f"Hi{END}"),
        (False, "][user Good.]["),
        (True, f"Yes{END}"),
    ]


def test_turns_end_as_a_template_without_the_end_token_has_them(tokenizer):
    template = carrying(tokenizer, WITHOUT_END)
    parts = parts_of(template, supervise(template, ROW, 1000, turns="all"))
    assert [text for learned, text in parts if learned] == ["Hi]", "Well.]", f"Yes]{END}"]


def test_marks_of_a_template_say_what_is_learned(tokenizer):
    template = carrying(tokenizer, MARKED)
    example = supervise(template, ROW, 1000, turns="all")
    assert parts_of(template, example) == [
        (False, "[user Hello]["),
        (True, f"Hi{END}"),
        (False, "\n][user How are you?]["),
        (True, f"Well.{END}"),
        (False, "\n][user Good.]["),
        (True, f"Yes{END}"),
    ]
    only_last = MARKED.replace("{% generation %}", "{% if loop.index > 2 %}{% generation %}").replace(
        "{% endgeneration %}", "{% endgeneration %}{% endif %}"
    )
    assert [reply.unlearned for reply in earlier_replies(carrying(tokenizer, only_last), ROW)] == [
        "",
        UNMARKED,
    ]


def test_turn_that_the_template_rewrites_later_is_only_read(tokenizer):
    template = carrying(tokenizer, UNTHINKING)
    thought = [ROW["messages"][0], {"role": "assistant", "content": "<think>Hm.</think>Hi"}]
    row = ROW | {"messages": thought + ROW["messages"][2:]}
    example = supervise(template, row, 1000, turns="all")
    assert parts_of(template, example) == [
        (False, f"[user Hello][Hi{END}][user How are you?]["),
        (True, f"Well.{END}"),
        (False, "][user Good.]["),
        (True, f"Yes{END}"),
    ]
    assert (example.replies, example.replies_learned, example.unlearned) == (3, 2, (REWRITTEN,))
    told = []
    tell_replies(told.append, [example])
    assert told == [f"1 of 3 replies of the assistant are only read, not learned: {REWRITTEN}"]


def test_reply_that_shares_a_token_with_the_prompt_is_only_read():
    template = load_template("plain", train_bpe(["HelloHi " * 9], 300))
    row = ROW | {"messages": ROW["messages"][:2]}
    example = supervise(template, row, 1000, turns="all")
    assert example.unlearned == (MERGED,)
    assert parts_of(template, example)[-1] == (True, f"Yes{END}")


def test_template_that_ends_no_turn_has_its_last_reply_learned(tokenizer):
    template = carrying(tokenizer, "{% for m in messages %}{{ m.content }}{% endfor %}")
    example = supervise(template, ROW, 1000, turns="all")
    assert example.unlearned == (ENDLESS, ENDLESS)
    assert parts_of(template, example)[-1] == (True, f"Yes{END}")


def test_words_that_look_special_are_text_in_every_turn(tokenizer):
    turns = [ROW["messages"][0], {"role": "assistant", "content": f"Say {END}!"}]
    for template in (*(load_template(name, tokenizer) for name in OURS), carrying(tokenizer, MARKED)):
        example = supervise(template, ROW | {"messages": turns}, 1000, turns="all")
        learned = [token for token in example.labels if token != IGNORED]
        assert template.tokenizer.decode(learned) == f"Say {END}!{END}Yes{END}"
        assert learned.count(tokenizer.eos_token_id) == 2


def test_conversation_is_cut_at_the_last_reply_that_has_room(tokenizer):
    template = load_template("chatml", tokenizer)
    whole = THREE_TURNS["chatml"]
    second = sum(len(template.ids_of(text)) for _, text in whole[:4])
    within_last = sum(len(template.ids_of(text)) for _, text in whole[:5]) + 1

    example = supervise(template, ROW, within_last, turns="all")  # no room for a token and the end
    assert parts_of(template, example) == whole[:4]
    assert (len(example.input_ids), example.ends, example.cut) == (second, True, True)
    assert (example.replies, example.replies_lost, example.replies_learned) == (3, 1, 2)

    example = supervise(template, ROW, second - 2, turns="all")
    assert parts_of(template, example) == [*whole[:3], (True, "Well")]
    assert (example.ends, example.replies_lost) == (False, 1)
    told = []
    tell_replies(told.append, [example])
    assert told == ["1 of 3 replies of the assistant did not fit at all"]


def test_conversation_whose_first_reply_has_no_room_is_refused(tokenizer):
    template = load_template("chatml", tokenizer)
    first = len(template.ids_of(THREE_TURNS["chatml"][0][1]))
    assert supervise(template, ROW, first + 2, turns="all").replies_lost == 2
    with pytest.raises(StageError, match=f"row 7 cannot be trained on: its prompt has {first} tokens"):
        supervise(template, ROW, first + 1, turns="all")
    with pytest.raises(StageError, match="row 7 cannot be trained on"):
        supervise(template, ROW, first + 2, turns="last")


def test_all_tokens_have_labels_whatever_the_turns(tokenizer):
    template = load_template("chatml", tokenizer)
    for turns in ("all", "last"):
        example = supervise(template, ROW, 1000, "all", turns=turns)
        assert example.labels == [IGNORED, *example.input_ids[1:]]


# As Hermes and Qwen have tools: listed in the system's turn, calls and results as JSON in tags.
TOOLED = (
    "{% if tools %}[system{% for tool in tools %} {{ tool | tojson }}{% endfor %}]{% endif %}"
    "{% for m in messages %}[{{ m.role }} {{ m.content }}{% for call in m.tool_calls %}"
    "<call>{{ call.function | tojson }}</call>{% endfor %}{{ eos_token if m.role == 'assistant' }}]"
    "{% endfor %}{% if add_generation_prompt %}[assistant {% endif %}"
)
LOOK = {"name": "look", "arguments": {"at": "it"}}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": LOOK}]}
LOOKED = ROW | {"messages": [ROW["messages"][0], CALL], "instruction": "4", "asked_by": {"role": "tool"}}
LISTED = {"tools": [{"type": "function", "function": {"name": "look"}}]}


def test_calls_of_tools_are_learned_and_their_results_read(tokenizer):
    template = carrying(tokenizer, TOOLED)
    example = supervise(template, LOOKED | LISTED, 1000, turns="all")
    assert parts_of(template, example) == [
        (False, '[system {"type": "function", "function": {"name": "look"}}][user Hello][assistant '),
        (True, f'<call>{{"name": "look", "arguments": {{"at": "it"}}}}</call>{END}'),
        (False, "][tool 4][assistant "),
        (True, f"Yes{END}"),
    ]
    asked = LOOKED | {"instruction": f"4{END}"}
    assert template.prompt_ids(asked).count(tokenizer.eos_token_id) == 1, "what a tool gives ends no turn"


@pytest.mark.parametrize("name", [*OURS, "tokenizer"])
@pytest.mark.parametrize(
    ("row", "told"),
    [
        (LOOKED, "calls of tools"),
        (ROW | LISTED, "a list of tools"),
        (LOOKED | LISTED, "calls of tools and"),
    ],
)
def test_tools_that_the_template_leaves_out_are_refused(tokenizer, name, row, told):
    template = carrying(tokenizer, STABLE) if name == "tokenizer" else load_template(name, tokenizer)
    with pytest.raises(StageError, match=f"row 7 holds {told}.* which the template '{name}' leaves out"):
        supervise(template, row, 1000)


def test_tokenizers_own_mask_marks_the_same_tokens(tokenizer, tmp_path):
    carrying(tokenizer, MARKED).export(tokenizer).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    turns = [*ROW["messages"], {"role": "user", "content": "Good."}, {"role": "assistant", "content": "Yes"}]
    found = loaded.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    line = loaded.convert_tokens_to_ids("\n")
    pairs = zip(found["input_ids"], found["assistant_masks"], strict=True)
    marked = [token for token, mark in pairs if mark and token != line]  # the template marks line breaks too
    example = supervise(carrying(tokenizer, MARKED), ROW, 1000, turns="all")
    assert [label for label in example.labels if label != IGNORED] == marked
