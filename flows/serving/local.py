"""The model that a person names, as files of this machine that are chatted with and served.

One that is not there is told before torch is imported, which takes seconds.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from flows.dispatch.find_model import FoundModel, find_made, find_model
from tasks.models.folders import require_no_rewards
from tasks.record.tracking import Tracking, open_tracking

if TYPE_CHECKING:
    from tasks.serve.models import LocalModel


def find_local_model(text: str) -> "LocalModel":
    """As `find_model`; of adapters alone also the files of the model that they were trained on."""
    tracking = open_tracking()
    return _local(tracking, find_model(tracking, text))


def find_made_model(text: str) -> "LocalModel":
    """As `find_local_model`, of what was made here alone; it has the name that it was asked for by."""
    tracking = open_tracking()
    return replace(_local(tracking, find_made(tracking, text)), name=text)


def _local(tracking: Tracking, found: FoundModel) -> "LocalModel":
    files, base = found.fetched(tracking), found.fetched_base(tracking)
    require_no_rewards(found.name, files.task, "Name a model that was fine-tuned on instructions")
    digest = found.model.digest if found.model else ""
    if base:
        digest = f"{digest[:16]}{found.base.digest[:16]}"
    from tasks.serve.models import LocalModel

    return LocalModel(
        found.name,
        files.path,
        base and base.path,
        files.template,
        tuple(files.labels),
        digest,
        files.task,
    )
