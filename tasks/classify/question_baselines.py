"""What a model that finds answers has to beat: a whole sentence, the likeliest answer, none."""

import re
from collections import Counter
from collections.abc import Sequence

from tasks.batches.questions import Questions
from tasks.classify.answers import NO_ANSWER, normalized
from tasks.classify.task import Baseline
from tasks.rows import Row

_SENTENCE = re.compile(r"[^.!?。！？\n]+(?:[.!?](?!\s|$)[^.!?。！？\n]*)*[.!?。！？]*")


def question_baselines(data: Questions) -> list[Baseline]:
    test = data.rows["test"]
    answers = Counter(_first_answer(row) for row in data.rows["train"])
    most, count = min(answers.items(), key=lambda pair: (-pair[1], pair[0]))
    share = count / len(data.rows["train"])
    return [
        Baseline(
            "first sentence",
            "the first sentence of the context",
            [sentences_of(row["context"])[0] for row in test],
        ),
        Baseline(
            "overlapping sentence",
            "the sentence of the context that has most of the question's words",
            [overlapping(row) for row in test],
        ),
        Baseline(
            "majority",
            f"always {most or 'no answer'}, right for {share:.1%} of the training rows",
            [most] * len(test),
        ),
    ]


def _first_answer(row: Row) -> str:
    return next(iter(row["answers"]["text"]), NO_ANSWER)


def sentences_of(text: str) -> list[str]:
    """At the punctuation that ends sentences, if a space follows; at least one."""
    return [found.strip() for found in _SENTENCE.findall(text) if found.strip()] or [text.strip()]


def overlapping(row: Row) -> str:
    """The first of the sentences that share most words with the question."""
    asked = set(_words(row["question"]))
    return max(sentences_of(row["context"]), key=lambda sentence: len(asked & set(_words(sentence))))


def _words(text: str) -> Sequence[str]:
    return normalized(text).split()
