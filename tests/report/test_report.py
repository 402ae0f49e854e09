"""The report card: the same work gives the same card, no number is made up, and no text can act on it."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tasks.config import ReportConfig
from tasks.errors import StageError
from tasks.record.manifest import canonical_json, digest_of
from tasks.record.stage import StageRun
from tasks.report import report
from tasks.report.curves import curves, thin
from tasks.report.samples import draw
from tasks.report.scores import score_rows
from tasks.report.training import _chart
from tasks.report.verdict import verdict
from tasks.show.markdown import as_markdown, escaped
from tasks.show.plots import plot_of, sparkline
from tasks.show.text import duration, short, visible
from tests import card_outputs
from tests.card_outputs import (
    COUNTS,
    HOSTILE,
    JUDGE,
    METRIC,
    ONLY,
    RESPONSES,
    SPEED,
    TOKENS,
    Card,
    Outputs,
    Page,
    judge_of,
    pretrained,
    reference,
    sha256,
    summary_of,
)

BY_TWO_ROWS = {"low": -72.613872, "high": 99.371044, "p": 2 / 3}  # of differences of 100 and 50


def test_a_tiny_card_holds_exactly_this(outputs, tmp_path):
    card = Card(outputs, tmp_path)
    losses = [
        {"name": "train", "measured": 2, "points": [[1, 2.5, 2.5, 2.5], [2, 1.5, 1.5, 1.5]]},
        {"name": "validation", "measured": 1, "points": [[2, 2.0, 2.0, 2.0]]},
    ]
    best = {"best_step": 2, "best_validation_loss": 2.0}

    def file_facts(name, content):
        listed = {"name": name, "bytes": len(content), "sha256": sha256(content)}
        whole = digest_of(canonical_json({name: sha256(content)}))
        return {"files": 1, "bytes": len(content), "sha256": whole, "listed": [listed]}

    def answer(text, kind, score):
        return {"response": text, "cut": not text, "kind": kind, "score": score} | dict.fromkeys(
            ("reason", "missing_because")
        )

    assert card.report == {
        "title": "touchstone-tiny",
        "corpus": file_facts("a.txt", "abc")
        | {name: TOKENS[name] for name in ("documents", "set_aside", "vocab_size", "train", "validation")},
        "instructions": file_facts("rows.json", "[]") | COUNTS,
        "model": {"family": "GPT-2", "layers": 1, "heads": 2, "width": 8, "context": 32}
        | {"vocab_size": 300, "parameters": 1234},
        "pretraining": {"parameters": 1234, "steps": 2, "tokens": 128, "train_loss": 1.5}
        | best
        | {"best_perplexity": 7.4, "best_bits_per_byte": 1.2},
        "finetuning": {"template": "phi3", "steps": 2, "supervised_tokens": 9, "rows_cut": 0}
        | {"train_loss": 1.5}
        | best,
        "curves": [
            {"training": training, "quantity": "loss", "x": "steps", "kept": 2, "lines": losses}
            for training in ("pretraining", "finetuning")
        ],
        "checks": [],
        "headline": METRIC,
        "judge": None,
        "scores": [
            {"model": "base"} | summary_of(METRIC, [0.0, 0.0]),
            {"model": "fine-tuned"} | summary_of(METRIC, [100.0, 50.0]),
        ],
        "agreements": [],
        "differences": [
            {"scorer": METRIC, "kind": "metric", "model": "fine-tuned", "against": "base"}
            | {"difference": 75.0, "rows": 2, "missing": 0}
            | {name: pytest.approx(value, abs=1e-4) for name, value in BY_TWO_ROWS.items()}
        ],
        "categories": [
            {"category": "sums", "scorer": METRIC, "rows": 1, "base": 0.0, "fine-tuned": 50.0},
            {"category": "talk", "scorer": METRIC, "rows": 1, "base": 0.0, "fine-tuned": 100.0},
        ],
        "responses": [{"model": "base"} | RESPONSES, {"model": "fine-tuned"} | RESPONSES],
        "samples": {
            "seed": 123,
            "of": 2,
            "by": "fine-tuned",
            "worst": 0,
            "rows": [
                {"id": 3, "category": "sums", "instruction": "Add.", "input": "1 and 2", "reference": "3"}
                | {"base": answer("x", "ok", 0.0), "fine-tuned": answer("4", "ok", 50.0)},
                {"id": 7, "category": "talk", "instruction": "Say hi.", "input": "", "reference": "hi"}
                | {"base": answer("", "empty", 0.0), "fine-tuned": answer("hi", "identical", 100.0)},
            ],
        },
        "promotion": outputs.promotion,
    }


class Client:
    """As much of MLflow's client as the costs are read with."""

    def __init__(self, runs):
        self.runs = runs

    def get_run(self, run_id):
        metrics, parent = self.runs[run_id]
        tags = {"mlflow.parentRunId": parent} if parent else {}
        info = SimpleNamespace(start_time=list(self.runs).index(run_id) * 1000)
        return SimpleNamespace(data=SimpleNamespace(metrics=metrics, tags=tags), info=info)


