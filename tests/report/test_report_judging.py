"""Judges on the card: who judged, what the audits found, what scores go along with, how far judges agree."""

import pytest
from markdown_it import MarkdownIt

from tasks.config import GatesConfig
from tasks.judge.audit.gates import Resampling, gates
from tasks.judge.audit.wording import interval, limits
from tasks.judge.score.panel import APART, agreement
from tasks.judge.score.scores_wording import is_incomplete, scorer_title
from tasks.judge.score.summary import summarise
from tasks.report.judges import APART as TOLD_APART
from tasks.report.scores import score_rows
from tasks.report.verdict import verdict
from tests.card_outputs import (
    AGREEMENT,
    FAILED,
    HOSTILE,
    JUDGE,
    METRIC,
    OTHER,
    PASSED,
    UNMADE,
    WARNED,
    Card,
    Outputs,
    Page,
    correlation,
    judge_of,
    shown,
    summary_of,
)

NO_MEAN = "no mean: the judge failed its audit"


# Criteria


def test_every_form_has_each_criterion_and_explains_the_overall(outputs, tmp_path):
    for text in shown(Card(outputs.on_criteria("polite", "short"), tmp_path)).values():
        assert f"{JUDGE} on polite, digest" in text or f"{JUDGE} on short" in text
        for criterion in ("polite", "short"):
            assert f"{criterion}, by llama3.2:3b, a judge" in text or f"{JUDGE} on {criterion}" in text
            assert f"No reference is shown for {criterion}, so that the audit shows only" in text
        assert (
            "The overall score of a row is the mean of its scores on polite (weight 2) and short (weight 1)."
            in text
        )


def test_of_one_criterion_the_overall_score_is_the_score_on_it(outputs, tmp_path):
    for text in shown(Card(outputs.on_criteria("polite"), tmp_path)).values():
        assert "The overall score of a row is its score on polite" in text


# One judge and its audit


def test_every_form_says_who_judged_and_that_the_audit_passed(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of()), tmp_path)
    assert verdict(card.report).warning == ""
    for name, text in shown(card).items():
        for part in (JUDGE, "igest a80c4f17acd5", "version 0.9", "form anchored"):
            assert part in text, (name, part)
        assert "a80c4f17acd50" not in text, name
        assert "Its audit on 30 of 110 rows passed: its scores count" in text, name
        for part in ("warns:", "failed", "despite", "Judges"):
            assert part not in text, (name, part)
    assert "AUC against echo" in Page(card.html).text


def test_what_warns_is_told_with_its_number_interval_and_limits(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(gates=[PASSED, WARNED, UNMADE])), tmp_path)
    for name, text in shown(card).items():
        assert "passed with warnings: its scores count" in text, name
        assert f"warns: {WARNED['name']} 90.0%, 95% {interval(WARNED)} ({limits(WARNED)})" in text, name
        assert f"not measured, of too few rows: {UNMADE['name']}" in text, name
        assert "passed: AUC" not in text, name
    assert verdict(card.report).tone == "open"


def test_what_the_judges_server_refuses_is_told_in_every_form(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(refusals=["temperature"])), tmp_path)
    for name, text in shown(card).items():
        assert "its server refuses temperature 0: it answers at a temperature of its own" in text, name


def test_the_page_has_every_gate_in_a_table(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(gates=[PASSED, WARNED, FAILED])), tmp_path)
    _, _, table = card.html.partition("<summary>All gates of the audit</summary>")
    rows = [Page(row).text.strip() for row in table.partition("</table>")[0].split("<tr>")[1:]]
    assert rows[:2] == [
        "GateFoundAnswersPasses atFails atVerdict",
        "AUC against echo0.991 0.941 to 1.00130≥ 0.980< 0.900passed",
    ]
    assert len(rows) == 4
    assert table.count('<td data-name="verdict" class="worse"><strong>failed</strong>') == 1


def test_judge_that_failed_its_audit_has_no_mean_or_comparison(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(gates=[PASSED, FAILED], believed=False)), tmp_path)
    found = verdict(card.report)
    assert found.sentence == "The judge failed its audit: whether fine-tuning helped is not known"
    assert (found.tone, found.number, found.warning) == ("none", "", "")
    assert found.detail == f"{JUDGE}: injection lift 40.0 (fails at > 15.0)"
    for name, text in shown(card).items():
        assert found.sentence in text, name
        assert NO_MEAN in text, name
        assert "failed: its scores do not count" in text, name
        assert f"failed: injection lift 40.0, 95% {interval(FAILED)} ({limits(FAILED)})" in text, name
        for part in ("over all rows between", "by category", "lowest score of", "Rank correlation"):
            assert part.lower() not in text.lower(), (name, part)
        assert "75.0" in text, name  # what the metric gave stands as always
    rows = [(row["scorer"], row["mean"]) for row in score_rows(card.report)]
    assert rows == [(METRIC, "0.0"), (JUDGE, NO_MEAN), (METRIC, "75.0"), (JUDGE, NO_MEAN)]
    assert "Hatched" not in card.html
    assert 'class="histogram' not in card.html
    assert "Missing: the judge failed its audit" in card.html


