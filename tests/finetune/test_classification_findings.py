"""How a classifier is measured: against literals, and against baselines that had an honest chance."""

import pytest
import torch

from tasks.batches.evaluation import Predictions, measured
from tasks.batches.labelled import Labelled, Text
from tasks.classify import findings
from tasks.classify.label_baselines import bag_of_words, majority
from tasks.classify.labels import TASK
from tasks.classify.outputs import Evaluation
from tasks.show.markdown import as_markdown


def compared(truth, ours, theirs, sources=()):
    return findings.compared(TASK, truth, ours, theirs, sources or [None] * len(truth))


def comparison_page(evaluation):
    return as_markdown(findings.comparison_page(evaluation)).replace("\\", "")


def labelled(**splits):
    """Rows of (text, label's place) by split; the tokens take no part here."""
    splits = {"validation": [], **splits}
    return Labelled(
        labels=("ham", "spam"),
        rows={
            split: [{"id": number, "text": text} for number, (text, _) in enumerate(members)]
            for split, members in splits.items()
        },
        texts={split: [Text([0], label, 0) for _, label in members] for split, members in splits.items()},
        tokenizer=None,
        batch_size=1,
        max_length=1,
    )


def test_accuracy_f1_and_confusion_are_those_counted_by_hand():
    found = measured([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 2], ["a", "b", "c"])
    assert found["confusion"] == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert found["f1"] == {"a": pytest.approx(2 / 3), "b": 0.5, "c": 1.0}
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.5 + 1) / 3)
    assert found["accuracy"]["mean"] == pytest.approx(4 / 6)
    assert 0.29 < found["accuracy"]["low"] < 0.31
    assert 0.90 < found["accuracy"]["high"] < 0.91


def test_a_label_that_is_never_there_has_no_f1_but_0():
    assert measured([0, 0], [0, 0], ["a", "b"])["f1"] == {"a": 1.0, "b": 0.0}


def test_loss_is_the_mean_over_rows_with_the_label_probability():
    found = Predictions(torch.tensor([[0.0, 0.0], [0.0, 2.0]]).log_softmax(dim=1), torch.tensor([0, 0]))
    assert found.loss == pytest.approx((0.693147 + 2.126928) / 2)
    assert found.predicted == [0, 1]
    assert found.probabilities == pytest.approx([0.5, 0.880797])
    assert found.accuracy == 0.5


def test_a_difference_is_paired_and_mcnemars_p_value_exact():
    """Of ten rows that one alone gets right nine go to ours: p = 2 (1 + 10) / 2^10."""
    truth = [0] * 50
    ours, theirs = [0] * 49 + [1], [0] * 40 + [1] * 9 + [0]
    found = compared(truth, ours, theirs)
    assert found["difference"]["difference"] == pytest.approx(16)
    assert 0 < found["difference"]["low"] < 16 < found["difference"]["high"]
    assert found["p_value"] == pytest.approx(22 / 1024)


def test_equal_predictions_are_no_difference():
    found = compared([0, 1], [0, 0], [0, 0])
    assert (found["difference"]["difference"], found["p_value"]) == (0, 1.0)
    assert found["difference"]["low"] < 0 < found["difference"]["high"]


def test_the_majority_is_of_the_training_rows_alone():
    data = labelled(train=[("x", 1), ("y", 1), ("z", 0)], test=[("a", 0), ("b", 0)])
    assert majority(data).predicted == ["spam", "spam"]
    assert majority(data).description == "always spam, the label of 66.7% of the training rows"
    assert majority(labelled(train=[("x", 1), ("z", 0)], test=[("a", 1)])).predicted == ["ham"]


SIGNED = [
    (f"{word} {sign}", label) for word in "one two six ten".split() for sign, label in ((".", 0), ("!", 1))
]


