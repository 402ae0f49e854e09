"""Models that a server opens when a client asks for them: whatever was made in this home."""

from collections.abc import Iterator
from contextlib import contextmanager

from flows.dispatch.find_model import made_models
from flows.serving.engines import EngineOptions, serving
from flows.serving.local import find_made_model
from tasks.record.tracking import open_tracking
from tasks.serve.front import Front
from tasks.serve.fronts import OnDemand


def on_demand(options: EngineOptions, most: int) -> OnDemand:
    """By the names that other commands take, and by the first digits of a model's digest."""

    @contextmanager
    def opened(name: str) -> Iterator[Front]:
        model = find_made_model(name)
        model.require_text("Served: mlflow models serve")
        model.require_causal("serve")
        with serving(model, options) as front:
            yield front

    return OnDemand(opened, lambda: made_models(open_tracking()), most)
