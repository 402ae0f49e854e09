"""The head of the card: a badge that fits the headline, and alarms for what is badly wrong."""

import json
from types import SimpleNamespace

import pytest

from tasks.models.summary import SUMMARY
from tasks.report.samples import lowest_first, worst_first
from tests.card_outputs import METRIC, RESPONSES, TOKENS, Card, Outputs, Page, pretrained, share


@pytest.fixture
def outputs(tmp_path):
    return Outputs(tmp_path / "stages")


def flat(text):
    return " ".join(text.split())


def many_rows(outputs, tuned, base=None):
    """Rows that are told apart by an interval: many, and unlike from the base model's."""
    count = len(tuned)
    outputs.rows = [
        {"id": number, "instruction": f"Say {number}.", "input": "", "output": f"{number}"}
        for number in range(count)
    ]
    outputs.responses = {"base": ["x"] * count, "tuned": [f"answer {number}" for number in range(count)]}
    outputs.scores = {"base": {METRIC: base or [0.0] * count}, "tuned": {METRIC: tuned}}
    return outputs


def badge_of(outputs, tmp_path):
    return Card(outputs, tmp_path).document.badge


def test_first_champion_is_praised_where_training_helped(outputs, tmp_path):
    badge = badge_of(many_rows(outputs, [90.0] * 40), tmp_path)
    assert (badge.text, badge.tone) == ("Champion: the first", "better")


def test_champion_not_shown_to_be_better_is_one_by_default(outputs, tmp_path):
    badge = badge_of(outputs, tmp_path)
    assert (badge.text, badge.tone) == ("Champion by default", "")


def test_champion_names_the_version_that_it_beat(outputs, tmp_path):
    outputs.promotion |= {"against": "version 1", "difference": 5.0, "low": 1.0, "high": 9.0, "level": 0.0025}
    outputs.promotion |= {"part": "sealed", "part_rows": 40}
    badge = badge_of(outputs, tmp_path)
    assert (badge.text, badge.tone) == ("Champion: better than version 1", "better")


def test_candidate_is_a_candidate(outputs, tmp_path):
    outputs.promotion |= {"champion": False}
    assert badge_of(outputs, tmp_path).text == "Candidate"


def test_champion_with_a_low_score_raises_an_alarm(outputs, tmp_path):
    many_rows(outputs, [10.3] * 40).promotion |= {"mean": 10.3}
    card = Card(outputs, tmp_path)
    assert card.document.badge.tone == ""
    for name, text in card.all().items():
        shown = flat(Page(text.partition("</style>")[2]).text if name == "html" else text.replace("\\", ""))
        assert "This is the champion with 10.3 of 100 by metric:chrf. Set promote.min_score" in shown, name


def test_low_score_of_bleu_raises_no_alarm(outputs, tmp_path):
    outputs.promotion |= {"mean": 10.3, "scorer": "metric:bleu"}
    assert not Card(outputs, tmp_path).document.alarms


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("share_empty", "2 of 2 responses of the fine-tuned model are empty."),
        ("share_looping", "2 of 2 responses of the fine-tuned model repeat themselves without end."),
        ("share_echoed", "2 of 2 responses of the fine-tuned model only echo the prompt."),
        ("share_cut", "2 of 2 responses of the fine-tuned model are cut at the length limit."),
    ],
)
def test_responses_that_are_mostly_no_answers_stand_on_top(outputs, tmp_path, name, words):
    outputs.behaviour = RESPONSES | {name: share(2)}
    card = Card(outputs, tmp_path)
    assert words in card.document.alarms
    assert card.html.index(words) < card.html.index('class="verdict')


def test_classifier_that_gives_one_label_alone_raises_an_alarm(outputs, tmp_path):
    folders = outputs.classified()
    evaluation = outputs.root / "classifier" / "evaluation.json"
    found = json.loads(evaluation.read_text())
    found["splits"]["test"]["confusion"] = [[9, 0], [9, 0]]
    evaluation.write_text(json.dumps(found))
    assert (
        "The classifier gives every test text the same label, ham."
        in Card(outputs, tmp_path, folders=folders).document.alarms
    )


def test_pretraining_no_better_than_guessing_raises_an_alarm(outputs, tmp_path):
    outputs.validation["validation_loss"] = 5.8
    folders, references = outputs.only_pretrained()
    summary = outputs.root / "base" / SUMMARY
    summary.write_text(
        summary.read_text().replace('"best_validation_loss": 2.0', '"best_validation_loss": 5.8')
    )
    (alarm,) = Card(outputs, tmp_path, folders=folders, references=references).document.alarms
    assert alarm.startswith("The validation loss of pretraining, 5.800, is no better than 5.704")