def test_the_same_work_gives_the_same_bytes_whoever_ran_it(outputs, tmp_path):
    first = Card(outputs, tmp_path / "1", references={"rows": reference("rows", "r1")})
    second = Card(outputs, tmp_path / "2", lineage={"touchstone.git_commit": "abc"})
    assert first.bytes == second.bytes
    assert str(tmp_path).encode() not in first.bytes
    assert b"r1" not in first.bytes


def test_costs_come_from_mlflow_and_a_reused_stage_says_so(outputs, tmp_path):
    runs = {
        "r1": ({"seconds": 61.0, "tokens_per_second": 14490.0}, "now"),
        "r2": ({"seconds": 2.0}, "before"),
        "now": ({}, None),
        "before": ({}, None),
    }
    card = Card(
        outputs,
        tmp_path,
        tracking=SimpleNamespace(
            client=Client(runs), uri=f"sqlite:///{tmp_path}/mlruns/mlflow.db", root=tmp_path / "mlruns"
        ),
        references={"base": outputs.record(), "rows": reference("rows", "r2")},
        lineage={"touchstone.git_commit": "abc", "touchstone.prefect_flow_run_id": ""},
    )
    assert card.cost["stages"] == [
        {"output": "base", "stage": "pretrain", "run_id": "r1", "key": "k" * 64, "digest": "d" * 64}
        | {"seconds": 61.0, "tokens_per_second": 14490.0, "parent": "now", "elsewhere": {}},
        {"output": "rows", "stage": "rows", "run_id": "r2", "key": "k" * 64, "digest": "d" * 64}
        | {"seconds": 2.0, "tokens_per_second": None, "parent": "before", "elsewhere": {}},
    ]
    assert card.cost["lineage"] == {"git_commit": "abc"}
    assert "reused" not in card.html.partition("<h2>Cost")[2]  # unknown without a run of its own
    card.cost["parent"] = "now"
    text = as_markdown(card.document)
    assert "| base | 1 min 01 s | pretrain 14.5 k tokens/s |" in text
    assert "| rows | 2.0 s | reused |" in text
    assert "1 min 03 s together, 2.0 s of it in earlier runs" in text
    card.cost["stages"][1]["elsewhere"] = {"threads": "4", "torch": "2.12.0"}
    note = "reused from another environment (threads 4, torch 2.12.0)"
    assert f"| rows | 2.0 s | {note} |" in as_markdown(card.document)


