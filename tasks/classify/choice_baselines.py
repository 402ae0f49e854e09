"""What a model that chooses has to beat: guesses, and what the choices alone give away.

Who writes wrong choices often writes them shorter, or in other words, than right ones: such a data set can be
answered without its questions (Gururangan et al., Annotation Artifacts in Natural Language Inference Data,
2018; Zellers et al., SWAG, 2018).
"""

from collections import Counter

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tasks.batches.choices import Choices
from tasks.classify.task import Baseline

SIGNS = r"(?u)\w+|[^\w\s]"  # every word, and every sign on its own
STEPS = 1000  # of the solver at most


def choice_baselines(data: Choices) -> list[Baseline]:
    test = data.rows["test"]
    places = Counter(row["answer"] for row in data.rows["train"])
    place = min(places, key=lambda one: (-places[one], one))
    longest = [max(row["choices"], key=len) for row in test]
    return [
        Baseline(
            "likeliest place",
            f"the choice at place {place}, where that is; {places[place] / places.total():.1%} of the "
            "training rows have the right one there",
            [row["choices"][min(place, len(row["choices"]) - 1)] for row in test],
        ),
        Baseline("longest choice", "the choice with most characters, the first of several", longest),
        Baseline(
            "choices alone",
            "logistic regression on words of a choice and its length beside the others', without the prompt",
            _by_choices_alone(data),
        ),
    ]


def _by_choices_alone(data: Choices) -> list[str]:
    """Each choice is scored as right or wrong by itself, and of each row the likeliest is taken."""
    vectors = CountVectorizer(token_pattern=SIGNS, binary=True)
    learned = [choice for row in data.rows["train"] for choice in row["choices"]]
    truth = [place == row["answer"] for row in data.rows["train"] for place in range(len(row["choices"]))]
    words = vectors.fit_transform(learned)
    model = LogisticRegression(max_iter=STEPS).fit(hstack([words, _lengths(data, "train")]).tocsr(), truth)
    asked = vectors.transform([choice for row in data.rows["test"] for choice in row["choices"]])
    shares = model.predict_proba(hstack([asked, _lengths(data, "test")]).tocsr())[:, 1]
    found, start = [], 0
    for row in data.rows["test"]:
        own = shares[start : start + len(row["choices"])]
        found.append(row["choices"][int(own.argmax())])
        start += len(own)
    return found


def _lengths(data: Choices, split: str) -> csr_matrix:
    """Of each choice (choices, 1) its share of the longest of its row, in characters."""
    shares = [
        len(choice) / max(map(len, row["choices"])) for row in data.rows[split] for choice in row["choices"]
    ]
    return csr_matrix(np.asarray(shares)[:, None])
