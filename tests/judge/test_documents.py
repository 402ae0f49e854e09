"""Scores and labels as documents: every number in every form, and no text that acts."""

from io import StringIO

import pytest
from rich.console import Console

from tasks.judge.labels.document import document as label_document
from tasks.judge.score.document import document as score_document
from tasks.judge.score.outputs import ScoreSummary
from tasks.registry.document import document as model_document
from tasks.show.html import as_html
from tasks.show.markdown import as_markdown
from tasks.show.terminal import show
from tests.card_outputs import HOSTILE, JUDGE, METRIC, RESPONSES, Page, summary_of

SCORES = {METRIC: [96.0, 90.0], JUDGE: [None, 25.0]}


def outcome_of(name="answers.json", reason="the server said nothing"):
    scores = [summary_of(METRIC, SCORES[METRIC]), summary_of(JUDGE, SCORES[JUDGE], "too_many_missing")]
    scores[1]["missing_because"] = [{"reason": reason, "count": 1}]
    summary = ScoreSummary(headline=METRIC, scores=scores, categories={}, responses=RESPONSES)
    entries = [{"model": name, "scorer": entry["scorer"]} for entry in scores]
    return {"summary": summary.as_json(), "scores": entries, "audits": [], "despite_audit": False}


def forms(document):
    file = StringIO()
    show(document, Console(file=file, width=120))
    return {"page": as_html(document), "markdown": as_markdown(document), "terminal": file.getvalue()}


def test_scores_show_every_mean_and_say_why_there_is_none():
    for name, text in forms(score_document(outcome_of())).items():
        for told in ("93.0", "no mean: too many missing", "the server said nothing", "1 of 2 rows scored"):
            assert told in text, (name, told)
        assert ('class="histogram' if name == "page" else "·") in text, f"{name}: a histogram"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_and_no_reason_acts(text):
    plain = Page(as_html(score_document(outcome_of()))).elements
    told = forms(score_document(outcome_of(text, text)))
    assert [tag for tag, _ in Page(told["page"]).elements] == [tag for tag, _ in plain]
    assert all(character == "\n" or character.isprintable() for character in told["terminal"])


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ({"place": "terminal", "given": 3, "by": "ann"}, "3 labels by ann."),
        (
            {"place": "csv", "drawn": 40, "named": "quickstart", "file": "l.csv"},
            "touchstone label quickstart --from l.csv",
        ),
        ({"place": "mlflow", "drawn": 40, "queue": "q"}, "40 rows are in MLflow's review queue 'q'"),
    ],
)
def test_a_labelling_says_what_was_done_and_what_to_do_next(place, told):
    document = label_document({"of": "quickstart", "labels": None} | place)
    for name, text in forms(document).items():
        assert told in text.replace("&#39;", "'"), name


def test_models_show_why_each_is_champion_and_who_was_before():
    version = {"version": 1, "aliases": ["champion"], "mean": 90.0, "sealed_mean": None, "scorer": METRIC}
    version |= {"decision": "decided", "override": "it is kinder", "rolled_back": None}
    tenure = {"version": 1, "at": "2026-01-01", "by": "ann", "how": "override", "why": "it is kinder"}
    model = {"name": "gpt2", "champion": 1, "champions": [tenure], "versions": [version]}
    for name, text in forms(model_document([model])).items():
        for told in ("gpt2", "90.0", "decided; champion by override: it is kinder", "2026-01-01", "ann"):
            assert told in text.replace("\\", ""), (name, told)
    for text in forms(model_document([])).values():
        assert "No model is registered yet" in text
