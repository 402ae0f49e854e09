"""What stays when old runs are cleaned, and why: what is kept, and all that it was made from."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from flows.cleaning.reach import Rule, reasons, unused_versions

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULE = Rule(NOW - timedelta(days=30), newest=1)


class History:
    """Runs as MLflow lists them, each a day older than the one made before it."""

    def __init__(self):
        self.runs, self.age = [], 40

    def run(self, run_id, status="FINISHED", age=None, **tags):
        self.age += 1
        began = NOW - timedelta(days=self.age if age is None else age)
        told = {name.replace("__", "."): value for name, value in tags.items()}
        info = SimpleNamespace(run_id=run_id, status=status, start_time=1000 * began.timestamp())
        self.runs.append(SimpleNamespace(info=info, data=SimpleNamespace(tags=told)))
        return self

    def stage(self, run_id, stage, parent=None, inputs=(), **more):
        tags = {"touchstone.stage": stage, "touchstone.digest": f"digest of {run_id}"}
        tags |= {"mlflow.parentRunId": parent} if parent else {}
        tags |= {f"touchstone.dataset.{name}.{of}": f"digest of {of}" for name, of in inputs}
        return self.run(run_id, **more, **tags)

    def pipeline(self, run_id, profile, stages=(), **more):
        tags = {"touchstone.kind": "pipeline", "touchstone.profile": profile}
        return self.run(run_id, **more, **tags, **{f"touchstone.stage.{one}": one for one in stages})

    def stays(self, versions=(), rule=RULE, profile=None):
        return reasons(self.runs, versions, rule, profile)


def version(run_id=None, **tags):
    return SimpleNamespace(run_id=run_id, tags=tags)


def test_the_newest_of_a_profile_keeps_what_it_found():
    history = History().pipeline("new", "a", ["rows", "tuned"]).pipeline("old", "a", ["rows", "older"])
    history.stage("tuned", "finetune", "new", [("rows", "rows")]).stage("older", "finetune", "old")
    history.stage("rows", "rows", "old", [("source", "download")]).stage("download", "download", "old")
    assert history.stays().keys() == {"new", "tuned", "rows", "download"}


def test_every_profile_has_its_newest():
    history = History().pipeline("a1", "a").pipeline("b1", "b").pipeline("a2", "a").pipeline("b2", "b")
    assert history.stays().keys() == {"a1", "b1"}
    assert history.stays(rule=Rule(RULE.since, newest=0)) == {}


def test_a_failed_run_is_not_the_newest_that_stays():
    history = History().pipeline("failed", "a", status="FAILED").pipeline("done", "a")
    assert history.stays().keys() == {"done"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"age": 29}, "recent"),
        ({"status": "RUNNING"}, "running"),
        ({"touchstone__keep": "for the paper"}, "with the tag touchstone.keep"),
    ],
)
def test_a_run_stays_for_its_own_sake(more, why):
    history = History().pipeline("first", "a").pipeline("own", "a", ["rows"], **more).stage("rows", "rows")
    stays = history.stays()
    assert stays["own"] == stays["rows"] == why


def test_a_version_keeps_its_promotion_its_card_and_all_below():
    history = History().pipeline("newest", "a").pipeline("card", "a", ["report"]).stage("report", "report")
    history.stage("promote", "promote", "card", [("model", "tuned")]).stage("tuned", "finetune")
    history.stage("scores", "judge").stage("apart", "judge")
    scores = '{"stage": "judge", "run_id": "scores"}'
    kept = history.stays([version("promote", **{"touchstone.scores": scores, "note": '{"run_id": '})])
    assert kept.keys() == {"newest", "card", "report", "promote", "tuned", "scores"}
    assert kept["scores"] == "of registered models"


def test_references_among_others_of_a_version_count():
    history = History().stage("deep", "judge").stage("apart", "judge")
    tags = {"touchstone.promotion": '{"first": [{"scores": {"run_id": "deep"}}]}'}
    assert history.stays([version(**tags)]).keys() == {"deep"}


def test_labels_keep_the_responses_they_are_of():
    tags = {"touchstone__kind": "labels", "touchstone__labels__of": "digest of said"}
    history = History().run("labels", **tags).stage("said", "generate", inputs=[("model", "tuned")])
    history.stage("tuned", "finetune").stage("apart", "generate")
    assert history.stays().keys() == {"labels", "said", "tuned"}


def test_votes_stay():
    history = History().run("votes", touchstone__kind="votes")
    assert history.stays() == {"votes": "with votes that people gave"}


def test_runs_of_others_in_the_experiment_are_left_alone():
    assert History().run("notebook", params="x").stays() == {"notebook": "not made by Touchstone"}


def test_the_seeds_of_a_kept_group_stay():
    group = {"touchstone__kind": "seeds", "touchstone__profile": "a", "touchstone__seed__1": "one"}
    history = History().run("group", **group).pipeline("one", "a", ["tuned"]).stage("tuned", "finetune")
    assert history.stays().keys() == {"group", "one", "tuned"}


def test_a_sweep_that_stays_keeps_its_trials_and_what_it_chose():
    tags = {"touchstone__kind": "sweep", "touchstone__profile": "a", "touchstone__trial__0": "zero"}
    history = History().pipeline("newest", "a").run("sweep", **tags, touchstone__chosen="chosen")
    history.pipeline("chosen", "a").pipeline("old", "a")
    for trial in ("zero", "other"):
        own = {"touchstone__kind": "trial", "touchstone__profile": "a", "touchstone__stage__rows": "rows"}
        history.run(trial, **own)
    history.stage("rows", "rows", "zero").run("older sweep", **tags)
    assert history.stays().keys() == {"newest", "sweep", "chosen", "zero", "rows"}


def test_of_one_profile_alone_the_others_stay():
    history = History().pipeline("a1", "a").pipeline("a2", "a", ["rows"]).stage("rows", "rows", "a2")
    history.pipeline("b1", "b").pipeline("b2", "b", ["other"]).stage("other", "rows", "b2")
    history.run("compared", touchstone__kind="compare")
    assert history.stays(profile="a").keys() == {"a1", "b1", "b2", "other", "compared"}


def test_old_versions_that_nobody_uses_may_go():
    def made(number, age):
        at = round(1000 * (NOW - timedelta(days=age)).timestamp())
        tags = {"touchstone.key": str(number)}
        return SimpleNamespace(version=str(number), creation_timestamp=at, tags=tags, source="file:///m")

    versions = [made(1, 90), made(2, 80), made(3, 70), made(10, 60), made(11, 50), made(12, 5)]
    rule = Rule(NOW - timedelta(days=30), newest=2, all_versions=False)
    assert [one.version for one in unused_versions(versions, {2}, rule)] == ["10", "3", "1"]
    none_stays = Rule(rule.since, 0, all_versions=False)
    assert len(unused_versions(versions, (), none_stays)) == 5
    assert unused_versions(versions, (), RULE) == []
