"""What comes of asking a judge: who it is, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BY_NAME = "openai:"  # judges whose server tells no digest of the model


@dataclass(frozen=True)
class Identity:
    """Exactly who judges.

    `digest` changes with the model's weights where a backend can know them; `version` is the server's or the
    library's.
    """

    scorer: str
    digest: str
    version: str
    refusals: Mapping[str, str] = field(default_factory=dict)
    """Parts of a request that the server was found to refuse, with its words: what was asked without them."""

    @property
    def by_name(self) -> bool:
        """Whether only its name is known: what answers under it may become another model unnoticed."""
        return self.scorer.startswith(BY_NAME)


@dataclass(frozen=True)
class Answered:
    """A finished answer: the model's text, and the tokens read and written as far as the server tells."""

    text: str
    prompt_tokens: int | None
    tokens: int | None
    ended: bool = True
    """Whether the server says that the answer came to its end, and was not cut."""
