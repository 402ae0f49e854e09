"""Configuration of stages that are sent to work pools."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from tasks.config.base import StageConfig


class Pools(StageConfig):
    """That stages are sent to work pools, and how they are waited for."""

    RENAMED: ClassVar[Mapping[str, str]] = {"crashes": "max_restarts"}

    timeout_hours: Annotated[
        float, Field(gt=0, title="Timeout", description="hours after which a stage is cancelled")
    ] = 48.0
    max_restarts: Annotated[
        int,
        Field(ge=0, title="Restarts", description="times that a stage whose process died is started again"),
    ] = 2
