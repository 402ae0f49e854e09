"""Windows over contexts, labels on the answer's tokens, and the best span over all windows."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches.answering import Window, best_answer, longest_answer, windows_of
from tasks.batches.questions import OUTPUTS, Asked, Questions, answer_in, asked_in, span_loss
from tasks.errors import StageError
from tests.finetune.labelled_texts import byte_pieces, message_tokenizer, wordpieces

CONTEXT = (
    "note mother home dinner tomorrow letter garden prize winner claim cash urgent offer note home prize"
)
QUESTION = "home offer?"
TOKENIZERS = {"wordpiece": wordpieces, "roberta": byte_pieces, "gpt": message_tokenizer}


def row(answer="tomorrow letter", context=CONTEXT, question=QUESTION, **more):
    start = context.index(answer) if answer else None
    answers = {"text": [answer], "answer_start": [start]} if answer else {"text": [], "answer_start": []}
    return {"id": 3, "context": context, "question": question, "answers": answers} | more


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    made = TOKENIZERS[request.param]()
    made.model_max_length = 24 if request.param == "roberta" else 20  # it has four tokens of its own
    return made


def text_of(window, context, first, last):
    return context[window.offsets[first][0] : window.offsets[last][1]].strip()


def test_windows_share_a_quarter_and_cover_the_context(tokenizer):
    most = tokenizer.model_max_length
    windows = windows_of(tokenizer, QUESTION, CONTEXT, most)
    assert len(windows) > 1
    assert all(len(window.input_ids) <= most for window in windows)
    spans = [[offset for offset in window.offsets if offset] for window in windows]
    whole = tokenizer(CONTEXT, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert sorted({offset for span in spans for offset in span}) == sorted(whole)
    for one, other in pairwise(spans):
        assert one[-longest_answer(most) :] == other[: longest_answer(most)]
    asked = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    for window in windows:
        ids = window.input_ids
        assert any(ids[at : at + len(asked)] == asked for at in range(len(ids)))


def test_no_answer_is_an_encoders_first_token_and_gpts_last():
    (first,) = windows_of(wordpieces(), QUESTION, "note home", 40)
    assert first.none == 0
    gpt = message_tokenizer()
    (last,) = windows_of(gpt, QUESTION, "note home", 40)
    assert last.none == len(last.input_ids) - 1
    assert last.input_ids[-1] == gpt.eos_token_id
    assert gpt.decode(last.input_ids[:-1]) == "home offer?\nnote home"


def test_labels_stand_on_the_answer_where_it_is_whole(tokenizer):
    asked = asked_in(tokenizer, [row(), row("")], "train")
    of_first = [each for each in asked if each.row == 0]
    held = [each for each in of_first if each.holds_answer]
    assert held
    assert len(held) < len(of_first)
    for each in held:
        assert text_of(each.window, CONTEXT, each.start, each.end) == "tomorrow letter"
    assert not any(each.holds_answer for each in asked if each.row == 1)


def test_an_answer_is_labelled_without_spaces_around_it(tokenizer):
    spaced = row()
    spaced["answers"] = {"text": [" tomorrow letter "], "answer_start": [CONTEXT.index(" tomorrow")]}
    for each in asked_in(tokenizer, [spaced], "train"):
        if each.holds_answer:
            assert text_of(each.window, CONTEXT, each.start, each.end) == "tomorrow letter"


def test_an_answer_that_is_cut_by_every_window_is_none(tokenizer):
    long = CONTEXT[: len(CONTEXT) - 2]
    assert not any(each.holds_answer for each in asked_in(tokenizer, [row(long)], "train"))


@given(st.integers(0, 12), st.integers(1, 3))
def test_every_short_answer_stands_whole_in_a_window(first, count):
    words = CONTEXT.split()
    answer = " ".join(words[first : first + count])
    tokenizer = GPT
    start = len(" ".join([*words[:first], ""]))
    asked = row("") | {"answers": {"text": [answer], "answer_start": [start]}}
    if len(tokenizer(" " + answer)["input_ids"]) > longest_answer(tokenizer.model_max_length):
        return
    assert any(each.holds_answer for each in asked_in(tokenizer, [asked], "train"))


GPT = message_tokenizer()
GPT.model_max_length = 24


def test_a_question_that_leaves_no_room_is_told_with_its_row(tokenizer):
    with pytest.raises(
        StageError, match=r"test row 3: the question takes \d+ of 2[04] tokens, fewer than [56]"
    ):
        asked_in(tokenizer, [row(question=CONTEXT)], "test")


def window(offsets, none=0):
    return Window(list(range(len(offsets))), [], offsets, none)


def logits(size, **places):
    found = torch.zeros(size)
    for place, value in places.items():
        found[int(place[1:])] = value
    return found


SHORT = "ab cd ef"
OFFSETS = [None, None, (0, 2), (2, 5), (5, 8)]


def test_the_best_span_has_the_highest_sum_in_order():
    found = best_answer(SHORT, [window(OFFSETS)], [logits(5, p3=5.0)], [logits(5, p2=9.0, p4=3.0)], 3)
    assert found[:3] == ("ab", 0, 2)  # 0 + 9; 5 + 9 would end before it starts
    found = best_answer(SHORT, [window(OFFSETS)], [logits(5, p3=6.0)], [logits(5, p2=9.0, p4=4.0)], 3)
    assert found[:3] == ("cd ef", 3, 8)


def test_a_span_longer_than_the_longest_answer_is_not_given():
    starts, ends = [logits(5, p2=5.0)], [logits(5, p4=5.0)]
    assert best_answer(SHORT, [window(OFFSETS)], starts, ends, 3).text == SHORT
    assert best_answer(SHORT, [window(OFFSETS)], starts, ends, 2).text != SHORT


def test_question_and_special_tokens_are_no_answers():
    found = best_answer(SHORT, [window(OFFSETS)], [logits(5, p1=50.0)], [logits(5, p1=50.0, p4=1.0)], 3)
    assert found.end == 8


def test_no_answer_wins_by_the_lowest_of_its_scores_over_windows():
    other = window([None, None, (3, 5), (5, 8)])
    starts, ends = [logits(5, p0=9.0), logits(4, p0=2.0, p2=3.0)], [logits(5), logits(4, p2=0.5)]
    assert best_answer(SHORT, [window(OFFSETS), other], starts, ends, 3)[:3] == ("cd", 3, 5)
    starts[1][0] = 4.0
    assert best_answer(SHORT, [window(OFFSETS), other], starts, ends, 3)[:3] == ("", None, None)


def test_probabilities_are_a_softmax_over_spans_and_none():
    one = window([None, (0, 2)])
    found = best_answer("ab", [one], [logits(2, p1=1.0)], [logits(2, p1=1.0)], 3)
    assert found.probability == pytest.approx(torch.tensor([0.0, 2.0]).softmax(0)[1].item())


def test_the_loss_is_over_the_places_of_the_window_alone():
    generator = torch.Generator().manual_seed(0)
    starts, ends = torch.randn(2, 2, 7, generator=generator)
    labels = torch.tensor([[1, 2, 5], [0, 0, 7]])
    expected = -sum(
        logits[at, : labels[at, 2]].log_softmax(0)[labels[at, part]]
        for part, logits in enumerate((starts, ends))
        for at in range(2)
    )
    assert span_loss(starts, ends, labels) == pytest.approx(expected / 4)
    assert span_loss(starts, ends, labels, torch.tensor(12)) == pytest.approx(expected / 8)  # of two such
    padded = torch.cat([starts, torch.full((2, 3), 99.0)], dim=1)
    assert span_loss(padded, torch.cat([ends, padded[:, 7:]], dim=1), labels) == pytest.approx(expected / 4)


def test_a_batch_says_which_text_a_token_is_of():
    tokenizer = wordpieces()
    tokenizer.model_max_length = 20
    texts = asked_in(tokenizer, [row("home", context="note home")], "train")
    data = Questions(OUTPUTS, {"train": [row()]}, {"train": texts}, tokenizer, 2, 20)
    batch = data.collate(texts, more=2)
    size = len(texts[0].input_ids)
    assert batch["labels"].tolist() == [[texts[0].start, texts[0].end, size]]
    assert batch["attention_mask"][0].tolist() == [1] * size + [0, 0]
    assert batch["token_type_ids"][0].tolist() == [*texts[0].window.token_types, 0, 0]
    assert sum(texts[0].window.token_types) == 3  # "note", "home" and the token behind them


def test_an_answer_within_a_token_has_the_whole_token():
    tokens = window([None, (0, 5)])
    assert answer_in(tokens, row("1990", context="1990s")) == (1, 1)
    assert Asked(tokens, 0, 1, 1).holds_answer