def test_the_page_needs_nothing_else(outputs, tmp_path):
    url = "http://127.0.0.1:4200/runs/1"
    lineage = {"touchstone.prefect_flow_run": "brave-otter", "touchstone.prefect_pipeline_url": url}
    card = Card(outputs, tmp_path, lineage=lineage)
    elements = Page(card.html).elements
    assert {tag for tag, _ in elements}.isdisjoint({"script", "link", "img", "iframe", "object", "base"})
    for tag, attributes in elements:
        assert not {"src", "srcset", "action", "xlink:href"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert tag == "a" or "href" not in attributes
    assert [attributes["href"] for tag, attributes in elements if tag == "a"] == [url]
    assert "url(" not in card.html
    assert "@import" not in card.html
    assert card.html.count("http") == 3  # the link, its words, and http-equiv of the content policy


def test_a_flow_address_that_is_none_is_no_link(outputs, tmp_path):
    url = "javascript:alert(1)"
    lineage = {"touchstone.prefect_flow_run": "x", "touchstone.prefect_pipeline_url": url}
    card = Card(outputs, tmp_path, lineage=lineage)
    assert "a" not in {tag for tag, _ in Page(card.html).elements}


def hostile(outputs, text):
    outputs.judged().reason = text
    outputs.rows = [
        row | {"instruction": text, "input": text, "output": text, "category": text} for row in outputs.rows
    ]
    outputs.responses = {"base": [text, text], "tuned": [text, text]}
    outputs.promotion |= {"name": text, "reason": text}
    return outputs


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup_of_the_page(outputs, tmp_path, text):
    calm = Page(Card(hostile(outputs, "calm"), tmp_path / "calm").html)
    page = Page(Card(hostile(outputs, text), tmp_path / "hostile").html)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in calm.elements]
    assert visible(text) in page.text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_acts_on_the_terminal(outputs, tmp_path, text):
    card = Card(hostile(outputs, text), tmp_path)
    shown = card.terminal(width=400)
    assert all(character == "\n" or character.isprintable() for character in shown)
    assert " ".join(visible(text).split()) in shown


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_markup_of_the_artifact(outputs, tmp_path, text):
    def tokens(markdown):
        flat = MarkdownIt("commonmark").enable("table").parse(markdown)
        inside = [child for token in flat for child in token.children or ()]
        return [token.type for token in flat], {child.type for child in inside}, flat

    calm, _, _ = tokens(Card(hostile(outputs, "calm"), tmp_path / "calm").markdown)
    card = Card(hostile(outputs, text), tmp_path / "hostile")
    blocks, spans, flat = tokens(card.markdown)
    assert blocks == calm
    assert spans <= {"text", "strong_open", "strong_close", "code_inline"}
    assert "http://" not in "".join(token.content for token in flat if token.type == "inline")
    for fence in (token.content for token in flat if token.type == "fence"):
        labels = [line.partition(":")[0] for line in fence.split("\n") if line and not line.startswith(" ")]
        assert [label.partition(" ")[0] for label in labels] == [
            "row",
            "prompt",
            "input",
            "base",
            "fine-tuned",
            "reference",
        ]


def test_text_is_escaped_for_markdown_on_one_line():
    assert escaped("a|b\n<i> www.x.y http://z @me 5.0") == r"a\|b \<i\> www\.x.y http\://z \@me 5.0"
    assert [escaped(text) for text in ("- a", "+ a", "1. a", "a - b")] == [
        r"\- a",
        r"\+ a",
        r"1\. a",
        "a - b",
    ]


def test_a_mean_that_is_not_there_is_never_a_number(outputs, tmp_path):
    card = Card(outputs.judged(), tmp_path)
    entry = card.report["scores"][1]
    assert (entry["model"], entry["scorer"], entry["mean"]) == ("base", JUDGE, None)
    assert card.report["differences"][1] == {
        "scorer": JUDGE,
        "kind": "judge",
        "model": "fine-tuned",
        "against": "base",
        "difference": None,
        "low": None,
        "high": None,
        "p": None,
        "rows": 1,
        "missing": 1,
    }
    for name, text in card.all().items():
        text = " ".join(text.split())
        assert "no mean: too many missing" in text, name
        assert "1 of 2 rows scored, 1 missing: over all rows between 12.5 and 62.5" in text, name
        assert "Whether fine-tuning helped is not known" in text, name
    row = score_rows(card.report)[1]
    assert (row["mean"], row["95% interval"], row["missing"]) == ("no mean: too many missing", "", 1)
    assert card.report["samples"]["rows"][1]["base"]["score"] is None
    assert "| talk 1 row | 100.0 (base no mean) |" in card.markdown


