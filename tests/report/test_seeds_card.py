"""The seeds stage, and the card of several trainings in all its forms."""

import json

import pytest

from tasks.config import SeedRun, SeedsConfig
from tasks.errors import StageError
from tasks.judge.score.outputs import read_score_lines, write_score_lines
from tasks.record.stage import StageRun
from tasks.report.data import corpus_text
from tasks.seeds.stage import seeds
from tasks.statistics.seeds import gain_over_seeds
from tests.card_outputs import HOSTILE, METRIC, Card, Outputs, Page

FORMS = ("html", "markdown", "terminal")
NAMES = ("base", "base_scores", "tuned_scores", "preferred_scores", "classifier")


class Trainings:
    """Outputs of several seeds, what the seeds stage makes of them, and the card of the first."""

    def __init__(self, folder, scores, kind="write", failed=()):
        self.folder = folder
        self.outputs = {}
        for number, tuned in enumerate(scores, start=1):
            outputs = Outputs(folder / f"seed-{number}")
            outputs.scores["tuned"][METRIC] = tuned
            self.outputs[number] = outputs
        self.made = {number: getattr(own, kind)() for number, own in self.outputs.items()}
        done = [SeedRun(number=number, seeds={"pretrain": 122 + number}) for number in self.outputs]
        lost = [
            SeedRun(number=number, seeds={"pretrain": 122 + number}, error=error) for number, error in failed
        ]
        self.config = SeedsConfig(runs=(*done, *lost))

    def compare(self):
        run = StageRun(
            out=self.folder / "out", auxiliary=self.folder / "auxiliary", checkpoint=self.folder / "c"
        )
        inputs = {
            f"seed_{number}_{name}": made[name]
            for number, made in self.made.items()
            for name in NAMES
            if name in made
        }
        seeds(self.config, run, **inputs)
        return json.loads((run.out / "seeds.json").read_bytes())

    def card(self):
        self.compare()
        folders = self.made[1] | {"seeds": self.folder / "out"}
        return Card(self.outputs[1], self.folder / "card", folders=folders)


def flat(text):
    return " ".join(text.split())


def test_the_scores_of_all_seeds_are_put_together(tmp_path):
    found = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0], [60.0, 90.0]]).compare()
    assert found["done"] == [1, 2, 3]
    base, tuned = (
        next(one for one in found["scores"] if one["model"] == name) for name in ("base", "fine-tuned")
    )
    assert tuned["by_seed"] == [75.0, 60.0, 75.0]
    assert tuned["mean"] == 70.0
    assert tuned["sd"] == pytest.approx(8.66, abs=0.01)
    assert base["sd"] == 0.0
    gain = found["differences"][0]
    assert (gain["model"], gain["against"], gain["by_seed"]) == ("fine-tuned", "base", [75.0, 60.0, 75.0])
    assert found["losses"]["by_seed"] == [2.0, 2.0, 2.0]


def test_models_are_compared_by_row_whatever_their_order(tmp_path):
    trainings = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0], [60.0, 90.0]])
    for number, scores in ((1, [0.0, 60.0]), (2, [0.0, 50.0]), (3, [0.0, 70.0])):
        folder = trainings.made[number]["base_scores"]
        lines = read_score_lines(folder)
        for line, score in zip(lines.values(), scores, strict=True):
            line[METRIC] = score
        write_score_lines(folder, reversed(lines.values()))
    found = trainings.compare()["differences"][0]
    pairs = [([50.0, 100.0], [0.0, 60.0]), ([40.0, 80.0], [0.0, 50.0]), ([60.0, 90.0], [0.0, 70.0])]
    expected = gain_over_seeds(*zip(*pairs, strict=True))
    assert (found["difference"], found["low"], found["high"]) == (expected.mean, expected.low, expected.high)


