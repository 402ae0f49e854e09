"""Configuration of reinforcement: which rewards count how much, and how the model is trained on them."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tasks.config.base import OUTSIDE_KEY, AdamWRate, Epochs, Positive, StageConfig, WeightDecay, one_of
from tasks.config.judging import AskConfig, is_scorer
from tasks.config.tuning import TemplateName, TuningConfig

REWARD_METRICS = ("exact", "chrf", "bleu", "rouge-l")
RULES = {"length": ("least", "most"), "format": ("pattern", "parses")}
"""What a rule is told, of which it needs one or more."""
JUDGE, MODEL = "judge:", "reward:"
MODEL_INPUT = "reward_model_"
"""Before the place of a reward model among those of a configuration: the input that it is read from."""
EXPECTED_REWARD = one_of(
    [*REWARD_METRICS, *RULES, "FILE.py:FUNCTION", f"{JUDGE}SCORER", MODEL, f"{MODEL}MODEL"]
)
FUNCTION = re.compile(r"^.+\.py:[A-Za-z_]\w*$")
NO_PPO = (
    "TRL has removed its PPOTrainer, and with it the value model that PPO trains. Set algorithm: grpo, which "
    "compares the responses to one prompt with each other instead, or rloo"
)


class RewardConfig(StageConfig):
    """One reward of a response, and what it counts for."""

    name: Annotated[
        str,
        Field(
            description="a metric against the reference, from 0 to 1 (exact, chrf, bleu, rouge-l); a rule, 1 "
            "where it is kept (length, format); a function of a Python file, FILE.py:FUNCTION, called with "
            "responses, references and rows; a judge, judge:ollama:MODEL, once it has passed its audit; or "
            "a reward model, of this profile (reward:) or by the name of its run, its version or its folder "
            "(reward:NAME)"
        ),
    ]
    weight: Annotated[float, Field(description="what it is multiplied by in the sum of all rewards")] = 1.0
    least: Annotated[
        Positive | None, Field(description="of length: words from which a response has the whole reward")
    ] = None
    most: Annotated[
        Positive | None,
        Field(
            description="of length: words up to which it has; each further one takes a part of it, until "
            "twice as many have none"
        ),
    ] = None
    pattern: Annotated[
        str | None, Field(description="of format: a regular expression that the whole response matches")
    ] = None
    parses: Annotated[
        Literal["json"] | None, Field(description="of format: what the response can be read as")
    ] = None

    @property
    def label(self) -> str:
        """Its name in numbers and curves: of a function without its file, and as MLflow takes names."""
        if self.model is not None:
            return re.sub(r"[^\w.-]", "_", f"reward_model_{self.model}" if self.model else "reward_model")
        name = self.name.rpartition(":")[2] if FUNCTION.match(self.name) else self.name
        return re.sub(r"[^\w.-]", "_", name)

    @property
    def file(self) -> str | None:
        """The Python file of a function."""
        return self.name.rpartition(":")[0] if FUNCTION.match(self.name) else None

    @property
    def judge(self) -> str | None:
        """The scorer that a judge is."""
        return self.name.removeprefix(JUDGE) if self.name.startswith(JUDGE) else None

    @property
    def model(self) -> str | None:
        """What a reward model is called; empty of the profile's own."""
        return self.name.removeprefix(MODEL) if self.name.startswith(MODEL) else None

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.startswith(MODEL) and name == name.strip():
            return name
        scorer = name.removeprefix(JUDGE)
        judged = scorer != name and is_scorer(scorer) and not scorer.startswith(("metric:", MODEL))
        if not (judged or name in (*REWARD_METRICS, *RULES) or FUNCTION.match(name)):
            raise ValueError(f"{name!r} is no reward; expected {EXPECTED_REWARD}")
        return name

    @field_validator("weight")
    @classmethod
    def _counts(cls, weight: float) -> float:
        if not weight:
            raise ValueError("a reward of weight 0 counts nothing; leave it out")
        return weight

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        return pattern

    @model_validator(mode="after")
    def _is_told_what_it_needs(self) -> Self:
        own = RULES.get(self.name, ())
        every = [setting for settings in RULES.values() for setting in settings]
        given = [setting for setting in every if getattr(self, setting) is not None]
        if wrong := [setting for setting in given if setting not in own]:
            raise ValueError(f"{', '.join(wrong)}: set, but not used by the reward {self.name}")
        if own and not given:
            raise ValueError(f"the reward {self.name} needs {one_of(own)}")
        if self.least and self.most and self.least > self.most:
            raise ValueError(f"least is {self.least} and most {self.most}: no response has that length")
        return self