def test_metric_and_judge_are_told_apart(outputs, tmp_path):
    outputs.judged().reason = "It names another number."
    card = Card(outputs, tmp_path)
    assert [(row["scorer"], row["kind"]) for row in score_rows(card.report)] == [
        (METRIC, "metric"),
        (JUDGE, "judge"),
    ] * 2
    assert card.report["judge"] == {"despite_audit": False, "criteria": [], "judges": [judge_of()]}
    for name, text in card.all().items():
        assert "chrF++, a metric" in text or name == "markdown"
        assert "llama3.2:3b, a judge" in text, name
        assert "chrF++, a judge" not in text, name
    assert card.html.index("llama3.2:3b, a judge</p>") < card.html.index("chrF++, a metric <")
    assert "Reason: It names another number." in card.html


@pytest.mark.parametrize(
    ("interval", "sentence", "number"),
    [
        ((2.0, 1.0, 3.0), "Fine-tuning helped", "+2.0"),
        ((-2.0, -3.0, -1.0), "Fine-tuning made it worse", "−2.0"),
        ((2.0, -1.0, 5.0), "No difference can be shown", "+2.0"),
        ((0.0, 0.0, 0.0), "No difference can be shown", "+0.0"),
    ],
)
def test_the_verdict_is_the_intervals(interval, sentence, number):
    difference = dict(zip(("difference", "low", "high"), interval, strict=True))
    entry = {"scorer": METRIC, "kind": "metric", "model": "fine-tuned", "against": "base", "rows": 9}
    scores = [{"model": model} | summary_of(METRIC, [50.0]) for model in ("base", "fine-tuned")]
    card = {
        "headline": METRIC,
        "differences": [entry | difference],
        "scores": scores,
        "samples": {},
        "judge": None,
    }
    found = verdict(card)
    assert (found.sentence, found.number) == (sentence, number)


def test_rows_without_categories(outputs, tmp_path):
    for row in outputs.rows:
        del row["category"]
    card = Card(outputs, tmp_path)
    assert card.report["categories"] == []
    for text in card.all().values():
        assert "By category" not in text


def test_without_a_validation_split_there_is_no_validation_loss(outputs, tmp_path):
    outputs.validation = None
    card = Card(outputs, tmp_path)
    for found in card.report["curves"]:
        assert found["kept"] is None
        assert [line["name"] for line in found["lines"]] == ["train"]
    for text in card.all().values():
        assert "validation split" in " ".join(text.split())
    assert "kept model" not in card.html


# Of a pipeline that ends after pretraining


def test_a_card_about_pretraining_alone_holds_exactly_this(outputs, tmp_path):
    card = pretrained(outputs, tmp_path)
    assert card.report == {
        "title": "GPT-2 on a.txt",
        "corpus": {
            "files": 1,
            "bytes": 3,
            "sha256": digest_of(canonical_json({"a.txt": sha256("abc")})),
            "listed": [{"name": "a.txt", "bytes": 3, "sha256": sha256("abc")}],
        }
        | {name: TOKENS[name] for name in ("documents", "set_aside", "vocab_size", "train", "validation")},
        "model": {"family": "GPT-2", "layers": 1, "heads": 2, "width": 8, "context": 32}
        | {"vocab_size": 300, "parameters": 1234},
        "pretraining": {"parameters": 1234, "steps": 2, "tokens": 128, "train_loss": 1.5}
        | {"best_step": 2, "best_validation_loss": 2.0, "best_perplexity": 7.4, "best_bits_per_byte": 1.2}
        | ONLY,
        "curves": [
            {
                "training": "pretraining",
                "quantity": "loss",
                "x": "steps",
                "kept": 2,
                "lines": [
                    {"name": "train", "measured": 2, "points": [[1, 2.5, 2.5, 2.5], [2, 1.5, 1.5, 1.5]]},
                    {"name": "validation", "measured": 1, "points": [[2, 2.0, 2.0, 2.0]]},
                ],
            }
        ],
        "checks": [],
    }
    assert card.cost["speed"] == SPEED
    text = {"step": 2, "validation_loss": 2.0, "text": "One."}
    assert card.cost["texts"] == {"of": 1, "kept": 1, "rows": [text]}