def test_models_that_answered_other_rows_are_not_compared(tmp_path):
    trainings = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0]])
    for made in trainings.made.values():
        first, _ = read_score_lines(made["base_scores"]).values()
        write_score_lines(made["base_scores"], [first])
    with pytest.raises(StageError, match="to be compared are not of the same rows"):
        trainings.compare()


def test_every_form_shows_each_seed_and_what_holds_over_all(tmp_path):
    card = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0], [60.0, 90.0]]).card()
    for form, text in card.all().items():
        shown = flat(Page(text).text if form == "html" else text)
        assert "3 seeds: the interval covers rows and training" in shown, form
        assert "the only one that may become champion" in shown, form
        assert "All that follows below is of seed 1" in shown, form
        for seed in ("pretrain 123", "pretrain 124", "pretrain 125"):
            assert seed in shown, form
        assert "8.7" in shown, form  # the SD between seeds
        assert "+70.0" in shown, form


def test_one_seed_says_that_its_interval_does_not_cover_training(tmp_path):
    card = Card(Outputs(tmp_path / "outputs"), tmp_path)
    for form, text in card.all().items():
        shown = flat(Page(text).text if form == "html" else text)
        assert "one seed: the interval covers rows, not training" in shown, form
        assert "may become champion:" not in shown


def test_a_seed_that_failed_is_told_and_counted_in_nothing(tmp_path):
    card = Trainings(tmp_path, [[50.0, 100.0]], failed=[(2, HOSTILE[0])]).card()
    for form, text in card.all().items():
        shown = flat(Page(text).text if form == "html" else text)
        assert "1 of 2 seeds" in shown, form
        assert "Seed 2 failed and is in no number here" in shown, form
        assert "one seed: the interval covers rows, not training" in shown, form
    assert HOSTILE[0] not in card.html


@pytest.mark.parametrize("kind", ["with_preferences", "classified", "without_pretraining"])
def test_cards_of_every_kind_have_seeds(tmp_path, kind):
    card = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0]], kind).card()
    for form, text in card.all().items():
        assert "2 seeds: the interval covers rows and training" in flat(text), form


def test_a_card_of_pretraining_shows_the_loss_of_every_seed(tmp_path):
    trainings = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0]])
    kept = {}
    for number, outputs in trainings.outputs.items():
        trainings.made[number], kept[number] = outputs.only_pretrained()
    trainings.compare()
    folders = trainings.made[1] | {"seeds": tmp_path / "out"}
    card = Card(trainings.outputs[1], tmp_path / "card", folders=folders, references=kept[1])
    for form, text in card.all().items():
        assert "the mean of 2 seeds" in flat(text), form
        shown = flat(Page(text).text if form == "html" else text)
        assert "covers training, not the text" in shown, form
        assert "trained with several seeds on the same text" in shown, form
        assert "of seed 1: curves, samples and cost" in shown, form
        assert "test rows" not in shown, form
    assert corpus_text(card.report["corpus"]).endswith("a vocabulary of 300")


def test_a_mean_that_one_seed_lacks_is_no_mean_of_all(tmp_path):
    trainings = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0]])
    second = trainings.outputs[2]
    second.status["tuned", METRIC] = "too_many_missing"
    second.write()
    found = trainings.compare()
    tuned = next(one for one in found["scores"] if one["model"] == "fine-tuned")
    assert (tuned["status"], tuned["mean"], tuned["low"]) == ("too_many_missing", None, None)
    assert found["differences"][0]["difference"] is None
    for form, text in trainings.card().all().items():
        assert "Whether fine-tuning helped is not known" in flat(text), form


def test_seeds_are_of_the_same_rows(tmp_path):
    trainings = Trainings(tmp_path, [[50.0, 100.0], [40.0, 80.0]])
    lines = trainings.made[2]["tuned_scores"] / "scores.jsonl"
    lines.write_text(lines.read_text().splitlines()[0] + "\n")
    with pytest.raises(StageError, match="not of the same rows"):
        trainings.compare()
