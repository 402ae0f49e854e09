"""Small rows of tagged words, and of texts with several labels."""

import random

from tasks.rows import SPLITS, write_rows
from tests.finetune.labelled_texts import HAM, SPAM


def tagged_row(index):
    """Three to seven words: pairs of an entity, single ones, and words outside."""
    draw, words, tags = random.Random(index), [], []
    for _ in range(draw.randint(3, 7)):
        kind = draw.choice("hso")
        words += {"h": [draw.choice(HAM)], "s": draw.choices(SPAM, k=2), "o": ["note"]}[kind]
        tags += {"h": ["O"], "s": ["B-S", "I-S"], "o": ["B-N"]}[kind]
    return {"id": index, "words": words, "tags": tags}


def several_row(index):
    """A text with words of each of its labels, and four of its own."""
    draw = random.Random(index)
    labels = [label for label in ("ham", "spam") if draw.random() < 0.6]
    numbers = (index, 7 * index % 100, 13 * index % 100, 19 * index % 100)
    own = ["abcdefghij"[number // 10] + "klmnopqrst"[number % 10] for number in numbers]
    words = [word for label in labels for word in draw.choices({"ham": HAM, "spam": SPAM}[label], k=3)]
    return {"id": index, "text": " ".join(["note", *own, *words]), "labels": labels}


def rows_in(folder, make, sizes=(40, 8, 12)):
    folder.mkdir(parents=True, exist_ok=True)
    begin = 0
    for split, size in zip(SPLITS, sizes, strict=True):
        write_rows(folder / f"{split}.jsonl", [make(begin + place) for place in range(size)])
        begin += size
    return folder
