"""A registered encoder-decoder, loaded by anyone through MLflow, writes what it writes here."""

import mlflow
import pandas as pd
import pytest

from tasks.config import FinetuneConfig, GenerateConfig, StageConfig
from tasks.errors import StageError
from tasks.machine.json_files import read_json, read_lines, write_json
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute
from tasks.record.work import Stage, Work
from tasks.registry import log_model as room
from tests.finetune.seq2seq_models import seq2seq_in
from tests.finetune.tuning import rows_in

FINETUNE = Stage("finetune", 1, "tasks.finetune.sft:finetune")
GENERATE = Stage("generate", 1, "tasks.generate:generate")
LORA = {"tune": "lora", "lora": {"adapters": "kept", "rank": 4}}

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.logs_models]


class Made(StageConfig):
    """An input of the stages here."""


def make_rows(_config, run):
    folder = rows_in(run.out / "all")
    for path in folder.iterdir():
        path.rename(run.out / path.name)
    folder.rmdir()


def make_base(_config, run):
    seq2seq_in(run.out, "bart")


def log(_config, run, *, model, rows, base=None):
    logged = room.log_model(run, "test-seq2seq", model, rows, base, "a made model")
    write_json(run.out / "logged.json", {"uri": f"models:/{logged.model_id}"})


def stages(tracking, settings):
    rows, base = (
        execute(tracking, Work(Stage(f"made-{name}", 1, f"{__name__}:make_{name}"), Made()))
        for name in ("rows", "base")
    )
    told = {"template": "phi3", "max_length": 64, "epochs": 1, "learning_rate": 1e-2}
    config = FinetuneConfig(device="cpu", preflight="warn", **told, **settings)
    model = execute(tracking, Work(FINETUNE, config, {"base": base, "rows": rows}))
    return {"model": model, "rows": rows} | ({"base": base} if settings else {})


def logged(tracking, inputs, version=1):
    reference = execute(tracking, Work(Stage("log", version, f"{__name__}:log"), Made(), inputs))
    return read_json(fetch(tracking, reference) / OUTPUT / "logged.json")["uri"]


@pytest.mark.parametrize("settings", [{}, LORA], ids=["whole", "adapters kept"])
def test_a_registered_encoder_decoder_writes_as_it_did_here(tracking, settings):
    inputs = stages(tracking, settings)
    config = GenerateConfig(template="phi3", max_new_tokens=12, device="cpu")
    responses = read_lines(
        fetch(tracking, execute(tracking, Work(GENERATE, config, inputs))) / OUTPUT / "responses.jsonl"
    )
    model = mlflow.pyfunc.load_model(logged(tracking, inputs))
    sources, expected = zip(*((row["instruction"], row["response"]) for row in responses), strict=True)
    asked = {"max_new_tokens": 12}
    assert model.predict(list(sources), params=asked) == list(expected)
    assert model.predict(pd.DataFrame({"source": sources}), params=asked) == list(expected)
    assert len(model.predict(list(sources) * 3, params=asked | {"num_beams": 2})) == 3 * len(sources)


def test_an_encoder_decoder_that_was_changed_is_not_registered(tracking, monkeypatch):
    inputs = stages(tracking, {})
    monkeypatch.setattr(room, "_target", lambda *_: "another text")
    with pytest.raises(StageError, match="does not write what it writes here"):
        logged(tracking, inputs, version=2)