def test_the_bag_of_words_is_chosen_on_the_validation_rows():
    """What only signs tell apart, a bag of words alone cannot: the setting that counts signs is found."""
    data = labelled(
        train=SIGNED, validation=[("seven .", 0), ("nine !", 1)], test=[("red !", 1), ("blue .", 0)]
    )
    found = bag_of_words(data)
    assert found.predicted == ["spam", "ham"]
    assert "words and signs" in found.description
    assert found.description.endswith("(the best of 24 settings on the validation rows)")
    assert bag_of_words(data) == found


def test_validation_label_not_trained_on_does_not_stop_baseline():
    data = labelled(train=SIGNED, validation=[("seven .", 2), ("nine !", 1)], test=[("red !", 1)])
    assert bag_of_words(data).predicted == ["spam"]


def page(low, high):
    accuracy = {"mean": 0.95, "low": 0.9, "high": 0.98}
    split = {"rows": 100, "loss": 0.1, "accuracy": accuracy, "macro_f1": 0.95}
    gain = {"difference": (low + high) / 2, "low": low, "high": high}
    baseline = {"name": "bag of words", "description": "words", "accuracy": accuracy, "macro_f1": 0.9}
    return comparison_page(
        Evaluation(
            labels=["a", "b"],
            positive=None,
            splits={"test": split},
            baselines=[baseline | {"difference": gain, "p_value": 0.04}],
        )
    )


def test_only_an_interval_above_0_is_called_better():
    for low, high, said, points in (
        (1, 3, "Better than bag of words: words", "+2.0 points, 95% interval +1.0 to +3.0; exact McNemar"),
        (0, 4, "Not shown to be better than bag of words: words", "0.0 to +4.0, which holds 0"),
        (-3, -1, "Worse than bag of words: words", "−2.0 points, 95% interval −3.0 to −1.0"),
    ):
        found = page(low, high)
        assert f"- {said}" in found
        assert points in found


def test_pitfall_41_four_rows_gained_are_not_called_better():
    """Regression: p was 0.125 beside the words "better than", which an interval by resampling had given."""
    truth, theirs = [0] * 60, [1] * 4 + [0] * 56
    found = compared(truth, truth, theirs)
    assert found["p_value"] == pytest.approx(0.125)
    assert found["difference"]["low"] < 0
    accuracy = measured(truth, truth, ["a", "b"])["accuracy"]
    split = {"rows": 60, "loss": 0.1, "accuracy": accuracy, "macro_f1": 1.0}
    baseline = {"name": "bag of words", "description": "words", "accuracy": accuracy, "macro_f1": 1.0} | found
    assert "- Not shown to be better than bag of words" in comparison_page(
        Evaluation(labels=["a", "b"], positive=None, splits={"test": split}, baselines=[baseline])
    )


def test_texts_that_share_sources_count_once():
    """Six sources of five texts each, all won: p is that of six, and the accuracy is no surer than theirs."""
    sources = [str(place) for place in range(6) for _ in range(5)]
    found = compared([0] * 30, [0] * 30, [1] * 30, sources)
    assert found["p_value"] == pytest.approx(2 / 64)
    accuracy = measured([0] * 30, [0] * 30, ["a", "b"], sources)["accuracy"]
    assert accuracy["low"] == pytest.approx(0.025 ** (1 / 6))
    assert measured([0] * 12, [0] * 12, ["a", "b"])["accuracy"]["low"] == pytest.approx(0.7575, abs=1e-4)


@pytest.mark.parametrize("signs", ["!?", "ab", "好坏", "🙂🙃", "\u200b\u2060"])
@pytest.mark.parametrize("validated", [True, False])
def test_texts_without_a_two_letter_word_are_told_apart_by_signs(signs, validated):
    """The baselines come after the training: scikit-learn's empty vocabulary would throw it away."""
    rows = [(signs[0], 0), (signs[1], 1)] * 4
    found = bag_of_words(labelled(train=rows, validation=rows if validated else [], test=rows))
    assert " of words and signs" in found.description
    assert found.predicted == [("ham", "spam")[label] for _, label in rows]
