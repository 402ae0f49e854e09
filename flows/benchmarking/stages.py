"""The stages of a benchmark, for pipelines, for the flow that makes them alone, and for its command.

Prefect, which takes seconds to import, is not needed for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.dispatch.lookup import Runs
from flows.dispatch.runs import read_output
from flows.generating.inputs import ModelInput
from tasks.benchmark.catalogue import data_of, questions_of
from tasks.benchmark.comparing import of_models
from tasks.benchmark.outputs import BenchmarkResults, read_items
from tasks.config import BaseConfig, BenchmarkConfig
from tasks.record.work import Reference


@dataclass(frozen=True)
class Suite:
    """What every model is asked, and the rows of lm-eval's tasks; those of one's own are in the suite."""

    config: BenchmarkConfig
    suite: Reference
    data: Reference | None

    def asked_of(self, run: Runs, model: Reference, label: str, base: Reference | None = None) -> Reference:
        """The results of a model; `base` is what adapters alone were trained on."""
        inputs = {"suite": self.suite, "data": self.data, "model": model, "base": base}
        return run.stage("benchmark", self.config, f"benchmark {label}", **inputs)


def read_suite(run: Runs, config: BenchmarkConfig) -> Suite:
    """Download what is asked, and check it."""
    data = questions = None
    if hub := data_of(config):
        data = run.stage("download", hub, "download benchmarks")
    if own := questions_of(config):
        questions = run.stage("download", own, "download questions")
    return Suite(config, run.stage("suite", config.suite, data=data, questions=questions), data)


def benchmarked(
    run: Runs, models: Sequence[ModelInput], config: BenchmarkConfig
) -> tuple[dict[str, Any], None]:
    """What models come to, and each later one against each earlier; nothing is refused."""
    suite, found = read_suite(run, config), {}
    for model in models:
        asked = model.model
        if model.folder:
            asked = run.stage("base", BaseConfig(model=str(model.folder)), f"import {model.name}")
        found[model.name] = suite.asked_of(run, asked, model.name, model.base)
    results = {
        name: read_output(run.tracking, reference, BenchmarkResults.read) for name, reference in found.items()
    }
    items = {name: read_output(run.tracking, reference, read_items) for name, reference in found.items()}
    told = {
        "models": [{"model": name, "tasks": own.tasks} for name, own in results.items()],
        "differences": of_models(items),
    }
    return told, None