def test_every_form_shows_losses_texts_and_speed_but_no_judging(outputs, tmp_path):
    for name, text in pretrained(outputs, tmp_path).all().items():
        shown = " ".join((Page(text.partition("</style>")[2]).text if name == "html" else text).split())
        for part in ("GPT-2 on a", "Best validation loss", "2.000", "step 2 of 2", "perplexity 7.4"):
            assert part in shown, (name, part)
        for part in (
            "1.200 bits per byte",
            "One.",
            "14.5 k tokens/s in steps",
            "41% of this machine",
            "1.23 k parameters",
        ):
            assert part in shown, (name, part)
        for part in ("version", "Scores", "ine-tun", "nstruction", "Candidate", "Champion", "udge"):
            assert part not in shown, (name, part)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_the_model_acts_in_any_form(outputs, tmp_path, text):
    def blocks(markdown):
        return [token.type for token in MarkdownIt("commonmark").enable("table").parse(markdown)]

    calm = pretrained(Outputs(tmp_path / "calm"), tmp_path / "1", texts=["calm"])
    card = pretrained(outputs, tmp_path / "2", texts=[text])
    page = Page(card.html)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in Page(calm.html).elements]
    assert visible(text).replace("\\r", "\n") in page.text  # a file's lines may end in any way
    assert blocks(card.markdown) == blocks(calm.markdown)
    assert all(character == "\n" or character.isprintable() for character in card.terminal(width=400))


def evaluated(outputs, count):
    outputs.history = [
        entry
        for n in range(1, count + 1)
        for entry in (
            {"step": n, "tokens": 64 * n, "train_loss": 2.0},
            {"step": n, "tokens": 64 * n, "validation_loss": 3.0 - n / 10},
        )
    ]
    outputs.validation = outputs.history.pop()
    return outputs


def test_texts_differ_by_evaluation_and_are_shown_first_to_last(outputs, tmp_path):
    texts = ["a\n--- step 2, validation loss 9.9999\nb", "", "c\n", "d", "e"]
    card = pretrained(evaluated(outputs, 5), tmp_path / "all", texts=texts)
    assert [row["text"] for row in card.cost["texts"]["rows"]] == texts
    few = Outputs(tmp_path / "few")
    card = pretrained(evaluated(few, 5), tmp_path / "3", ReportConfig(samples=3), texts=texts)
    assert [row["step"] for row in card.cost["texts"]["rows"]] == [1, 3, 5]
    assert "3 of 5 texts that the model wrote at evaluations, by greedy decoding. The" in card.markdown


def test_continued_training_shows_texts_of_its_last_attempt_only(outputs, tmp_path):
    card = pretrained(evaluated(outputs, 5), tmp_path, texts=["d", "e"])
    assert [row["step"] for row in card.cost["texts"]["rows"]] == [4, 5]
    for text in card.all().values():
        assert "continued from a checkpoint: earlier ones are not kept" in " ".join(text.split())


def test_card_without_validation_has_training_loss_and_no_texts(outputs, tmp_path):
    outputs.validation = None
    card = pretrained(outputs, tmp_path, texts=[])
    assert card.cost["texts"] == {"of": 0, "kept": 0, "rows": []}
    for name, text in card.all().items():
        shown = " ".join((Page(text.partition("</style>")[2]).text if name == "html" else text).split())
        assert "Last training loss" in shown, name
        assert "1.500" in shown, name
        assert "without a validation split there are no evaluations" in shown, name
        assert "erplexity" not in shown, name