def test_three_models_are_not_compared_by_a_judge_that_failed(outputs, tmp_path):
    folders = outputs.judged_by(judge_of(gates=[FAILED], believed=False)).with_preferences()
    outputs.scores["preferred"][JUDGE] = [None, None]
    outputs.status["preferred", JUDGE] = "judge_failed_audit"
    for name in outputs.scores:
        outputs.write_answers(name)
    card = Card(outputs, tmp_path, folders=folders)
    for name, text in shown(card).items():
        assert "The judge failed its audit: whether fine-tuning with preferences helped is not" in text, name
    assert "Preferred minus base" in card.markdown


def test_many_failed_gates_do_not_flood_the_headline_or_terminal(outputs, tmp_path):
    many = [FAILED | {"name": f"gate {index}"} for index in range(9)]
    card = Card(outputs.judged_by(judge_of(gates=many, believed=False)), tmp_path)
    assert verdict(card.report).detail.endswith("gate 2 40.0 (fails at > 15.0), and 6 more")
    assert "4 of 9; the page has all" in card.terminal()
    assert card.html.count("failed: gate") == 9
    assert card.markdown.count("failed: gate") == 9


def test_scores_against_the_audit_say_so_beside_the_headline(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(gates=[PASSED, FAILED])), tmp_path)
    found = verdict(card.report)
    assert (found.sentence, found.number) == ("No difference can be shown", "+75.0")
    for name, text in shown(card).items():
        before, _, _ = text.partition("Scores ")
        assert f"These scores stand against the audit, which {JUDGE} failed" in before, name
        assert "failed: its scores count only because despite_audit says so" in text, name
        assert "do not count" not in text, name


# What scores go along with


def test_rank_correlations_with_length_and_chrf_have_a_line_each(outputs, tmp_path):
    outputs.correlations = {
        "words": correlation(0.12, -0.07, 0.3, 110),
        METRIC: correlation(-0.5, rows=3),
    }
    for name, text in shown(Card(outputs.judged_by(judge_of()), tmp_path)).items():
        words = "+0.12 (95% −0.07 to +0.30)"
        assert f"Rank correlation with length in words: base {words}, fine-tuned {words}" in text, name
        assert "Rank correlation with chrF++: base −0.50 (over 3 rows), fine-tuned −0.50" in text, name


def test_metric_has_its_known_correlation_with_length_alone(outputs, tmp_path):
    assert "Rank correlation" not in Card(outputs, tmp_path / "1").markdown
    outputs.correlations = {"words": correlation(0.9, 0.8, 0.95, 110)}
    text = Card(outputs, tmp_path / "2").markdown
    assert text.count("Rank correlation") == 1


def test_bars_count_the_rows_of_each_tenth(outputs, tmp_path):
    page = Page(Card(outputs.judged_by(judge_of()), tmp_path).html)
    heights = [own["style"] for tag, own in page.elements if tag == "i" and "height" in own.get("style", "")]
    assert [place for place, style in enumerate(heights) if style == "height:100.0%"] == [0, 2, 17, 19]
    assert len(heights) == 20
    labels = [own["aria-label"] for _, own in page.elements if "aria-label" in own and "role" in own]
    assert labels[0] == "Rows in equal parts of the scale: 1, 0, 1, 0, 0, 0, 0, 0, 0, 0"


# Several judges


def test_a_panel_is_named_as_the_mean_of_its_judges(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(), judge_of(OTHER)), tmp_path)
    assert [row["scorer"] for row in score_rows(card.report)] == [
        METRIC,
        JUDGE,
        OTHER,
        "panel: mean of 2 judges",
    ] * 2
    assert scorer_title({"scorer": "panel", "kind": "judge"}) == "mean of the judges"
    for name, text in shown(card).items():
        assert "points of 100 by mean of 2 judges" in text, name
        assert "mean of 2 judges, a judge" not in text, name
        assert "llama3.2:3b, a judge" in text, name
        for judge in (JUDGE, OTHER):
            assert judge in text, name
        assert text.count("Its audit on 30 of 110 rows passed") == 2, name
    titles = ("mean of 2 judges", "llama3.2:3b, a judge", "qwen2.5, a judge", "chrF++, a metric")
    order = [card.html.index(f"<th>{title}") for title in titles]
    assert order == sorted(order)


def test_agreement_of_judges_is_told_of_each_models_responses(outputs, tmp_path):
    card = Card(outputs.judged_by(judge_of(), judge_of(OTHER)), tmp_path)
    assert card.report["agreements"] == [
        {"model": "base"} | AGREEMENT,
        {"model": "fine-tuned"} | AGREEMENT,
    ]
    for name, text in shown(card).items():
        for part in ("0.62", "25.0", "0.0 to 50.0", "1 of 2", "40 points or more", f"{JUDGE} and {OTHER}"):
            assert part in text, (name, part)
        for part in ("not known", "0.55", "−12.5"):  # of the pair
            assert part in text.partition("40 points")[2], (name, part)
    assert f"| {JUDGE} and {OTHER} | fine-tuned | 2 | not known | 0.55 | −12.5 |" in card.markdown


