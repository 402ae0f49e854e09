"""The reference metrics: no model, never called a judge, always beside one. All are 0 to 100.

An empty response has 0 by each of them, and one that is the reference has 100, whatever a tokenizer would
have made of it.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def rouge_1(response: str, reference: str) -> float:
    """ROUGE-1 (Lin, 2004): F1 over the words that the two texts have in common."""
    return _rouge_n(response, reference, 1)


def rouge_2(response: str, reference: str) -> float:
    """ROUGE-2: as ROUGE-1, over pairs of neighbouring words; 0 where either text has one word."""
    return _rouge_n(response, reference, 2)


def _rouge_n(response: str, reference: str, n: int) -> float:
    """Words are `words_of`, not stemmed: those of rouge-score in English, and Chinese by its characters."""
    ours, theirs = (_n_grams(words_of(text), n) for text in (response, reference))
    common, total = (ours & theirs).total(), ours.total() + theirs.total()
    return 100.0 * 2 * common / total if common else 0.0


def _n_grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(n)), strict=False))


def exact(response: str, reference: str) -> float:
    """Exact match: 100 or 0; only white space around the texts is forgiven."""
    return 100.0 if response.strip() == reference.strip() else 0.0


Metric = Callable[[str, str], float]
"""Of a response and its reference."""

METRICS: dict[str, Metric] = {
    "metric:chrf": chrf,
    "metric:bleu": bleu,
    "metric:rouge-l": rouge_l,
    "metric:exact": exact,
}
"""By scorer name, in the order in which they stand in a table."""

SUMMARY_METRICS: dict[str, Metric] = {"metric:rouge-1": rouge_1, "metric:rouge-2": rouge_2}
"""What summaries are measured by beside ROUGE-L: scored where the headline is a ROUGE."""


def metrics_beside(scorers: Iterable[str]) -> dict[str, Metric]:
    """Those that are scored where these are the headline's scorers."""
    of_summaries = any(scorer.startswith("metric:rouge") for scorer in scorers)
    return METRICS | SUMMARY_METRICS if of_summaries else METRICS


def metric_scores(response: str, reference: str, metrics: Mapping[str, Metric] = METRICS) -> dict[str, float]:
    """What every metric gives a response, by scorer name; nothing where there is no reference."""
    if not has_text(reference):
        return {}
    if not has_text(response):
        return dict.fromkeys(metrics, 0.0)
    if exact(response, reference):
        return dict.fromkeys(metrics, 100.0)
    return {scorer: min(metric(response, reference), 100.0) for scorer, metric in metrics.items()}


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
