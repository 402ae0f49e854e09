"""The champion is met under a candidate's conditions: where they have changed, it is scored anew."""

import json
import shutil
from itertools import count

import pytest

from flows.judging.rescoring import champion_inputs
from flows.stages import STAGES
from tasks.config import BaseConfig, GenerateConfig, JudgeConfig, PromoteConfig
from tasks.errors import StageError
from tasks.judge.protocol.responses import read_rows
from tasks.machine.json_files import read_json
from tasks.record.outputs import OUTPUT, fetch
from tasks.record.stage import execute
from tasks.record.tracking import local_folder
from tasks.record.work import Stage, Work
from tasks.registry.promote.leaks import leaked_rows
from tasks.registry.promote.rescoring import keep_later, responses_of
from tasks.registry.resolve import registered_fingerprints
from tasks.registry.versions import champion_of
from tasks.rows import write_rows
from tests.judge.labels.labelling import labelled, labels_record
from tests.registry.promote.promoting import (
    QUESTIONS,
    SCORER,
    Chained,
    Made,
    around,
    judged,
    make_model,
    make_scores,
)

NAMES = (f"test-rescoring-{number}" for number in count())
SEEDS = count(500)  # the store is shared: no model is another test's
ASKED = GenerateConfig(template="phi3", max_new_tokens=2, device="cpu")
LONGER = ASKED.model_copy(update={"max_new_tokens": 3})


def make_split(config, run):
    """Rows by split, from the numbers of QUESTIONS."""
    for split, numbers in json.loads(config.what).items():
        write_rows(run.out / f"{split}.jsonl", [QUESTIONS[number] for number in numbers])


def make_trained(config, run, *, rows):
    make_model(config, run)


class Night(Chained):
    """A workplace with a registered model: candidates are trained, judged and promoted into it."""

    def __init__(self, tracking):
        super().__init__(tracking)
        self.name = next(NAMES)
        self.config = PromoteConfig(name=self.name, min_score=0)

    def rows(self, train, test):
        what = json.dumps({"train": list(train), "test": list(test)})
        return execute(self.tracking, Work(Stage("rows", 1, f"{__name__}:make_split"), Made(what=what)))

    def candidate(self, rows, points, asked=ASKED, judge=None, scorer=SCORER, model=None):
        """The inputs of its promotion: it has so many points in every row."""
        if model is None:
            what = Made(what=json.dumps([next(SEEDS), None]))
            stage = Stage("finetune", 1, f"{__name__}:make_trained")
            model = execute(self.tracking, Work(stage, what, {"rows": rows}))
        responses = self.stage("generate", asked, model=model, rows=rows)
        test = (fetch(self.tracking, rows) / OUTPUT / "test.jsonl").read_text().splitlines()
        first = json.loads(test[0])["id"] - 100
        scores = [None] * first + list(around(points, rows=len(test)))
        what = Made(what=json.dumps([scorer, points, scores, judge]))
        stage = Stage("judge", STAGES["judge"].version, f"{__name__}:make_some")
        return {
            "model": model,
            "rows": rows,
            "scores": execute(self.tracking, Work(stage, what, {"responses": responses})),
        }

    def met(self, inputs, asked=ASKED, judge=None):
        self.labels.clear()
        return champion_inputs(self, self.config, inputs, asked, judge or JudgeConfig(scorer=SCORER), {})

    def promoted(self, inputs):
        reference = self.stage("promote", self.config, **inputs)
        return read_json(fetch(self.tracking, reference) / OUTPUT / "promotion.json")


def make_some(config, run, *, responses):
    """Scores without the leading rows that are None."""
    scorer, mean, scores, judge = json.loads(config.what)
    first = next(place for place, score in enumerate(scores) if score is not None)
    make_scores(Made(what=json.dumps([scorer, mean, scores[first:], judge])), run)
    path = run.out / "scores.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line | {"id": line["id"] + first}) + "\n" for line in lines))


@pytest.fixture
def night(tracking, monkeypatch):
    monkeypatch.setattr("tasks.judge.labels.stage.open_tracking", lambda: tracking)
    return Night(tracking)


OLD, NEW = (range(0), range(24)), (range(0), range(1, 31))