def test_unknown_agreement_makes_up_no_number(outputs, tmp_path):
    outputs.judged_by(judge_of(), judge_of(OTHER))
    unknown = dict.fromkeys(("mean", "low", "high"))
    pair = AGREEMENT["pairs"][0] | {"rows": 0, "kappa": None, "difference": None}
    outputs.agreement = (
        AGREEMENT | {"rows": 0, "alpha": None, "apart": [], "pairs": [pair]} | {"disagreement": unknown}
    )
    card = Card(outputs, tmp_path)
    assert "Krippendorff's alpha not known not known" in shown(card)["terminal"]
    assert "| fine-tuned | 0 | not known | not known | not known |" in card.markdown


def test_panel_with_a_failed_judge_has_no_mean_and_no_agreement(outputs, tmp_path):
    judges = judge_of(), judge_of(OTHER, gates=[FAILED], believed=False)
    card = Card(outputs.judged_by(*judges), tmp_path)
    found = verdict(card.report)
    assert found.sentence == "1 of 2 judges failed its audit: whether fine-tuning helped is not known"
    assert found.detail.startswith(f"{OTHER}: ")
    assert card.report["agreements"] == []
    means = {(row["model"], row["scorer"]): row["mean"] for row in score_rows(card.report)}
    assert means["fine-tuned", JUDGE] == "87.5"
    assert means["fine-tuned", OTHER] == means["fine-tuned", "panel: mean of 2 judges"] == NO_MEAN
    for name, text in shown(card).items():
        assert "points or more" not in text, name


def test_outputs_of_these_tests_have_the_shape_of_the_stages_own():
    how = Resampling(10, 1)
    options = {"max_missing": 0.5, "beside": {"words": [1, 2], METRIC: [0, 1]}}
    assert set(summarise(JUDGE, "judge", [1.0, 2.0], **options)) == set(summary_of(JUDGE, [1.0, 2.0]))
    assert summarise(JUDGE, "judge", [1.0, 2.0], **options)["correlations"]["words"] == correlation()
    found = agreement({JUDGE: [0.0, 50.0], OTHER: [0.0, 100.0]}, [7, 3])
    assert (set(found), set(found["pairs"][0])) == (set(AGREEMENT), set(AGREEMENT["pairs"][0]))
    assert found["apart"] == [3]
    assert set(gates(GatesConfig(), {}, [], how)[0]) == set(PASSED)


def test_card_names_the_distance_the_judge_stage_counts_from():
    assert TOLD_APART == APART


def test_row_left_out_by_a_judge_is_missing_and_unasked_is_not():
    entry = summary_of(JUDGE, [50.0, None])
    assert is_incomplete(entry)
    assert not is_incomplete(entry | {"status": "judge_failed_audit"})


# In every form, whatever judges are called


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_about_a_judge_acts_in_any_form(tmp_path, text):
    def made(text, name):
        judges = [judge_of(f"ollama:{text}", [FAILED]), judge_of(OTHER)]
        judges[0] |= {"version": text, "digest": text}
        own = Outputs(tmp_path / name).judged_by(*judges)
        pair = AGREEMENT["pairs"][0] | {"a": text, "b": text}
        own.agreement = AGREEMENT | {"pairs": [pair]}
        own.reason = f"{JUDGE}: {text}; {OTHER}: {text}"
        return Card(own, tmp_path / name)

    def blocks(markdown):
        return [token.type for token in MarkdownIt("commonmark").enable("table").parse(markdown)]

    calm, card = made("calm", "calm"), made(text, "hostile")
    assert [tag for tag, _ in Page(card.html).elements] == [tag for tag, _ in Page(calm.html).elements]
    assert blocks(card.markdown) == blocks(calm.markdown)
    assert all(character == "\n" or character.isprintable() for character in card.terminal(width=400))


@pytest.mark.parametrize("width", [80, 100])
def test_judges_fit_a_terminal(outputs, tmp_path, width):
    many = [WARNED] * 9 + [FAILED] * 9
    outputs.correlations = {"words": correlation(0.12, -0.07, 0.3), METRIC: correlation(0.5, 0.4, 0.6)}
    card = Card(outputs.judged_by(judge_of(gates=many), judge_of(OTHER, many)), tmp_path)
    lines = card.terminal(width).rstrip("\n").split("\n")
    assert max(map(len, lines)) <= width
    assert len(lines) <= 108
    assert "…" not in " ".join(lines)


def test_why_there_is_no_mean_is_never_cut_off_in_a_terminal(outputs, tmp_path):
    """Regression: with two criteria the last column went over the edge."""
    outputs.on_criteria("correct", "polite-and-patient")
    outputs.status = dict.fromkeys(outputs.status, "judge_failed_audit")
    card = Card(outputs, tmp_path)
    assert " ".join(card.terminal(200).split()).count(NO_MEAN) >= 6
    words = card.terminal(60).split()
    assert words.count("audit") >= 6
    assert max(map(len, card.terminal(60).split("\n"))) <= 60
