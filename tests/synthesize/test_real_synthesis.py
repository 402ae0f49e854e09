"""A real model behind a real llama.cpp makes rows of a few passages."""

import pytest

from tasks.config import SynthesizeConfig
from tasks.rows.synthetic import MADE, ROWS
from tasks.synthesize.identities import fingerprints
from tasks.synthesize.outputs import Synthesis
from tasks.synthesize.stage import synthesize
from tests.real_models import SMOLLM2
from tests.runs import stage_run_in
from tests.synthesize.writing import CORPUS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_a_real_model_makes_rows(tmp_path, llama_server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", llama_server.key)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "ships.txt").write_text(CORPUS, encoding="utf-8")
    config = SynthesizeConfig(
        by=f"openai:{SMOLLM2}",
        base_url=f"{llama_server.address}/v1",
        count=4,
        passage_words=40,
        max_tokens=200,
        concurrency=2,
    )
    run = stage_run_in(tmp_path / "run", fingerprints=fingerprints(config))
    synthesize(config, run, corpus=tmp_path / "corpus")
    found = Synthesis.read(run.out)
    told = {each["name"]: each["set_aside"] for each in found.filters}
    assert found.asked == 4 == found.kept + sum(told.values())
    assert told["form"] < 4  # llama.cpp holds the model to the schema
    assert found.writers[0]["tokens"] > 0
    assert len((run.out / MADE / ROWS).read_text(encoding="utf-8").splitlines()) == found.kept
