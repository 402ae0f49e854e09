"""What labels have to beat: a majority guess, and the words of the text without their order."""

import re
from collections import Counter
from itertools import product

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from tasks.batches.labelled import Labelled
from tasks.classify.task import Baseline
from tasks.rows import Row

WORDS = r"(?u)\b\w\w+\b"  # scikit-learn's own: words of two characters and more
SIGNS = r"(?u)\w+|[^\w\s]"  # every word, and every sign on its own: prices and exclamation marks count
WEIGHTINGS = {"counts": CountVectorizer, "tf-idf": TfidfVectorizer}
TOKENS = {"words": WORDS, "words and signs": SIGNS}
GRAMS = {"": (1, 1), " and pairs of them": (1, 2)}
STRENGTHS = (1.0, 10.0, 100.0)  # C, the inverse of the penalty
STEPS = 2000  # of the solver at most
TINY = 1e-12  # so that no loss is infinite


def majority(data: Labelled) -> Baseline:
    """The most frequent training label for every text; of equally frequent ones the first by name."""
    counts = Counter(text.label for text in data.texts["train"])
    label = min(counts, key=lambda place: (-counts[place], place))
    share = counts[label] / len(data.texts["train"])
    return Baseline(
        "majority",
        f"always {data.labels[label]}, the label of {share:.1%} of the training rows",
        [data.labels[label]] * len(data.texts["test"]),
    )


def bag_of_words(data: Labelled) -> Baseline:
    """Logistic regression on words, trained on the training rows.

    Which of two dozen settings is used is decided by the accuracy on the validation rows, and by the loss
    there between equals; without validation rows it is the first. Texts that have no word, such as "!" or an
    emoji alone, have signs. Two texts that are labelled together are one.
    """
    words = {split: [_words_of(row) for row in rows] for split, rows in data.rows.items()}
    truth = {split: np.array([text.label for text in texts]) for split, texts in data.texts.items()}
    known = [tokens for tokens, pattern in TOKENS.items() if _occurs(pattern, words["train"])]
    settings = list(product(WEIGHTINGS, known, GRAMS, STRENGTHS))
    how = f"the best of {len(settings)} settings on the validation rows"
    if not words["validation"]:
        settings, how = settings[:1], "fixed: there are no validation rows to choose by"
    fitted = [_fit(setting, words["train"], truth["train"]) for setting in settings]
    ranks = [_rank(model, words["validation"], truth["validation"]) for model in fitted]
    chosen = min(range(len(settings)), key=ranks.__getitem__)
    weighting, tokens, grams, strength = settings[chosen]
    return Baseline(
        "bag of words",
        f"logistic regression on {weighting} of {tokens}{grams}, C = {strength:g} ({how})",
        [data.labels[place] for place in fitted[chosen].predict(words["test"]).tolist()],
    )


def _words_of(row: Row) -> str:
    return "\n".join(str(row[part]) for part in ("text", "text_pair") if part in row)


def _occurs(pattern: str, texts: list[str]) -> bool:
    """Whether a pattern finds anything in the texts, as scikit-learn reads them."""
    return any(re.search(pattern, text.lower()) for text in texts)


def _fit(setting: tuple[str, str, str, float], texts: list[str], truth: np.ndarray) -> Pipeline:
    weighting, tokens, grams, strength = setting
    vectors = WEIGHTINGS[weighting](token_pattern=TOKENS[tokens], ngram_range=GRAMS[grams])
    return make_pipeline(vectors, LogisticRegression(C=strength, max_iter=STEPS)).fit(texts, truth)


def _rank(model: Pipeline, texts: list[str], truth: np.ndarray) -> tuple[float, float]:
    """Smaller is better: the share of errors, then the mean loss in nats; of no text all are alike."""
    if not texts:
        return 0.0, 0.0
    given = np.where(truth[:, None] == model.classes_, model.predict_proba(texts), 0).sum(axis=1)
    return float((model.predict(texts) != truth).mean()), float(-np.log(given + TINY).mean())
