"""The reference metric: no model, never called a judge, always beside one."""

from sacrebleu.metrics import CHRF

SCORER = "metric:chrf"

# chrF++ (Popovic, 2017): character 1- to 6-grams and word 1- and 2-grams, F-score with beta 2.
_CHRF = CHRF(word_order=2)


def chrf(response: str, reference: str) -> float:
    """Sentence-level chrF++ of a response, 0 to 100; an empty response has 0, an identical one 100."""
    if not response.strip():
        return 0.0
    return min(_CHRF.sentence_score(response, [reference]).score, 100.0)
