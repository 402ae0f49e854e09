"""The reference metrics: no model, never called a judge, always beside one. All are 0 to 100.

An empty response has 0 by each of them, and one that is the reference has 100, whatever a tokenizer would
have made of it.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby

from sacrebleu.metrics import BLEU, CHRF

from tasks.judge.protocol.responses import has_text

# chrF++ (Popovic, 2017): character 1- to 6-grams and word 1- and 2-grams, F-score with beta 2.
_CHRF = CHRF(word_order=2)

# BLEU (Papineni et al., 2002) with sacreBLEU's 13a tokens and exponential smoothing; of one sentence only
# over the n-grams that it is long enough for, since a response of three words has no 4-gram.
_SENTENCE_BLEU = BLEU(effective_order=True)
_CORPUS_BLEU = BLEU()

# Kana and the Chinese characters: written without spaces, and each of them about a word.
_IDEOGRAPHS = (
    "\u3040\u30ff",
    "\u31f0\u31ff",
    "\u3400\u9fff",
    "\uf900\ufaff",
    "\uff66\uff9f",
    "\U00020000\U0003ffff",
)


def chrf(response: str, reference: str) -> float:
    """Sentence-level chrF++."""
    return _CHRF.sentence_score(response, [reference]).score


def bleu(response: str, reference: str) -> float:
    """Sentence-level BLEU, smoothed; the mean over rows is not the BLEU of the whole: see `corpus_bleu`."""
    return _SENTENCE_BLEU.sentence_score(response, [reference]).score


def rouge_l(response: str, reference: str) -> float:
    """ROUGE-L (Lin, 2004): F1 over the longest common subsequence of the two texts' words."""
    ours, theirs = words_of(response), words_of(reference)
    if not ours or not theirs:
        return 0.0
    return 100.0 * 2 * common_subsequence(ours, theirs) / (len(ours) + len(theirs))


def exact(response: str, reference: str) -> float:
    """Exact match: 100 or 0; only white space around the texts is forgiven."""
    return 100.0 if response.strip() == reference.strip() else 0.0


METRICS: dict[str, Callable[[str, str], float]] = {
    "metric:chrf": chrf,
    "metric:bleu": bleu,
    "metric:rouge-l": rouge_l,
    "metric:exact": exact,
}
"""By scorer name, in the order in which they stand in a table."""


def metric_scores(response: str, reference: str) -> dict[str, float]:
    """What every metric gives a response, by scorer name; nothing where there is no reference."""
    if not has_text(reference):
        return {}
    if not has_text(response):
        return dict.fromkeys(METRICS, 0.0)
    if exact(response, reference):
        return dict.fromkeys(METRICS, 100.0)
    return {scorer: min(metric(response, reference), 100.0) for scorer, metric in METRICS.items()}


def corpus_bleu(responses: Sequence[str], references: Sequence[str]) -> float:
    """BLEU as it is published: the n-grams of all responses counted together, not smoothed row by row."""
    return min(_CORPUS_BLEU.corpus_score(responses, [references]).score, 100.0)


def words_of(text: str) -> list[str]:
    """Runs of letters, digits and the marks on them, without case; an ideograph is a word of its own.

    By Unicode's categories: what looks for a-z finds no word in most of the world's texts.
    """
    words: list[str] = []
    for kind, run in groupby(text.casefold(), _kind):
        if kind == "word":
            words.append("".join(run))
        elif kind == "ideograph":
            words.extend(run)
    return words


@lru_cache(maxsize=100_000)
def _kind(character: str) -> str:
    if any(first <= character <= last for first, last in _IDEOGRAPHS) and character.isalpha():
        return "ideograph"
    return "word" if unicodedata.category(character)[0] in "LMN" else "between"


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, with the places in `a` as the bits of one number.

    Hyyrö, Bit-parallel LCS-length computation revisited, 2004: a step over `b` is one addition, so that two
    responses of a thousand words take a thousand steps and not a million.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << index
    every = (1 << len(a)) - 1
    unmatched = every
    for word in b:
        met = unmatched & places.get(word, 0)
        unmatched = ((unmatched + met) | (unmatched - met)) & every
    return len(a) - unmatched.bit_count()
