"""What a profile may say of weights: where they stand, and that each source is drawn in some step."""

from typing import TYPE_CHECKING

from tasks.config import DownloadConfig

if TYPE_CHECKING:
    from flows.profiles.profile import Profile


def check_mixtures(profile: "Profile") -> None:
    """Raise ValueError for weights that nothing goes by, and for mixtures of sources that are not there."""
    _require_place(profile)
    rows = profile.instructions.weights if profile.instructions else None
    if left := [name for name, weight in (rows or {}).items() if not weight]:
        raise ValueError(
            f"the instructions' source {left[0]!r} has the weight 0, so nothing would be read of it; leave "
            "it out, or give it a weight"
        )
    weights = profile.corpus.weights if profile.corpus else None
    if weights and profile.base:
        raise ValueError(
            "corpus.sources have weights, of what is pretrained on, and the base model is imported. "
            "Leave the weights out"
        )
    decay = profile.pretrain.decay_mixture
    if decay is not None and not weights:
        raise ValueError(
            "pretrain.decay_mixture goes on from weights of the corpus' sources, and they have none; give "
            "each of corpus.sources a weight"
        )
    if unknown := sorted((decay or {}).keys() - (weights or {}).keys()):
        raise ValueError(
            f"pretrain.decay_mixture names {unknown[0]!r}, and the sources of the corpus are "
            f"{', '.join(weights)}"
        )
    idle = [name for name, weight in (weights or {}).items() if not weight and not (decay or {}).get(name)]
    if idle:
        raise ValueError(
            f"the corpus' source {idle[0]!r} has the weight 0, and is not in pretrain.decay_mixture either: "
            "nothing would be read of it; leave it out, or give it a weight"
        )


def _require_place(profile: "Profile") -> None:
    """Raise ValueError for weights elsewhere than at the sources of a corpus or of instructions."""
    given = profile.synthesize.given if profile.synthesize else None
    others = {
        "labelled": profile.labelled,
        "vocabulary": profile.vocabulary,
        "synthesize.given": given,
    }
    if wrong := [name for name, own in others.items() if _is_weighted(own)]:
        raise ValueError(
            f"{wrong[0]}.sources: a weight is of a source of corpus or of instructions; leave it out"
        )
    followed = {
        "tokenize.sources": (profile.tokenize.sources, "corpus"),
        "pretrain.mixture": (profile.pretrain.mixture, "corpus"),
        "rows.mixture": (profile.rows.mixture, "instructions"),
    }
    if written := [(name, section) for name, (value, section) in followed.items() if value]:
        name, section = written[0]
        raise ValueError(
            f"{name} follows the weights of {section}.sources in a profile; leave it out, and give each "
            "source a weight there"
        )


def _is_weighted(download: DownloadConfig | None) -> bool:
    return download is not None and download.weights is not None
