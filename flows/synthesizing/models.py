"""The models of a synthesis, looked for before anything takes time."""

from flows.judging.judging import find_judges
from tasks.config import SynthesizeConfig
from tasks.synthesize.prompts import prompt_of


def find_models(config: SynthesizeConfig) -> None:
    """See that the models are there; one that may be pulled is pulled first.

    Raises UsageError for a prompt that cannot be used, StageError when a model is not there.
    """
    prompt_of(config)
    for writer in config.writers:
        find_judges(config.writing(writer), "find models", "models")
    if judge := config.judging():
        find_judges(judge)
