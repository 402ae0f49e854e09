"""How a server of a language model is asked, whatever for."""

from typing import Annotated

from pydantic import Field, field_validator

from tasks.config.base import OUTSIDE_KEY, Positive, StageConfig, without_login


class ServerConfig(StageConfig):
    """Settings of every stage that may ask a server; none changes what is answered."""

    base_url: Annotated[
        str | None,
        Field(
            description="of a server of OpenAI's protocol, up to /v1; default: OPENAI_BASE_URL, then "
            "https://api.openai.com/v1"
        ),
        OUTSIDE_KEY,
    ] = None
    key_variable: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_]\w*$",
            description="the environment variable that holds the key of a server of OpenAI's protocol",
        ),
        OUTSIDE_KEY,
    ] = "OPENAI_API_KEY"
    concurrency: Annotated[Positive | None, Field(description="requests in flight"), OUTSIDE_KEY] = None
    timeout: Annotated[
        float, Field(gt=0, description="seconds for one answer of a server, queueing included"), OUTSIDE_KEY
    ] = 300.0
    attempts: Annotated[
        Positive, Field(description="tries of a request that the server did not answer"), OUTSIDE_KEY
    ] = 5

    @field_validator("base_url")
    @classmethod
    def _no_login(cls, value: str | None) -> str | None:
        return without_login(value)
