"""What is to be done, before anything is done: a stage, and one piece of its work.

Nothing heavy is imported here: profiles, forms and look-ups read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pkgutil import resolve_name
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tasks.config import StageConfig
from tasks.record.manifest import canonical_json, digest_of

Pool = Literal["cpu", "gpu", "as configured"]


def never(_profile: Any) -> bool:
    """For a stage that no profile calls for."""
    return False


def always(_profile: Any) -> bool:
    """For a stage that every profile calls for."""
    return True


@dataclass(frozen=True)
class Stage:
    """A kind of work. `version` is raised when its meaning changes, which makes every old record a miss."""

    name: str
    version: int
    entry: str
    """`module:function`, imported only when there is work to do: finding a hit must not import torch.

    Called as `function(config, run, **inputs)`, each input the folder of an upstream output.
    """
    config: type[StageConfig] = StageConfig
    """Its settings, which make the form in Prefect."""
    description: str = ""
    """One line, in Prefect's UI."""
    runs_in: Callable[[Any], bool] = never
    """Whether a profile calls for the stage."""
    pool: Pool = "cpu"
    """Where it runs when there are pools; `as configured`: on the GPU where `config.in_process`."""
    fingerprints: str | None = None
    """`module:function` where the settings point to content that is no stage's output (a file, a judge):
    `function(config)` gives its digests, which enter the key."""
    holds: str | None = None
    """`module:function` for a stage with an effect beyond its files: `function(tracking, output)` says
    whether that effect is still there. When it is not, the record is a miss."""

    def wants_gpu(self, config: StageConfig) -> bool:
        """Whether it goes to the GPU pool with these settings."""
        return self.pool == "gpu" or (self.pool == "as configured" and config.in_process)

    def content(self, config: StageConfig) -> dict[str, str]:
        """Digests of what its settings only point to."""
        return resolve_name(self.fingerprints)(config) if self.fingerprints else {}


class Reference(BaseModel):
    """What crosses a stage boundary: a few strings, never a tensor, a table or a path of one machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: str
    run_id: str
    key: str
    digest: str
    uri: str


@dataclass(frozen=True)
class Work:
    """A stage on these inputs: what decides its result."""

    stage: Stage
    config: StageConfig
    inputs: Mapping[str, Reference] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    """Digests of what is no stage's output: local files, judges, the device that computes."""

    @cached_property
    def key(self) -> str:
        """The key of the stage's record."""
        digests = {name: reference.digest for name, reference in self.inputs.items()}
        return stage_key(self.stage, self.config, digests | dict(self.fingerprints))


def stage_key(stage: Stage, config: StageConfig, inputs: Mapping[str, str]) -> str:
    """SHA-256 of what decides the stage's result; `inputs` are digests of upstream outputs by name."""
    value = {
        "stage": stage.name,
        "version": stage.version,
        "config": config.key_fields(),
        "inputs": dict(inputs),
    }
    return digest_of(canonical_json(value))