def check(name, verdict):
    return {"training": "finetune", "check": name, "verdict": verdict} | {
        "found": "found this",
        "expected": "expected that",
        "where": "",
    }


def test_checks_are_told_by_name_and_failed_ones_first(outputs, tmp_path):
    folders = outputs.write()
    results = [check("causality", "passed"), check("loss at the start", "failed")]
    outputs.json("tuned/preflight.json", {"verdict": "failed", "checks": results, "examples": {}})
    card = Card(outputs, tmp_path, folders=folders)
    assert card.report["checks"] == results
    told = "1 check failed before training, which went on all the same: loss at the start (finetune)."
    assert card.document.alarms == [told]
    for name, text in card.all().items():
        assert "1 of 2 checks passed, 1 failed" in flat(text), name
    assert card.html.index("Loss at the start") < card.html.index("Causality")
    assert "Causality" not in card.terminal()


def test_every_row_is_on_the_page_the_worst_first(outputs, tmp_path):
    scores = [100.0] * 40
    scores[7], scores[21] = 3.0, 60.0
    card = Card(many_rows(outputs, scores), tmp_path)
    samples = card.report["samples"]
    assert samples["worst"] == 2
    assert [row["id"] for row in samples["rows"][:2]] == [7, 21]
    assert len(samples["rows"]) == 12
    assert "first the 2 lowest scores of the fine-tuned model, then 10 drawn by seed 123" in flat(
        card.terminal()
    )
    assert "All 40 test rows, the lowest score of the fine-tuned model first" in card.html
    assert "answer 39" in card.html


def test_worst_rows_are_a_third_at_most_and_none_of_the_best():
    rows = [(index, None, float(index)) for index in range(30)]
    ids, worst = worst_first(rows, 12, 123)
    assert (worst, ids[:4]) == (4, [0, 1, 2, 3])
    assert len(set(ids)) == 12
    assert worst_first([(index, None, 100.0) for index in range(30)], 12, 123)[1] == 0
    assert lowest_first([(1, None, 50.0), (2, None, None), (3, None, 10.0)], 123) == [2, 3, 1]


def test_settings_of_a_training_are_on_the_card(outputs, tmp_path):
    for name, text in pretrained(outputs, tmp_path).all().items():
        assert "size tiny, batch 4, learning rate 0.001" in flat(text), name


def test_documents_that_were_set_aside_are_on_the_card(outputs, tmp_path):
    folders = outputs.write()
    outputs.json("tokens/tokens.json", TOKENS | {"set_aside": 3})
    for name, text in Card(outputs, tmp_path, folders=folders).all().items():
        assert "3 documents" in flat(text), name


def test_card_tells_where_the_model_is_and_how_to_load_it(outputs, tmp_path):
    folders = outputs.write()
    client = SimpleNamespace(
        get_run=lambda _: SimpleNamespace(
            data=SimpleNamespace(metrics={}, tags={}), info=SimpleNamespace(start_time=1_795_900_000_000)
        )
    )
    store = SimpleNamespace(
        client=client, uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db", root=tmp_path / "mlruns"
    )
    records = {"base": outputs.record()}
    records["tuned"] = outputs.record().model_copy(
        update={"uri": (tmp_path / "mlruns/artifacts/ab").as_uri()}
    )
    outputs.json("../mlruns/artifacts/ab/auxiliary/config.json", {"epochs": 2.0})
    card = Card(outputs, tmp_path, folders=folders, tracking=store, run_id="r", references=records)
    assert card.cost["model"] == {
        "folder": "mlruns/artifacts/ab/output/model",
        "tracking": "sqlite:///mlruns/mlflow.db",
    }
    assert card.cost["date"] == "2026-11-28 21:06 UTC"
    for name, text in card.all().items():
        assert "models:/touchstone-tiny/2" in text.replace("\\", ""), name
    load = 'mlflow.transformers.load_model("models:/touchstone-tiny/2")'
    assert load in card.markdown
    assert load in Page(card.html).text
    assert str(tmp_path) not in card.html


def test_perplexity_is_explained_only_where_it_is_known(outputs, tmp_path):
    assert "The perplexity is what" not in Card(outputs, tmp_path / "1").html
    assert "The perplexity is what" in Card(outputs, tmp_path / "2", folders=outputs.with_preferences()).html
