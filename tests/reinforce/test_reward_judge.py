"""A judge as a reward: only one that passed its audit, and its answers are kept."""

import pytest
from pydantic import ValidationError

from flows.profiles.profile import Profile
from tasks.config import AskConfig, GrpoConfig
from tasks.errors import RefusedError, StageError
from tasks.judge.ask.identities import digests_of
from tasks.judge.audit.outputs import AuditReport
from tasks.reinforce.judged import fingerprints, judge_scores
from tasks.reinforce.rewards import rewards_of, scored
from tests.judge.judging import AUDIT
from tests.ollama_server import OllamaServer
from tests.runs import stage_run_in

SCORER = "ollama:llama3.2"
ROWS = [
    {"id": 4, "instruction": "What is the capital of France?", "input": "", "output": "Paris."},
    {"id": 9, "instruction": "What is the capital of Spain?", "input": "", "output": "Madrid."},
]
RESPONSES = ["It is Paris.", "It is Lisbon."]


@pytest.fixture(autouse=True)
def _quick_and_alone(quick_judges):
    """Every test of this module."""


@pytest.fixture
def asked(tmp_path):
    """The rewards that a judge's audit with this verdict gives, called with the responses."""

    def ask(server, verdict, responses=RESPONSES):
        asking = AskConfig(scorer=SCORER, host=server.address)
        config = GrpoConfig(rewards=[{"name": f"judge:{SCORER}"}], asking=asking)
        audits = []
        if verdict:
            audits.append(tmp_path / verdict)
            audits[0].mkdir(exist_ok=True)
            report = AUDIT | {"scorer": SCORER, "digest": digests_of(asking)[SCORER], "verdict": verdict}
            AuditReport(**report).write(audits[0])
        run = stage_run_in(tmp_path)
        rewards = rewards_of(config, judge_scores(config, run, audits))
        return scored(rewards, responses, ROWS[: len(responses)])["judge_ollama_llama3.2"], config

    return ask


def test_judge_that_passed_gives_from_0_to_1_and_is_asked_once(asked):
    with OllamaServer(judge=lambda question: 5 if "Paris" in question.response else 1) as server:
        values, config = asked(server, "pass")
        calls = len(server.chats)
        again, _ = asked(server, "pass")
        assert values == again == [1.0, 0.2]
        assert len(server.chats) == calls == 2
        assert SCORER in fingerprints(config)


def test_response_that_needs_no_judge_is_not_asked_about(asked):
    with OllamaServer() as server:
        assert asked(server, "pass", ["Paris.", ""])[0] == [1.0, 0.0]
        assert not server.chats


def test_judge_that_failed_or_was_not_audited_is_refused(asked):
    with OllamaServer() as server:
        with pytest.raises(RefusedError, match=r"failed its audit .*it is no reward"):
            asked(server, "fail")
        with pytest.raises(RefusedError, match="has not been audited on these rows"):
            asked(server, None)
        assert not server.chats


def test_judge_whose_answers_cannot_be_read_ends_the_stage(asked):
    told = f"{SCORER} gave 2 of 2 responses no score"
    with OllamaServer(judge=lambda _: "no number") as server, pytest.raises(StageError, match=told):
        asked(server, "pass")


def profile_with(scorer, **grpo):
    rows = {"sources": [{"made": "skills", "name": "skills.jsonl", "count": 9}]}
    grpo = {"rewards": [{"name": f"judge:{SCORER}"}]} | grpo
    return Profile.model_validate(
        {"name": "own", "instructions": rows, "grpo": grpo, "judge": {"scorer": scorer, "min_mass": 0.25}}
    )


def test_what_promotes_is_not_the_judge_that_trained():
    with pytest.raises(ValidationError, match="another scorer has to promote it"):
        profile_with(SCORER)


def test_reward_judge_is_asked_and_audited_as_the_profile_says():
    profile = profile_with("metric:exact")
    assert profile.reward_judges.scorer == SCORER
    assert profile.reward_judges.min_mass == 0.25
    assert profile.trainings["grpo"].asked == AskConfig(scorer=SCORER, min_mass=0.25)
    assert "audit" in profile.stages()
    assert profile_with("metric:exact", rewards=[{"name": "exact"}]).reward_judges is None
