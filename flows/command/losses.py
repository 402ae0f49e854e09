"""`touchstone compare` of models that were pretrained and nothing else: by their losses on the same text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flows.command.options import end_with_documents
from tasks.errors import UsageError

if TYPE_CHECKING:
    from flows.losses.inputs import PretrainedInput


def pretrained_sides(
    a: str, b: str, options: Sequence[str]
) -> "tuple[PretrainedInput, PretrainedInput] | None":
    """What the two names stand for, where both were pretrained and nothing else; None where neither was.

    Raises UsageError where one of the two was, for `options`, which are about responses, and for models of
    different tokens.
    """
    from flows.losses.inputs import find_pretrained, require_same_tokens

    sides = [find_pretrained(text) for text in (a, b)]
    if not any(sides):
        return None
    if not all(sides):
        (name, own), (other, _) = sorted(zip((a, b), sides, strict=True), key=lambda pair: pair[1] is None)
        raise UsageError(
            f"{name} was pretrained and has no responses ({own.name}): it is compared by its losses, with "
            f"another run that pretrained and did nothing else, which {other} is not"
        )
    if options:
        raise UsageError(
            f"{', '.join(options)} is about responses; {a} and {b} were pretrained and have none: they are "
            "compared by their losses on the same text"
        )
    require_same_tokens(*sides)
    return sides[0], sides[1]


def compare_losses(
    a: "PretrainedInput", b: "PretrainedInput", refresh: Sequence[str], json_: bool, verbose: bool
) -> None:
    from flows.judging.judged import found_outcome
    from flows.losses.inputs import compared_losses
    from flows.server.readiness import begin_prefect, prefect_is_ready, stages_to_refresh, verbosely
    from tasks.pretrain.losses_document import document

    verbosely(verbose)
    stages = stages_to_refresh(refresh, ["losses"])
    outcome = None if stages else found_outcome(compared_losses, a, b)
    if outcome is None:
        from flows.process.console import console

        begin_prefect()
        console.wait("starting Prefect")
        prefect_is_ready()
        from flows.dispatch.results import run_here
        from flows.losses.comparing import comparing_losses

        outcome = run_here(comparing_losses, a, b, stages)
    end_with_documents(outcome, lambda told: [document(told)], json_)
