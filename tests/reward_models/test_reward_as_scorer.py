"""A reward model as a scorer: its points against the reference, its audit, and what it cannot be asked."""

import asyncio
import math

import pytest
import torch
from pydantic import ValidationError

from flows.judging.reward_models import _require_other_scorers
from tasks.config import AuditConfig, CompareConfig, JudgeConfig, RewardConfig, SynthesizeConfig
from tasks.errors import RefusedError, StageError
from tasks.judge.ask.answers import answers_for
from tasks.judge.ask.asking import ask
from tasks.judge.ask.identities import digests_of
from tasks.judge.audit.outputs import AuditReport
from tasks.judge.audit.stage import audit
from tasks.judge.protocol.responses import ResponseRow, Turn
from tasks.judge.protocol.scoring_protocols import REWARDS, Question, protocol_of
from tasks.models.reward import RewardModel
from tasks.rows import load_split
from tests.runs import stage_run_in

pytestmark = pytest.mark.usefixtures("one_thread")

POLITE = {
    "name": "polite",
    "question": "Is it polite?",
    "anchors": {0: "rude", 5: "polite"},
}


def asked(scorer, rows, folder):
    config, run = JudgeConfig(scorer=scorer, device="cpu"), stage_run_in(folder)
    with answers_for(config, run) as answers:
        questions = [Question(row) for row in rows]
        return asyncio.run(ask(config, scorer, REWARDS, questions, answers, lambda _: None))


def response_to(row, response, **own):
    return ResponseRow(row["id"], row["instruction"], row["input"], row["output"], "", response, **own)


def test_points_are_twice_the_chance_of_being_better(trained, rows, tmp_path):
    members = load_split(rows, "test")
    model = RewardModel.load(trained.out, torch.device("cpu"))
    _, verdicts = asked(
        f"reward:{trained.out}", [response_to(row, row["rejected"]) for row in members], tmp_path
    )
    rewards = model.rewards([row["rejected"] for row in members], members)
    references = model.rewards([row["output"] for row in members], members)
    chances = [1 / (1 + math.exp(own - one)) for one, own in zip(rewards, references, strict=True)]
    expected = [min(100.0, 200 * chance) for chance in chances]
    assert [verdict.score for verdict in verdicts] == pytest.approx(expected, abs=2e-3)
    assert verdicts[0].reason == f"reward {rewards[0]:.2f}, of the reference {references[0]:.2f}"
    assert min(expected) < 90


def test_what_is_worth_as_much_as_the_reference_has_all_points(trained, rows, tmp_path):
    row = load_split(rows, "test")[0]
    _, (same,) = asked(f"reward:{trained.out}", [response_to(row, row["output"])], tmp_path)
    assert same.score == 100.0


def test_turns_before_are_read_too(trained, rows, tmp_path):
    row = load_split(rows, "test")[0]
    before = (Turn("user", "Say fig."), Turn("assistant", "fig"))
    alone, behind = (
        response_to(row, row["rejected"]),
        response_to(row, row["rejected"], before=before),
    )
    _, (one, other) = asked(f"reward:{trained.out}", [alone, behind], tmp_path)
    assert one.reason != other.reason


def test_response_that_does_not_fit_is_missing_and_not_cut(trained, rows, tmp_path):
    row = load_split(rows, "test")[0]
    _, (verdict,) = asked(f"reward:{trained.out}", [response_to(row, "fig " * 90)], tmp_path)
    assert verdict.score is None
    assert "the reward model reads 64" in verdict.missing_because
    assert verdict.not_read


def test_another_model_is_no_scorer(trained, tuned):
    with pytest.raises(StageError, match="holds no reward model"):
        digests_of(JudgeConfig(scorer=f"reward:{tuned}"))
    with pytest.raises(StageError, match="expected the first 12 digits of its digest"):
        digests_of(JudgeConfig(scorer="reward:nobody"))


def test_digest_of_a_scorer_is_that_of_its_files(trained):
    scorer = f"reward:{trained.out}"
    found = digests_of(JudgeConfig(scorer=scorer))
    assert len(found[scorer]) == 64
    assert protocol_of(scorer, "anchored") is REWARDS


def test_audit_tells_what_a_reward_model_takes_for_right(trained, rows, tmp_path):
    """One of a few weights, trained on one kind of mistake: it must not pass for a judge."""
    config = AuditConfig(scorer=f"reward:{trained.out}", sample=8, resamples=200, device="cpu")
    run = stage_run_in(tmp_path)
    audit(config, run, rows=rows)
    report = AuditReport.read(run.out)
    assert report.verdict == "fail"
    assert report.answers > 30
    references = next(gate for gate in report.gates if gate["name"].startswith("references at"))
    assert references["value"] == 1.0


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (lambda scorer: JudgeConfig(scorer=scorer, prompt="plain"), "answers with no text"),
        (lambda scorer: JudgeConfig(scorer=scorer, criteria=[POLITE]), "is a reward model"),
        (lambda scorer: AuditConfig(scorer=scorer, mode="pairwise"), "choices between two"),
        (lambda scorer: CompareConfig(scorer=scorer, mode="pairwise"), "choices between two"),
        (lambda scorer: RewardConfig(name=f"judge:{scorer}"), "is no reward"),
        (lambda scorer: SynthesizeConfig(kind="questions", by=scorer), "writes no text here"),
    ],
)
def test_what_a_reward_model_cannot_be_is_refused(config, told):
    with pytest.raises(ValidationError, match=told):
        config("reward:own")


def test_what_promotes_is_not_the_model_that_trained(trained):
    """By its weights, whatever it is called."""
    judging = JudgeConfig(scorer=f"reward:{trained.out}")
    with pytest.raises(RefusedError, match="another scorer has to promote it"):
        _require_other_scorers(None, [str(trained.out)], {}, judging)
    _require_other_scorers(None, [str(trained.out)], {}, JudgeConfig())