def test_model_of_another_family_has_its_shape_as_far_as_known(outputs, tmp_path, monkeypatch):
    bloom = {"model_type": "bloom", "n_layer": 24, "n_head": 16, "hidden_size": 1024, "vocab_size": 46145}
    monkeypatch.setattr(card_outputs, "MODEL", bloom)
    card = pretrained(outputs, tmp_path)
    assert card.report["title"] == "BLOOM on a.txt"
    assert card.report["model"]["context"] is None
    for text in card.all().values():
        assert "24 layers, 16 heads, width 1,024" in " ".join(text.split())


def test_models_scored_by_different_scorers_are_not_compared(outputs, tmp_path):
    folders = outputs.write()
    outputs.judged().write_answers("tuned")
    run = StageRun(out=tmp_path / "o", auxiliary=tmp_path / "a", checkpoint=tmp_path / "c")
    with pytest.raises(StageError, match=r"scored by metric:chrf .* by ollama"):
        report(ReportConfig(), run, **folders)


def test_scores_of_other_rows_are_not_compared(outputs, tmp_path):
    folders = outputs.write()
    outputs.rows[0]["id"] = 99
    outputs.write_answers("tuned")
    run = StageRun(out=tmp_path / "o", auxiliary=tmp_path / "a", checkpoint=tmp_path / "c")
    with pytest.raises(StageError, match="not of the same rows"):
        report(ReportConfig(), run, **folders)


def test_of_many_files_some_are_named_and_all_are_in_the_digest(outputs, tmp_path):
    for index in range(60):
        (outputs.folder("corpus") / f"{index:03}.txt").write_text(str(index))
    card = Card(outputs, tmp_path)
    assert (card.report["corpus"]["files"], len(card.report["corpus"]["listed"])) == (61, 50)
    assert "and 11 more; over all of them" in card.html


def test_thinned_points_are_means_with_their_range():
    points = [(1, 4.0), (2, 2.0), (3, 9.0), (4, 1.0), (5, 1.0)]
    assert thin(points, 2) == [[2, 3.0, 2.0, 4.0], [5, pytest.approx(11 / 3, abs=1e-5), 1.0, 9.0]]
    assert thin(points[:2], 300) == [[1, 4.0, 4.0, 4.0], [2, 2.0, 2.0, 2.0]]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=1000), st.integers(1, 300))
def test_thinning_keeps_the_ends_and_every_spike(losses, limit):
    thinned = thin(list(enumerate(losses)), limit)
    assert len(thinned) == min(limit, len(losses))
    assert thinned[-1][0] == len(losses) - 1
    assert max(high for *_, high in thinned) == pytest.approx(max(losses), rel=1e-5)


def test_a_long_curve_is_thinned_and_says_so(outputs, tmp_path):
    outputs.history = [{"step": n, "tokens": 64 * n, "train_loss": 2.0 + n % 2} for n in range(1, 1001)]
    card = Card(outputs, tmp_path)
    line = card.report["curves"][0]["lines"][0]
    assert (line["measured"], len(line["points"])) == (1000, 300)
    assert "1,000 training values in 300 points" in card.html


def test_a_chart_has_round_ticks_and_marks_the_kept_model():
    history = [{"step": n, "train_loss": loss} for n, loss in ((1, 7.6), (100, 4.0), (200, 3.0))]
    (losses,) = curves("finetuning", history, 100)
    found = plot_of(_chart(losses, "nats per token"))
    assert [label for _, label in found.y_ticks] == ["0", "2", "4", "6", "8"]
    assert [label for _, label in found.x_ticks] == ["0", "50", "100", "150", "200"]
    assert found.kept == 50.0
    assert found.lines[0].path == "M0.50 5.00L50.00 50.00L100.00 62.50"
    assert curves("finetuning", [], None) == []


