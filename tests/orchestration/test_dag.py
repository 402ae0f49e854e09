"""Which stages a profile runs, in which order, and what each is given: without running any."""

import hashlib

import pytest

import flows.judging.audits
import flows.pipeline
from flows.dispatch.lookup import work_of
from flows.pipeline import stages
from flows.profiles.profile import Profile
from tasks.config import ReportConfig
from tasks.errors import RefusedError
from tasks.record.work import Reference

ROWS = {"sources": [{"made": "skills", "name": "skills.jsonl", "count": 9}]}


def output(name):
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Reference(stage=name, run_id=digest[:32], key=digest, digest=digest, uri=name)


class Run:
    """Gives an output for every stage, and keeps what it was asked for."""

    tracking = None

    def __init__(self):
        self.asked = {}

    def stage(self, stage, _config, label=None, **inputs):
        self.asked[label or stage] = {name: given.uri for name, given in inputs.items() if given}
        return output(label or stage)


@pytest.fixture
def dag(monkeypatch):
    """The inputs of every stage of a profile, by its label."""
    monkeypatch.setattr(flows.pipeline, "with_version", lambda _, base: base)
    monkeypatch.setattr(flows.pipeline, "champion_inputs", lambda *_: {"champion": output("champion")})
    monkeypatch.setattr(flows.pipeline, "labels_output", lambda *_: None)

    def run(**sections):
        asked = Run()
        stages(asked, Profile.model_validate({"name": "own"} | sections))
        return asked.asked

    return run


def test_a_corpus_alone_is_pretrained_on_and_reported(dag):
    assert dag(corpus=ROWS) == {
        "download corpus": {},
        "tokenize": {"corpus": "download corpus"},
        "pretrain": {"tokens": "tokenize"},
        "report": {"corpus": "download corpus", "tokens": "tokenize", "base": "pretrain"},
    }


def test_preferences_on_kept_adapters_come_with_the_model_below(dag):
    kept = {"tune": "lora", "lora": {"adapters": "kept"}}
    found = dag(instructions=ROWS, base={"model": "owner/name"}, dpo=kept, judge={"scorer": "ollama:b"})
    trained = {"rows": "rows", "base": "base", "tuned": "finetune"}
    assert list(found) == [
        "download rows",
        "rows",
        "base",
        "preflight rows",
        "audit",
        "finetune",
        "dpo",
        *(
            f"{what} {model}"
            for model in ("base", "fine-tuned", "preferred")
            for what in ("generate", "judge")
        ),
        "promote",
        "report",
    ]
    assert found["preflight rows"] == {"rows": "rows", "base": "base"}
    assert found["generate fine-tuned"] == {"model": "finetune", "rows": "rows"}
    assert found["generate preferred"] == {"model": "dpo", "rows": "rows", "base": "finetune"}
    assert found["judge preferred"] == {"responses": "generate preferred", "audit_0": "audit"}
    champion = {"model": "dpo", "scores": "judge preferred", "champion": "champion"}
    assert found["promote"] == trained | champion
    assert found["report"].keys() == trained.keys() | {
        *("instructions", "preferred", "promotion"),
        *(f"{model}_{what}" for model in ("base", "tuned", "preferred") for what in ("responses", "scores")),
    }


def test_rewards_come_last_and_start_from_the_model_before(dag):
    found = dag(instructions=ROWS, dpo={}, grpo={"rewards": [{"name": "exact"}]})
    assert found["grpo"] == {"tuned": "dpo", "rows": "rows"}
    assert found["generate reinforced"] == {"model": "grpo", "rows": "rows"}
    before = {"base": "pretrain", "tuned": "finetune", "preferred": "dpo"}
    assert found["promote"].items() >= (before | {"model": "grpo", "scores": "judge reinforced"}).items()
    assert found["report"].items() >= (before | {"reinforced": "grpo"}).items()


def test_kept_adapters_of_rewards_come_with_the_fine_tuned_model(dag):
    found = dag(instructions=ROWS, grpo={"tune": "lora", "lora": {"adapters": "kept"}})
    assert found["grpo"] == {"tuned": "finetune", "rows": "rows"}
    assert found["generate reinforced"] == {"model": "grpo", "rows": "rows", "base": "finetune"}


def test_judge_that_rewards_is_audited_before_any_training(dag, monkeypatch):
    verdict = {"verdict": "pass"}
    monkeypatch.setattr(flows.judging.audits, "audit_reports", lambda *_: [verdict])
    sections = {"instructions": ROWS, "grpo": {"rewards": [{"name": "judge:ollama:a"}]}}
    found = dag(**sections, judge={"scorer": "ollama:b"})
    order = list(found)
    assert order.index("reward audit") < order.index("audit") < order.index("pretrain")
    assert found["grpo"] == {"tuned": "finetune", "rows": "rows", "audit_0": "reward audit"}
    assert found["judge reinforced"]["audit_0"] == "audit"
    verdict |= {"verdict": "fail", "scorer": "ollama:a", "criterion": None, "mode": "scores", "gates": []}
    verdict |= {"controls": [], "missing_because": []}
    with pytest.raises(RefusedError, match=r"grpo\.rewards: ollama:a failed"):
        dag(**sections)


def test_labelled_texts_make_a_classifier_promoted_by_its_scores(dag):
    found = dag(labelled=ROWS)
    assert found["tokenize"] == {"rows": "rows"}
    assert found["classify"] == {"base": "pretrain", "rows": "rows", "tokens": "tokenize"}
    assert found["promote"]["scores"] == found["promote"]["model"] == "classify"
    assert found["report"]["labelled"] == "download rows"


def test_an_input_that_is_none_is_one_that_a_stage_does_without():
    given = {"rows": output("rows")}
    work = work_of("report", ReportConfig(), given | {"tokens": None})
    assert work.inputs == given
    assert work.key == work_of("report", ReportConfig(), given).key
