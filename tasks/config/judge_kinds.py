"""The kinds of judges, declared once: what a scorer's name begins with, and what is behind it.

A new kind is an entry here and its backend, a class with the methods of `tasks.judge.backends.base.Backend`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class JudgeKind:
    """Judges that are asked alike."""

    name: str
    """What comes before the colon of a scorer: `ollama:llama3.2`."""
    backend: str
    """`module:class`, imported only when it is asked: built as `class(config, model, form)`."""
    reads: Literal["text", "labels", "rewards"] = "text"
    """Where a score is read from: the text of an answer, the probabilities of labels of one token each, or
    what a reward model says of the response and of the reference."""
    in_process: bool = False
    """Whether the judge is a model of this process, which goes where the GPU is."""
    can_pull: bool = False
    """Whether a model that is not there may be pulled: the backend then has `has_model` and `pull`."""


KINDS = {
    kind.name: kind
    for kind in (
        JudgeKind("ollama", "tasks.judge.backends.ollama:Ollama", can_pull=True),
        JudgeKind("openai", "tasks.judge.backends.openai:OpenAI"),
        JudgeKind("hf", "tasks.judge.backends.local:Local", reads="labels", in_process=True),
        JudgeKind("reward", "tasks.judge.backends.rewards:Rewards", reads="rewards", in_process=True),
    )
}


def kind_of(scorer: str) -> JudgeKind:
    """The kind of a judge. Raises KeyError for a scorer that is none."""
    return KINDS[scorer.partition(":")[0]]
