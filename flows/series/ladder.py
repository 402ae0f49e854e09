"""What a series is of: a profile, the sizes, and how much each is trained. Prefect is not needed for it."""

from dataclasses import dataclass

from flows.profiles.load import load_profile
from flows.profiles.profile import Profile
from tasks.errors import UsageError
from tasks.statistics.scaling import LEAST


@dataclass(frozen=True)
class Ladder:
    """A profile as the command names it, the sizes, and how much each is trained: one of the two."""

    profile: str
    overrides: tuple[str, ...]
    mirror: str | None
    sizes: tuple[str, ...]
    tokens_per_parameter: float | None
    flops: float | None

    def load(self, *more: str) -> Profile:
        return load_profile(self.profile, [*self.overrides, *more], self.mirror)

    def rung(self, size: str, steps: int) -> Profile:
        """The profile with a size and its steps. Raises UsageError for what the profile does not take."""
        return self.load(f"pretrain.size={size}", f"pretrain.steps={steps}")

    def check(self) -> Profile:
        """The profile. Raises UsageError for one that is not pretrained by its size, and for wrong sizes."""
        profile = self.load()
        if profile.base or profile.pretrain.model or profile.pretrain.objective != "causal":
            raise UsageError(
                f"{profile.name} does not pretrain a model of a size that predicts the next token; a series "
                "takes profiles that do, as shakespeare"
            )
        if len(set(self.sizes)) < len(self.sizes) or len(self.sizes) < LEAST:
            raise UsageError(
                f"--sizes {','.join(self.sizes)}: expected {LEAST} different sizes or more, of which the "
                "largest is held out where there are four, as 2x2x32,2x2x64,4x4x128,6x6x192"
            )
        for size in self.sizes:
            self.load(f"pretrain.size={size}").pretrain.shape()
        return profile
