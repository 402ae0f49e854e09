"""How an answer compares with those that are right: exact match and F1, as SQuAD's official script has them.

Texts are compared in lower case, without ASCII punctuation, without the English articles and with single
spaces (Rajpurkar et al. 2016 and 2018; `evaluate-v2.0.py`). Of several right answers the one that fits best
counts. A question that has no answer is answered by none: then both are 1, and 0 for any other answer.

The official script splits words at spaces, so that F1 is exact match in a language that writes none. Here
each Chinese character and each Japanese kana is a word of its own, and their punctuation goes as ASCII's
does, as CMRC 2018 and MLQA measure them; where a text holds neither, the values are the official ones. Thai,
Lao, Khmer and Burmese are measured by the official rule.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence

NO_ANSWER = ""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SCRIPT = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_WIDE_PUNCTUATION = re.compile(
    "[\u2018-\u201f\u2026\u3001-\u3011\u3014-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\u30fb]"
)


def normalized(text: str) -> str:
    """A text as it is compared with another."""
    text = text.lower()
    if _SCRIPT.search(text):
        text = _SCRIPT.sub(lambda character: f" {character[0]} ", _WIDE_PUNCTUATION.sub(" ", text))
    return " ".join(_ARTICLES.sub(" ", text.translate(_PUNCTUATION)).split())


def exact_match(given: str, right: Sequence[str]) -> float:
    """1 where the answer is one of those that are right; none is right of a question without an answer."""
    return float(any(normalized(given) == normalized(answer) for answer in _possible(right)))


def f1(given: str, right: Sequence[str]) -> float:
    """The harmonic mean of the shares of words that the answer and the right one that fits best have."""
    return max(_f1(normalized(given).split(), normalized(answer).split()) for answer in _possible(right))


def _possible(right: Sequence[str]) -> Sequence[str]:
    """The right answers of which anything is left to compare; else that there is none."""
    return [answer for answer in right if normalized(answer)] or [NO_ANSWER]


def _f1(given: Sequence[str], right: Sequence[str]) -> float:
    if not given or not right:
        return float(given == right)
    shared = (Counter(given) & Counter(right)).total()
    if not shared:
        return 0.0
    precision, recall = shared / len(given), shared / len(right)
    return 2 * precision * recall / (precision + recall)
