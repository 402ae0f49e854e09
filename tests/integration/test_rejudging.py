"""The champion judged again, as the schedule does: its responses, by the judge as it is now."""

import pytest

from flows.dispatch.results import run_here
from flows.judging.rejudging import rejudging
from flows.server.deployment_file import load_deployments
from tasks.config import JudgeConfig
from tasks.errors import TouchstoneError
from tests.judges import always_top, honest
from tests.ollama_server import OllamaServer
from tests.orchestration.test_prefect_yaml import OURS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def scheduled(name):
    """The flow of a deployment of ours and the parameters that its schedule runs it with."""
    (spec,) = [each for each in load_deployments(OURS).deployments if each.name == name]
    return spec.flow, spec.parameters


def test_pitfall_30_weekly_audit_finds_a_judge_that_was_swapped(make_workplace):
    audit, parameters = scheduled("weekly-audit")
    rows = {"sources": [{"made": "skills", "count": 12}]}
    with OllamaServer(judge=honest, slots=4) as server:
        with make_workplace("weekly").entered(OLLAMA_HOST=server.address):
            first = run_here(audit, **parameters | {"source": rows})
            server.judge = always_top
            second = run_here(audit, **parameters | {"source": rows})
        assert len(server.chats) == 2 * first["answers"]
    assert [stage["cached"] for stage in second["stages"]] == [True, True, False]
    assert first["status"] != "refused"
    assert (second["status"], second["verdict"], second["digest"]) == ("refused", "fail", first["digest"])


def rejudged(workplace, anew=False, **environment):
    judge = JudgeConfig(scorer="ollama:llama3.2", resamples=200, anew=anew)
    with workplace.entered(**environment):
        return run_here(rejudging, judge, "touchstone-tiny")


def test_champion_is_audited_and_scored_anew_and_then_found(make_workplace):
    workplace = make_workplace("rejudged")
    with OllamaServer(judge=honest) as server, pytest.raises(TouchstoneError, match="has no champion"):
        rejudged(workplace, OLLAMA_HOST=server.address)
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
    settings = ("--set", "promote.min_score=0", "--set", "promote.min_rows=1")
    with OllamaServer(judge=honest) as server:
        judged = (*settings, "--set", "judge.scorer=ollama:llama3.2")
        later = workplace("run", "tiny.yaml", "--json", *judged, OLLAMA_HOST=server.address)
    because = "champion scored anew because its scores came about under other conditions ("
    assert f"{because}scorer: ollama:llama3.2, was metric:chrf; " in later.json["model"]["decision"], (
        later.err
    )
    assert not any("champion" in stage["name"] for stage in later.json["stages"]), "it was judged already"
    other = workplace("run", "tiny.yaml", "--json", *settings, "--set", "rows.seed=9")
    names = [stage["name"] for stage in other.json["stages"]]
    assert names[-4:] == ["generate champion", "judge champion", "promote", "report"], other.err
    decision = other.json["model"]["decision"]
    assert f"{because}rows: " in decision
    assert "test rows are left out, which version 1 or the candidate was trained on" in decision
    assert all(workplace("run", "tiny.yaml", "--json", *settings, "--set", "rows.seed=9").cached.values())
    assert because in " ".join(workplace("report").out.split())
    with OllamaServer(judge=always_top, digest="b" * 64) as server:
        refused = rejudged(workplace, OLLAMA_HOST=server.address)
    assert refused["status"] == "refused"
    assert "failed its audit" in refused["error"]
    with OllamaServer(judge=honest) as server:
        for _ in range(2):
            anew = rejudged(workplace, anew=True, OLLAMA_HOST=server.address)
        assert len(server.chats) >= 2 * asked
    assert [stage["cached"] for stage in anew["stages"]] == [False, False]
    assert anew["scores"] == first["scores"]
