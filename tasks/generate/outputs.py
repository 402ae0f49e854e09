"""What generating leaves beside the responses: what they come to, and by which settings they were decoded."""

from dataclasses import dataclass
from typing import ClassVar

from tasks.machine.json_files import Json, JsonFile


@dataclass(frozen=True, kw_only=True)
class GenerateSummary(JsonFile):
    """The responses as a whole."""

    FILE: ClassVar[str] = "summary.json"

    rows: int
    cut: int
    """Responses that the longest length cut."""
    empty: int
    mean_tokens: float
    reference_perplexity: float | None
    """None where no row has a reference, or a server has the model: its protocol gives no losses."""
    reference_cut: int
    """References that were too long for the model's context."""
    decoding: Json
    """The settings that chose the tokens."""
    served: Json | None = None
    """Of a model that a server has: its `model`, the `digest` of what is known of it, what the `prompts` were
    sent as."""