def test_new_rows_the_champion_answers_and_can_be_beaten_on_them(night):
    """Regression: once the rows had changed nothing could win, as no champion had scores of them."""
    night.promoted(night.candidate(night.rows(*OLD), 40))
    better = night.candidate(night.rows(*NEW), 90)
    met = night.met(better)
    assert night.labels == ["generate champion", "judge champion"]
    promotion = night.promoted(better | met)
    assert (promotion["champion"], promotion["against"]) == (True, "version 1")
    assert promotion["difference"] > 50
    because = "its scores came about under other conditions (rows: "
    assert promotion["anew"].startswith(because)
    assert f"; champion scored anew because {because}" in promotion["reason"]
    assert night.met(better) == met, "a run again finds the promotion, though the champion is another now"
    assert night.labels == []


def test_a_candidate_that_is_no_better_on_the_new_rows_stays_one(night):
    night.promoted(night.candidate(night.rows(*OLD), 40))
    worse = night.candidate(night.rows(*NEW), 6)
    promotion = night.promoted(worse | night.met(worse))
    assert promotion["anew"]
    assert not promotion["champion"]


def test_another_decoding_is_asked_of_the_champion_too(night):
    rows = night.rows(*NEW)
    night.promoted(night.candidate(rows, 40))
    better = night.candidate(rows, 90, asked=LONGER)
    met = night.met(better, asked=LONGER)
    assert night.labels == ["generate champion", "judge champion"]
    assert "max_new_tokens: 3, was 2" in night.promoted(better | met)["anew"]


def test_alike_conditions_need_nothing(night):
    rows = night.rows(*NEW)
    assert night.met(night.candidate(rows, 40)) == {}, "there is no champion"
    night.promoted(night.candidate(rows, 40))
    assert night.met(night.candidate(rows, 50)) == {}
    assert night.labels == []


def test_what_the_new_judge_said_of_the_champion_is_met(night):
    """Regression: the champion's new judging was written where no promotion read it."""
    rows = night.rows(*NEW)
    first = night.candidate(rows, 40, judge=judged())
    night.promoted(first)
    later = night.candidate(rows, 30, judge=judged(digest="b" * 64), model=first["model"])["scores"]
    keep_later(night.tracking, night.name, 1, later)
    better = night.candidate(rows, 90, judge=judged(digest="b" * 64))
    assert night.met(better) == {"champion": later}
    assert night.labels == []
    promotion = night.promoted(better | {"champion": later})
    assert promotion["champion"]
    assert "model behind ollama:llama3.2: bbbbbbbbbbbb, was aaaaaaaaaaaa" in promotion["anew"]


def remove(tracking, reference, name):
    path = local_folder(reference.uri) / OUTPUT / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_champion_whose_model_is_gone_is_not_beaten_and_is_told(night):
    first = night.candidate(night.rows(*OLD), 40)
    night.promoted(first)
    better = night.candidate(night.rows(*NEW), 90)
    remove(night.tracking, first["model"], "model")
    assert night.met(better) == {}
    promotion = night.promoted(better)
    assert not promotion["champion"]
    assert "; and it cannot be scored anew: the output of finetune that" in promotion["reason"]


def make_untold(config, run):
    make_model(config, run)
    (run.out / "summary.json").write_text("{}")


def test_a_champion_whose_template_is_not_known_is_not_asked(night):
    stage = Stage("made-untold", 1, f"{__name__}:make_untold")
    model = execute(night.tracking, Work(stage, Made(what=json.dumps([next(SEEDS), None]))))
    night.promoted(night.candidate(night.rows(*OLD), 40, model=model))
    better = night.candidate(night.rows(*NEW), 90)
    assert night.met(better) == {}
    reason = night.promoted(better)["reason"]
    assert reason.endswith("; and it cannot be scored anew: the template that it was trained in is not known")


def test_scores_of_a_former_champion_are_not_compared_with(night):
    old = night.rows(*OLD)
    night.promoted(night.candidate(old, 40))
    better = night.candidate(night.rows(*NEW), 90)
    met = night.met(better)
    night.promoted(night.candidate(old, 95))
    assert champion_of(night.tracking, night.name).version == 2
    promotion = night.promoted(better | met)
    assert not promotion["champion"]
    assert "it was not scored anew: another model has become champion meanwhile" in promotion["reason"]


def test_rows_that_the_champion_was_trained_on_are_left_out(night):
    night.promoted(night.candidate(night.rows(range(25, 31), range(24)), 40))
    better = night.candidate(night.rows(*NEW), 90)
    promotion = night.promoted(better | night.met(better))
    assert promotion["leaked"] == 6
    assert (
        "; 6 test rows are left out, which version 1 or the candidate was trained on" in promotion["reason"]
    )