def test_chart_of_margins_goes_below_zero_and_of_shares_to_all():
    history = [
        {"step": 1, "reward_margin": -0.5, "reward_accuracy": 0.5},
        {"step": 2, "reward_margin": 1.0, "reward_accuracy": 0.75},
    ]
    charts = [_chart(curve, "nats per pair") for curve in curves("preference", history, None)]
    margins, shares = map(plot_of, charts)
    assert [label for _, label in margins.y_ticks] == ["−0.5", "0", "0.5", "1"]
    assert [place for place, _ in margins.y_ticks] == pytest.approx([100, 200 / 3, 100 / 3, 0])
    assert [label for _, label in shares.y_ticks] == ["0%", "25%", "50%", "75%", "100%"]
    assert [chart.title for chart in charts] == ["Reward margin", "Reward accuracy"]


scored = st.tuples(st.sampled_from([None, "a", "b"]), st.none() | st.floats(0, 100))


@given(st.lists(scored, min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 3))
def test_samples_are_drawn_over_the_whole_range_of_scores(values, count, seed):
    rows = [(index, category, score) for index, (category, score) in enumerate(values)]
    drawn = draw(rows, count, seed)
    assert len(drawn) == len(set(drawn)) == min(count, len(rows))
    assert drawn == draw(rows, count, seed)
    ordered = sorted(-1.0 if score is None else score for _, score in values)
    for place, row in enumerate(drawn):
        score = -1.0 if values[row][1] is None else values[row][1]
        part = ordered[len(rows) * place // len(drawn) : len(rows) * (place + 1) // len(drawn)]
        assert part[0] <= score <= part[-1]


def test_samples_are_of_as_many_categories_as_there_is_room_for():
    rows = [(index, "rare" if index % 10 == 0 else "common", 50.0) for index in range(100)]
    drawn = draw(rows, 4, 123)
    assert sum(row % 10 == 0 for row in drawn) == 2


@pytest.mark.parametrize("width", [80, 100])
def test_nothing_is_cut_in_the_terminal(outputs, tmp_path, width):
    lineage = {"touchstone.git_commit": "c" * 40, "touchstone.prefect_flow_run": "brave-otter"}
    names = ("corpus", "instructions", "rows", "tokens", "base", "promotion")
    references = {name: reference(name, "e" * 32) for name in names} | {"base": outputs.record((), "e" * 32)}
    card = Card(outputs.judged(), tmp_path, lineage=lineage, references=references)
    lines = card.terminal(width).rstrip("\n").split("\n")
    assert len(lines) <= 72
    assert max(map(len, lines)) <= width
    together = " ".join(" ".join(lines).split())
    assert "1 of 2 rows scored, 1 missing: over all rows between 12.5 and 62.5" in together
    assert "c" * 40 in together
    assert "…" not in together


def test_a_sparkline_stands_on_zero():
    assert sparkline([8.0, 4.0, 0.0], 8) == "█▅▁"
    assert sparkline([8.0, 8.0, 4.0, 4.0], 2) == "█▅"
    assert sparkline([], 8) == ""


def test_numbers_as_people_read_them():
    assert [short(n) for n in (0, 999, 1000, 889984, 124439808, 999_600)] == [
        "0",
        "999",
        "1 k",
        "890 k",
        "124 M",
        "1 M",
    ]
    assert [duration(s) for s in (None, 0.04, 59.94, 60, 3725)] == [
        "not recorded",
        "0.0 s",
        "59.9 s",
        "1 min 00 s",
        "1 h 02 min",
    ]


def test_what_a_cached_run_shows_is_light_to_import():
    code = (
        "import sys, tasks.report.document, tasks.show.terminal, tasks.show.markdown\n"
        "heavy = {'matplotlib', 'torch', 'transformers', 'pandas', 'mlflow', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
