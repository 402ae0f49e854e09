"""Cards of every pipeline: three models, a model imported, a classifier, and cards of earlier versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.classify.card import comparison, comparison_detail, p_text, strongest
from tasks.classify.examples import examples
from tasks.classify.label_card import CARD, _f1
from tasks.config import ReportConfig
from tasks.report.data import data_lines
from tasks.report.scores import score_rows
from tasks.report.training import method_text
from tasks.report.verdict import verdict
from tasks.show.text import percent, visible
from tests.card_outputs import (
    ACCURACY,
    BLEU,
    HOSTILE,
    JUDGE,
    METRIC,
    ORIGIN,
    Card,
    Outputs,
    Page,
    evaluation_of,
    reference,
    summary_of,
)


def shown(card):
    """Every form of a card as running text."""
    page = Page(card.html.partition("</style>")[2]).text
    unescaped = card.markdown.replace("\\", "")
    texts = {"html": page, "markdown": unescaped, "terminal": card.terminal(200)}
    return {name: " ".join(text.split()) for name, text in texts.items()}


# Three models


def test_model_is_compared_with_each_earlier_by_every_scorer(outputs, tmp_path):
    card = Card(outputs, tmp_path, folders=outputs.with_preferences())
    pairs = [("fine-tuned", "base"), ("preferred", "base"), ("preferred", "fine-tuned")]
    found = [(one["scorer"], one["model"], one["against"]) for one in card.report["differences"]]
    assert found == [(scorer, *pair) for scorer in (METRIC, BLEU) for pair in pairs]
    assert [one["difference"] for one in card.report["differences"]] == [75, 100, 25, 10, 25, 15]
    assert [row["model"] for row in score_rows(card.report)] == [
        model for model in ("base", "fine-tuned", "preferred") for _ in (METRIC, BLEU)
    ]
    assert card.report["categories"][0] == {
        "category": "sums",
        "scorer": METRIC,
        "rows": 1,
        "base": 0.0,
        "fine-tuned": 50.0,
        "preferred": 100.0,
    }
    for row in card.report["samples"]["rows"]:
        assert {"base", "fine-tuned", "preferred"} <= set(row)


def test_every_form_shows_all_three_models(outputs, tmp_path):
    card = Card(outputs, tmp_path, folders=outputs.with_preferences())
    found = verdict(card.report)
    assert (found.sentence, found.number) == ("No difference can be shown", "+100.0")
    assert found.more.startswith("Preferred minus fine-tuned: +25.0, no difference can be shown")
    for name, text in shown(card).items():
        for part in (
            "preferred",
            "Preferred minus fine-tuned",
            "Direct preference optimization",
            "LoRA: 300 of 1.5 k parameters trained; beta 0.1",
            "75.0% of validation pairs in order, margin -0.100",
            "22.1",
        ):
            assert part.lower() in text.lower(), (name, part)
    page = shown(card)["html"]
    for part in (
        "Loss, nats per pair",
        "Reward margin",
        "Reward accuracy",
        "BLEU of all rows together",
        "12.5",
    ):
        assert part in page


def test_judge_of_three_models_stands_first_beside_the_metrics(outputs, tmp_path):
    folders = outputs.judged().with_preferences()
    outputs.scores["preferred"][JUDGE] = [75.0, 75.0]
    for name in outputs.scores:
        outputs.write_answers(name)
    card = Card(outputs, tmp_path, folders=folders)
    unknown = [one for one in card.report["differences"] if one["difference"] is None]
    assert {(one["scorer"], one["against"]) for one in unknown} == {(JUDGE, "base")}
    assert verdict(card.report).tone == "none"
    for name, text in shown(card).items():
        assert "Whether fine-tuning with preferences helped is not known" in text, name
        assert "Preferred minus fine-tuned: −12.5" in text, name
    assert "Preferred minus fine-tuned: −12.5, no difference can be shown" in card.markdown


@pytest.mark.parametrize(("width", "most"), [(80, 78), (100, 74)])
def test_three_models_fit_a_terminal(outputs, tmp_path, width, most):
    lines = Card(outputs, tmp_path, folders=outputs.with_preferences()).terminal(width).split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) <= most


# A base model that was not pretrained here, or on the rows alone


def test_a_model_taken_over_has_an_origin_and_no_pretraining(outputs, tmp_path):
    folders = outputs.without_pretraining()
    references = {"base": reference("base", "r1")}  # which has no speed.json to be read
    card = Card(outputs, tmp_path, folders=folders, references=references)
    assert card.report["origin"] == ORIGIN
    assert "pretraining" not in card.report
    assert "corpus" not in card.report
    assert card.cost["speed"] is None
    assert [curve["training"] for curve in card.report["curves"]] == ["finetuning"]
    for name, text in shown(card).items():
        assert "openai-community/gpt2 at 607a30d783df" in text, name
        assert "124 M parameters" in text, name
        assert "retrain" not in text, name
        assert "orpus" not in text, name


def test_model_pretrained_on_the_rows_has_tokens_and_no_corpus(outputs, tmp_path):
    folders = outputs.write()
    del folders["corpus"]
    card = Card(outputs, tmp_path, folders=folders)
    assert set(card.report["corpus"]) == {"documents", "set_aside", "vocab_size", "train", "validation"}
    for name, text in shown(card).items():
        assert "300" in text, name
        assert "90 " in text, name


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        ({}, ""),
        (
            {"tune": "full", "trainable_parameters": 1500, "parameters": 1500}
            | {"loss": "all", "packing": False},
            "all weights: 1.5 k of 1.5 k parameters trained; loss on prompts too; rows not packed",
        ),
        ({"loss": "completion", "packing": True}, "loss on completions only; rows packed"),
    ],
)
def test_how_a_model_was_tuned_in_a_line(summary, text):
    assert method_text(summary) == text


def test_rows_that_were_not_used_are_counted(outputs, tmp_path):
    card = Card(outputs, tmp_path, folders=outputs.classified())
    lines = dict(data_lines("labelled", card.report))
    assert lines["Rows read"] == "20, with 19 distinct texts"
    assert lines["Labels"] == "ham 15, spam 5"
    assert lines["Format"] == "classification 20"
    assert lines["Not used"] == "2 malformed and set aside, 5 left out to balance labels"
    assert lines["Cut"] == "1 training rows were too long"


# A classifier


def test_card_about_a_classifier_has_evaluation_and_mistakes(outputs, tmp_path):
    card = Card(outputs, tmp_path, folders=outputs.classified())
    assert card.report["title"] == "touchstone-tiny"
    assert card.report["evaluation"] == evaluation_of(["ham", "spam"], "spam")
    assert card.report["headline"] == ACCURACY
    assert card.report["scores"] == [{"model": "classifier"} | summary_of(ACCURACY, [0.0, 100.0])]
    assert card.report["examples"]["rows"][0] == {
        "id": 0,
        "text": "Win a prize!",
        "label": "spam",
        "predicted": "ham",
        "probability": 0.7,
        "baselines": {"majority": "ham", "bag of words": "spam"},
    }
    assert [curve["quantity"] for curve in card.report["curves"]] == ["loss", "accuracy"]
    assert [row["model"] for row in score_rows(card.report)] == ["classifier"]


def test_every_form_compares_the_classifier_with_its_baselines(outputs, tmp_path):
    card = Card(outputs, tmp_path, folders=outputs.classified())
    for name, text in shown(card).items():
        for part in (
            "Not shown to be better than bag of words",
            "96.0%",
            "94.1 to 98.0%",
            "Better than majority",
            "+1.3 points, 95% interval −0.7 to +3.2, which holds 0; exact McNemar p = 0.210",
            "exact McNemar p < 0.001",
            "1,045",
            "spam (positive)",
            "All 1 misclassified of 2 test texts",
            "Win a prize!",
            "last block and head: 300 of 1.5 k parameters trained",
        ):
            assert part.lower() in text.lower(), (name, part)
        for part in ("udge", "erplexity", "esponses"):
            assert part not in text, (name, part)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 4.0, "Better than x"), (-4.0, -0.1, "Worse than x"), (0.0, 4.0, "Not shown to be better than x")],
)
def test_a_comparison_is_what_its_test_shows(low, high, words):
    baseline = {"name": "x", "difference": {"difference": 1.0, "low": low, "high": high}, "p_value": 0.04}
    assert comparison(baseline) == words
    assert ("which holds 0" in comparison_detail(baseline)) == words.startswith("Not")
    unsure = baseline | {"p_value": 0.125}
    assert comparison(unsure) == "Not shown to be better than x", "pitfall 41"


def test_the_baseline_to_beat_is_the_strongest():
    assert strongest(evaluation_of(["a", "b"]))["name"] == "bag of words"
    assert [p_text(p) for p in (0.0, 0.0009, 0.0123, 1.0)] == [
        "p < 0.001",
        "p < 0.001",
        "p = 0.012",
        "p = 1.000",
    ]


def test_of_many_labels_the_commonest_mistakes_are_listed(outputs, tmp_path):
    folders = outputs.classified()
    labels = [f"label {index}" for index in range(20)]
    evaluation = evaluation_of(labels)
    evaluation["splits"]["test"]["confusion"][4][9] = 77
    outputs.json("classifier/evaluation.json", evaluation)
    card = Card(outputs, tmp_path, folders=folders)
    assert 'class="matrix"' not in card.html
    assert "| label 4 | label 9 | 77 |" in card.markdown
    assert "label 4 label 9 77" in " ".join(card.terminal().split())
    worst = evaluation["splits"]["test"]["f1"]
    worst["label 7"] = 0.01
    table = _f1(evaluation).blocks[0]
    assert table.rows[0][0].text == "label 7"


predictions = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.floats(0, 1)), max_size=40)


@given(found=predictions, count=st.integers(1, 20))
def test_examples_show_the_misclassified_first(found, count):
    lines = [
        {"id": index, "label": label, "predicted": predicted, "probability": probability}
        for index, (label, predicted, probability) in enumerate(found)
    ]
    drawn = examples(lines, count, CARD)
    assert len(drawn) == len({line["id"] for line in drawn}) == min(count, len(lines))
    right = [line["label"] == line["predicted"] for line in drawn]
    assert right == sorted(right)
    assert right.count(False) == min(count, sum(label != predicted for label, predicted, _ in found))
    mistakes = [line["probability"] for line in drawn if line["label"] != line["predicted"]]
    assert mistakes == sorted(mistakes, reverse=True)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_or_label_acts_in_any_form(outputs, tmp_path, text):
    def blocks(markdown):
        return [token.type for token in MarkdownIt("commonmark").enable("table").parse(markdown)]

    def made(text, name):
        found = Outputs(tmp_path / name)
        found.promotion |= {"name": text, "reason": text}
        return Card(found, tmp_path / name, folders=found.classified((text, text), (text, f"{text}2")))

    calm, card = made("calm", "calm"), made(text, "hostile")
    page = Page(card.html)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in Page(calm.html).elements]
    assert visible(text) in page.text
    assert blocks(card.markdown) == blocks(calm.markdown)
    assert all(character == "\n" or character.isprintable() for character in card.terminal(width=400))


@pytest.mark.parametrize("width", [80, 100])
def test_a_classifier_fits_a_terminal(outputs, tmp_path, width):
    lines = Card(outputs, tmp_path, folders=outputs.classified()).terminal(width).split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) <= 66


def test_a_share_that_is_not_all_is_never_shown_as_all():
    assert [percent(share) for share in (0, 0.0004, 0.0005, 0.963, 0.9996, 1)] == [
        "0.0%",
        "<0.1%",
        "0.1%",
        "96.3%",
        ">99.9%",
        "100.0%",
    ]


def test_every_card_is_the_same_however_often_it_is_made(outputs, tmp_path):
    folders = outputs.classified()
    cards = [Card(outputs, tmp_path / name, ReportConfig(samples=1), folders) for name in ("1", "2")]
    assert cards[0].bytes == cards[1].bytes
    assert len(cards[0].report["examples"]["rows"]) == 1


# Cards that earlier versions made