class GrpoConfig(TuningConfig):
    """Reinforcement of the fine-tuned model by rewards of what it writes (Shao et al. 2024, GRPO).

    Every step draws several responses to each of its prompts, and makes those likelier that are worth more
    than the others.
    """

    template: TemplateName = "alpaca"
    algorithm: Annotated[
        Literal["grpo", "rloo"],
        Field(
            description="grpo: a response against the mean of its group, by the group's spread; rloo: "
            "against the mean of the others, the penalty within the reward (Ahmadian et al. 2024)"
        ),
    ] = "grpo"
    rewards: Annotated[
        tuple[RewardConfig, ...], Field(min_length=1, description="what is summed, each with its weight")
    ] = (RewardConfig(name="exact"),)
    group_size: Annotated[int, Field(ge=2, description="responses to each prompt, which are compared")] = 8
    epochs: Epochs = 1.0
    batch_size: Annotated[Positive, Field(description="responses per micro-batch")] = 32
    learning_rate: AdamWRate = 1e-6
    weight_decay: WeightDecay = 0.0
    beta: Annotated[
        float,
        Field(gt=0, description="weight of the KL penalty that keeps the model close to the fine-tuned one"),
    ] = 0.04
    temperature: Annotated[float, Field(gt=0, description="at which responses are drawn")] = 1.0
    max_new_tokens: Annotated[Positive, Field(description="after which a response is cut")] = 256
    batch_tokens: Annotated[
        Positive,
        Field(description="bounds the memory of drawing: responses at once times the tokens of each"),
        OUTSIDE_KEY,
    ] = 32_768
    validation_prompts: Annotated[
        Positive, Field(description="of the validation split, answered greedily at each evaluation")
    ] = 100
    checked_prompts: Annotated[
        Positive, Field(description="of the train split, answered group by group before training")
    ] = 32
    min_informative: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="share of the checked prompts within whose group rewards must differ: others teach "
            "nothing",
        ),
    ] = 0.1
    max_cut: Annotated[
        float, Field(ge=0, le=1, description="share of the checked responses that may be cut")
    ] = 0.5

    asking: Annotated[
        AskConfig | None,
        Field(
            description="how the judges among the rewards are asked; left out: as the profile's judge "
            "section says of others"
        ),
    ] = None

    @property
    def judges(self) -> tuple[str, ...]:
        return tuple(reward.judge for reward in self.rewards if reward.judge)

    @property
    def models(self) -> tuple[str, ...]:
        """The reward models among the rewards, as they are called; the profile's own is an empty name."""
        return tuple(reward.model for reward in self.rewards if reward.model is not None)

    @property
    def asked(self) -> AskConfig | None:
        """How its judges are asked; None where there are none."""
        if not self.judges:
            return None
        given = self.asking.model_dump() if self.asking else {}
        return AskConfig(**given | {"scorer": self.judges[0] if len(self.judges) == 1 else self.judges})

    @field_validator("algorithm", mode="before")
    @classmethod
    def _no_ppo(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lower() == "ppo":
            raise ValueError(f"ppo: {NO_PPO}")
        return value

    @field_validator("rewards")
    @classmethod
    def _told_apart(cls, rewards: Sequence[RewardConfig]) -> Sequence[RewardConfig]:
        labels = [reward.label for reward in rewards]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"{', '.join(twice)} is a duplicate; each reward has a name of its own")
        return rewards

    @model_validator(mode="after")
    def _steps_have_whole_groups(self) -> Self:
        drawn = self.batch_size * self.accumulation
        if drawn % self.group_size:
            raise ValueError(
                f"batch_size x accumulation is {drawn} responses a step, and group_size {self.group_size}: a "
                "step has whole groups; choose a multiple"
            )
        if self.processes > 1:
            raise ValueError(f"processes is {self.processes}, and grpo trains in one; leave it out")
        if self.lora.quantize != "none":
            raise ValueError("lora.quantize is 4bit, and grpo draws from float32 weights; leave it out")
        return self
