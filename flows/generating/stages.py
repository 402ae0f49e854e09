"""The stages of a batch of responses, for the flow that makes them and for the command that finds them."""

from typing import Any

from flows.dispatch.lookup import Runs
from flows.dispatch.runs import read_output
from flows.generating.inputs import ModelInput
from tasks.config import BaseConfig, DownloadConfig, GenerateConfig, ResponsesConfig
from tasks.generate.outputs import GenerateSummary


def generated(
    run: Runs, model: ModelInput, source: DownloadConfig, columns: dict[str, str], config: GenerateConfig
) -> tuple[dict[str, Any], None]:
    """Rows with their responses; what is told of them, which nothing refuses."""
    downloaded = run.stage("download", source, "download rows")
    reading = ResponsesConfig(columns=columns, needs_response=False, needs_reference=False)
    rows = run.stage("responses", reading, "rows", source=downloaded)
    asked = model.model
    if model.folder:
        asked = run.stage("base", BaseConfig(model=str(model.folder)), "import model")
    responses = run.stage("generate", config, model=asked, rows=rows, base=model.base)
    summary = read_output(run.tracking, responses, GenerateSummary.read)
    told = {"model": model.name, "template": config.template, "summary": summary.as_json()}
    return told | {"responses": responses.model_dump()}, None
