"""What is tested must not stand in what the base model was pretrained on."""

import numpy as np
import pytest

from tasks.data.token_files import Split
from tasks.preflight.contamination import GRAM, LEAST, corpus_holds_no_tested_row
from tasks.preflight.ngrams import CHUNK, shares_found


class Words:
    """A tokenizer of words, each the number that it names; `w17` is 17."""

    def __call__(self, texts, add_special_tokens):
        assert not add_special_tokens
        return {"input_ids": [[int(word[1:]) for word in text.split()] for text in texts]}


def words(start, count):
    return " ".join(f"w{number}" for number in range(start, start + count))


def corpus(*runs):
    tokens = np.concatenate([np.arange(start, start + count, dtype=np.uint16) for start, count in runs])
    return Split(tokens, np.array([len(tokens)], dtype=np.uint64))


def asked(number, prompt, answer="w1 w2"):
    return {"id": number, "instruction": prompt, "input": "", "output": answer}


def proved(rows, *runs, split="test"):
    return corpus_holds_no_tested_row(corpus(*runs), Words(), {"train": [], split: rows})


READ = (100, 500)  # the corpus: w100 to w599


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("part", ["prompt", "answer"])
def test_pitfall_28_tested_row_found_in_the_corpus_is_named(split, part):
    texts = {"prompt": words(1000, 30), "answer": words(2000, 30)} | {part: words(200, 30)}
    found = proved([asked(7, **texts)], READ, split=split)
    assert (found.verdict, found.where) == ("failed", f"{split} row 7, its {part}")
    assert found.found.startswith("1 of 1 rows")


def test_pitfall_28_so_does_a_labelled_text_and_an_input():
    row = {"id": 3, "text": words(300, 40), "label": "spam"}
    assert proved([row], READ).where == "test row 3, its text"
    assert proved([asked(1, "w9") | {"input": words(300, 40)}], READ).verdict == "failed"


def test_what_the_corpus_does_not_hold_passes():
    assert proved([asked(1, words(1000, 30)), asked(2, words(3000, 30))], READ).verdict == "passed"


def test_a_trained_row_may_stand_in_it():
    rows = {"train": [asked(1, words(200, 30))], "test": [asked(2, words(1000, 30))]}
    assert corpus_holds_no_tested_row(corpus(READ), Words(), rows).verdict == "passed"


def test_texts_too_short_to_tell_are_counted():
    found = proved([asked(1, words(200, LEAST + 1)), asked(2, words(1000, 30))], READ)
    assert (found.verdict, found.found) == (
        "passed",
        f"none of 1 rows with {LEAST} tokens in a row; 1 are shorter",
    )
    assert proved([asked(1, words(200, LEAST + 2))], READ).verdict == "failed"


def test_a_text_of_which_a_fifth_and_more_is_new_is_another_text():
    mostly, partly = f"{words(200, 90)} {words(1000, 10)}", f"{words(200, 50)} {words(1000, 50)}"
    assert proved([asked(1, mostly)], READ).verdict == "failed"
    assert proved([asked(1, partly)], READ).verdict == "passed"


def test_one_row_of_many_is_only_noted():
    new = [asked(number, words(1000 + 50 * number, 30)) for number in range(2, 202)]
    found = proved([asked(1, words(200, 30)), *new], READ)
    assert (found.verdict, found.where) == ("info", "test row 1, its prompt")


def test_of_an_imported_model_it_is_said_that_nobody_knows():
    found = corpus_holds_no_tested_row(None, Words(), {"test": [asked(1, words(200, 30))]})
    assert (found.verdict, found.found) == (
        "skipped",
        "the base model was imported: its training text is not known",
    )


def test_shares_are_those_counted_by_hand_across_read_pieces():
    text = np.arange(24)
    stream = np.concatenate([np.full(CHUNK - 10, 77), np.arange(20), np.full(50, 77)])
    # Of the 17 runs of eight, those that begin at 0 to 12 lie within the first twenty tokens.
    assert shares_found(stream, [text, np.arange(500, 510)], GRAM) == [13 / 17, 0.0]
    assert shares_found(stream[:5], [text], GRAM) == [0.0]
    assert shares_found(stream, [], GRAM) == []
