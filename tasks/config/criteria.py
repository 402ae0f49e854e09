"""Criteria of one's own: what a judge is to look at, and what each score from 0 to 5 means."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator

from tasks.config.base import StageConfig

LOWEST, HIGHEST = 0, 5
ON = " on "  # between a scorer, whose name has no space, and a criterion
CRITERION = r"[a-z][a-z0-9-]{0,39}"

Said = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class Criterion(StageConfig):
    """One thing that a judge is asked about a response, by itself."""

    name: Annotated[
        str, Field(pattern=rf"^{CRITERION}$", description="stands in tables: lower case, digits, hyphens")
    ]
    question: Annotated[Said, Field(description="what the judge is to look at: Is the response polite?")]
    anchors: Annotated[
        dict[int, Said],
        Field(
            description="what a score means, {0: rude, 3: neutral, 5: polite}; 0 and 5 are needed, and what "
            "is left out lies evenly between those that are there"
        ),
    ]
    weight: Annotated[float, Field(gt=0, description="of this criterion in the overall score")] = 1.0
    reference: Annotated[
        Literal["shown", "none"],
        Field(
            description="shown: beside the reference, which deserves full marks; none: for what no reference "
            "decides. An audit cannot show such a judge wrong, so that it makes no champion but by hand"
        ),
    ] = "shown"

    @property
    def is_falsifiable(self) -> bool:
        """Whether answers of known worth can show a judge to be wrong about it."""
        return self.reference == "shown"

    @property
    def unweighted(self) -> Self:
        """The same as a judge is asked about it, and audited on it."""
        return self.model_copy(update={"weight": 1.0})

    @field_validator("anchors")
    @classmethod
    def _describes_the_ends(cls, anchors: dict[int, str]) -> dict[int, str]:
        if wrong := [score for score in anchors if not LOWEST <= score <= HIGHEST]:
            raise ValueError(f"scores are {LOWEST} to {HIGHEST}, not {', '.join(map(str, wrong))}")
        if missing := [score for score in (LOWEST, HIGHEST) if score not in anchors]:
            raise ValueError(
                f"what {' and '.join(map(str, missing))} means is not said; both ends are needed"
            )
        return dict(sorted(anchors.items()))


def on(scorer: str, criterion: str | None) -> str:
    """The name that a scorer's scores on a criterion have; its own for the overall ones."""
    return scorer if criterion is None else f"{scorer}{ON}{criterion}"


def parts_of(scorer: str) -> tuple[str, str | None]:
    """Who scores, and on which criterion; None for the overall scores."""
    who, is_on, criterion = scorer.partition(ON)
    return who, criterion if is_on else None
