"""The champion judged again, as the schedule does: its responses, by the judge as it is now."""

import json
import subprocess
import sys

import pytest

from tests.judges import always_top, honest
from tests.ollama_server import OllamaServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CODE = """
import json
from flows.results import run_here
from flows.rejudging import rejudging
from tasks.config import JudgeConfig
from tasks.errors import TouchstoneError
try:
    judge = JudgeConfig(scorer="ollama:llama3.2", resamples=200)
    print(json.dumps(run_here(rejudging, judge, "touchstone-tiny")))
except TouchstoneError as error:
    print(json.dumps({"error": str(error)}))
"""


def rejudged(workplace, **environment):
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=workplace.folder,
        env=workplace.environment | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_champion_is_audited_on_and_scored_anew_and_found_the_second_time(make_workplace):
    workplace = make_workplace("rejudged")
    with OllamaServer(judge=honest) as server:
        assert "has no champion" in rejudged(workplace, OLLAMA_HOST=server.address)["error"]
    result = workplace("run", "tiny.yaml", "--json", "--set", "promote.min_score=0")
    assert result.json["model"]["champion"], result.err
    with OllamaServer(judge=honest) as server:
        first = rejudged(workplace, OLLAMA_HOST=server.address)
        asked = len(server.chats)
        again = rejudged(workplace, OLLAMA_HOST=server.address)
        assert len(server.chats) == asked > 0
    assert first["model"] == {"name": "touchstone-tiny", "version": 1}
    assert {entry["model"] for entry in first["scores"]} == {"touchstone-tiny version 1"}
    assert "ollama:llama3.2" in {entry["scorer"] for entry in first["scores"]}
    assert [stage["name"] for stage in first["stages"]] == ["audit", "judge"]
    assert all(stage["cached"] for stage in again["stages"])
    with OllamaServer(judge=always_top, digest="b" * 64) as server:
        refused = rejudged(workplace, OLLAMA_HOST=server.address)
    assert refused["status"] == "refused"
    assert "failed its audit" in refused["error"]