def test_rows_of_which_the_champion_learned_most_decide_nothing(night):
    night.promoted(night.candidate(night.rows(range(1, 29), range(29, 31)), 40))
    better = night.candidate(night.rows(*NEW), 90)
    promotion = night.promoted(better | night.met(better))
    assert not promotion["champion"]
    assert "have a score of both it and version 1; a comparison needs" in promotion["reason"]


def test_training_rows_that_are_gone_may_hold_the_test_rows(night):
    old = night.rows(range(25, 31), range(24))
    night.promoted(night.candidate(old, 40))
    better = night.candidate(night.rows(*NEW), 90)
    met = night.met(better)
    remove(night.tracking, old, "train.jsonl")
    promotion = night.promoted(better | met)
    assert not promotion["champion"]
    assert "it cannot be told whether the test rows are new to it and to version 1: " in promotion["reason"]


def make_from_base(config, run, *, base, rows):
    make_model(config, run)


def test_rows_that_the_base_version_was_trained_on_are_left_out(night):
    """Its own training rows are others: those of the version before are among the test rows."""
    night.promoted(night.candidate(night.rows(range(1, 7), range(7, 31)), 40))
    uri = f"models:/{night.name}/1"
    prints = registered_fingerprints(night.tracking, uri)
    base = execute(night.tracking, Work(STAGES["base"], BaseConfig(model=uri), {}, prints))
    new = night.rows(range(0), range(1, 31))
    stage = Stage("finetune", 1, f"{__name__}:make_from_base")
    what = Made(what=json.dumps([next(SEEDS), None]))
    model = execute(night.tracking, Work(stage, what, {"base": base, "rows": new}))
    tested = fetch(night.tracking, new) / OUTPUT
    assert leaked_rows(night.tracking, model, tested, new.digest) == set(range(101, 107))
    night.tracking.client.delete_model_version(night.name, "1")
    with pytest.raises(StageError, match="/1, which it was trained from, is not in the registry any more"):
        leaked_rows(night.tracking, model, tested, new.digest)


def label(night, scores, grade):
    """People give twelve of the responses that were scored this grade."""
    responses = responses_of(night.tracking, scores)
    rows = read_rows(fetch(night.tracking, responses) / OUTPUT)
    labelled(night.tracking, responses, rows, {row.id: grade for row in rows[:12]})
    return labels_record(night.tracking, responses)


def test_labels_of_a_rescored_champion_are_of_its_new_responses(night):
    """Regression: those of its old responses were taken, and a run again found the promotion without any."""
    rows = night.rows(*NEW)
    first = night.candidate(rows, 40)
    night.promoted(first)
    label(night, first["scores"], 5)
    night.config = PromoteConfig(name=night.name, min_score=0, require_labels=10)
    better = night.candidate(rows, 90, asked=LONGER)
    better |= {"labels": label(night, better["scores"], 5)}
    met = night.met(better, asked=LONGER)
    assert met.keys() == {"champion"}
    promotion = night.promoted(better | met)
    assert not promotion["champion"]
    assert "people have labelled 0 rows for both it and version 1" in promotion["reason"]
    assert ":champion --rows 10`" in promotion["reason"]
    label(night, met["champion"], 0)
    again = night.met(better, asked=LONGER)
    assert again["champion"] == met["champion"]
    promotion = night.promoted(better | again)
    assert promotion["champion"], promotion["reason"]
    assert (
        "points against version 1 corrected by 12 rows that people labelled for both" in promotion["labels"]
    )
    assert night.met(better, asked=LONGER) == again, "the champion is another now, and the promotion the same"


def test_later_labels_of_a_champion_make_another_promotion(night):
    rows = night.rows(*NEW)
    first = night.candidate(rows, 40)
    night.promoted(first)
    night.config = PromoteConfig(name=night.name, min_score=0, require_labels=10)
    better = night.candidate(rows, 90)
    better |= {"labels": label(night, better["scores"], 5)}
    assert night.met(better) == {}
    promotion = night.promoted(better)
    assert f"`touchstone label {night.name}/1 --rows 10`" in promotion["reason"]
    label(night, first["scores"], 0)
    assert night.met(better).keys() == {"champion_labels"}
    assert night.promoted(better | night.met(better))["champion"]
