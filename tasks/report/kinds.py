"""What a card is about, by what its report holds."""

from tasks.machine.json_files import Json


def is_judged(report: Json) -> bool:
    """Whether models' responses were judged side by side."""
    return "samples" in report


def is_classified(report: Json) -> bool:
    """Whether the card is about a classifier."""
    return "evaluation" in report


def is_seq2seq(report: Json) -> bool:
    """Whether the card's model is an encoder-decoder."""
    return report["model"].get("kind") == "encoder-decoder"


def is_pretrained_only(report: Json) -> bool:
    """Whether the pipeline ended after pretraining: no rows, no promotion."""
    return "promotion" not in report
