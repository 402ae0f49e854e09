"""The card on models that answered the same test rows: scores, labels, categories, responses."""

from collections.abc import Iterator, Sequence

from tasks.judge.labels import labels_wording as labels
from tasks.judge.score import scores_wording as words
from tasks.machine.json_files import Json
from tasks.report import judges
from tasks.report.hues import MODELS, model_columns, tone_of
from tasks.show.document import (
    NOT_IN_TERMINAL,
    PAGE_ONLY,
    TERMINAL_ONLY,
    Block,
    Cell,
    Column,
    Excerpt,
    Excerpts,
    Fold,
    Group,
    Interval,
    Intervals,
    Keep,
    Point,
    Quote,
    Section,
    Table,
    Text,
    table_of,
)
from tasks.show.text import one_line, plural

CATEGORIES = 8  # in the terminal
SAMPLES = 3  # in the terminal
MOST_ROWS = 500  # on the page
WIDEST = 300  # characters of a text in the table of all rows
SHARES = "Shares with Wilson, means with bootstrap 95% intervals."
PERPLEXITY = (
    " The perplexity is what each model makes of the reference completions, over all of their tokens: the "
    "lower, the less they surprise it."
)
LABELS = (
    "People graded some responses from 0 to 5, 20 points a grade, without seeing the scores. The mean of all "
    "scores is corrected by what labels differ from them (prediction-powered inference): the weight says how "
    "much the scores count, 0 for scores that say nothing of what people give. Intervals are of 95%."
)


def sections(report: Json, rows: Sequence[Json]) -> Iterator[Section]:
    """All that is known of the models' responses; `rows` are all test rows, the worst first."""
    yield Section("Scores", list(_scores(report)))
    yield from judges.section(report)
    if labels.means(report):
        yield Section("People's labels", list(_labels(report)))
    if categories := words.headline_categories(report):
        yield Section("By category, lowest first", list(_categories(report, categories)))
    yield Section("Responses", list(_responses(report, rows)))


# Scores


def score_rows(report: Json) -> list[Json]:
    """One row for each model and scorer, for a table artifact; a mean that is not there says why."""
    return [
        {
            "model": entry["model"],
            "scorer": words.configured_name(entry),
            "kind": entry["kind"],
            "mean": words.mean_text(entry),
            "95% interval": words.interval_text(entry),
            "rows": entry["rows"],
            "scored": entry["scored"],
            "missing": entry["missing"],
        }
        for entry in report["scores"]
    ]


def _scores(report: Json) -> Iterator[Block]:
    headline, *_ = words.scorers(report)
    entries = words.of_scorer(report["scores"], headline["scorer"])
    yield Text(words.scorer_title(headline), "strong")
    yield Text(judges.criteria_text(report), "muted")
    yield Text(_scores_note(headline, entries), "muted", PAGE_ONLY)
    yield Intervals([_interval(entry) for entry in entries])
    for found in words.of_scorer(report["differences"], headline["scorer"]):
        yield Text(_difference(found), keep=NOT_IN_TERMINAL)
    for line in judges.correlation_lines(report):
        yield Text(line, "muted")
    yield Group("By every scorer", list(_by_scorer(report, headline)), keep=NOT_IN_TERMINAL)
    if others := words.scorers(report)[1:]:
        rows = [_scorer_row(report, scorer) for scorer in others]
        yield Table(model_columns("", words.models(report)), rows, keep=TERMINAL_ONLY)


def _scorer_row(report: Json, scorer: Json) -> list[Cell]:
    """A scorer and every model's mean with its interval."""
    own = words.of_scorer(report["scores"], scorer["scorer"])
    means = (Cell(words.mean_text(entry), words.interval_text(entry)) for entry in own)
    return [Cell(words.scorer_title(scorer)), *means]


def _scores_note(headline: Json, entries: Sequence[Json]) -> str:
    text = words.scorer_note(headline["kind"])
    if any(entry["scored"] for entry in entries):
        text += (
            " The line is the 95% interval of the mean, the bars count the rows of each tenth of the scale."
        )
    if any(map(words.is_incomplete, entries)):
        text += " Hatched: where the mean over all rows could lie."
    return text


def _interval(entry: Json) -> Interval:
    known = words.has_mean(entry)
    under = words.scored_text(entry)
    return Interval(
        entry["model"],
        words.mean_text(entry),
        words.interval_text(entry),
        MODELS[entry["model"]],
        points=[Point(entry["mean"])] if known else (),
        low=entry["low"] if known else None,
        high=entry["high"] if known else None,
        possible=(entry["lowest_possible"], entry["highest_possible"])
        if words.is_incomplete(entry)
        else None,
        histogram=entry["histogram"] if entry["scored"] else (),
        under=f"{under}; median {words.score_text(entry['median'])}" if known else under,
    )


def _difference(found: Json) -> str:
    text = f"{words.minus_text(found)}: {words.difference_text(found)}, {words.difference_note(found)}"
    if found["difference"] is None:
        return text
    return f"{text}; 95% interval {words.difference_interval(found)}, {found['rows']:,} rows scored for both"


def _by_scorer(report: Json, headline: Json) -> Iterator[Block]:
    """Every scorer's means and differences."""
    note = "Means of 0 to 100 with their 95% intervals; differences are paired, row by row."
    if headline["kind"] == "judge":
        note += f" {words.scorer_note('metric')}"
    yield Text(note, "muted", PAGE_ONLY)
    differences = words.of_scorer(report["differences"], headline["scorer"])
    columns = model_columns("scorer", words.models(report))
    rows = []
    for scorer in words.scorers(report):
        own = words.of_scorer(report["scores"], scorer["scorer"])
        cells = [Cell(words.mean_text(entry), words.interval_text(entry)) for entry in own]
        cells += [
            Cell(words.difference_text(found), words.difference_interval(found), tone_of(found))
            for found in words.of_scorer(report["differences"], scorer["scorer"])
        ]
        rows.append([Cell(words.scorer_title(scorer), words.COMPARES.get(scorer["scorer"], "")), *cells])
        if scorer["scorer"] == words.BLEU:
            corpus = [Cell(words.score_text(entry["corpus_bleu"])) for entry in own]
            title = Cell("BLEU of all rows together", "as it is published for a corpus")
            rows.append([title, *corpus, *(Cell("") for _ in differences)])
    columns += [Column(words.minus_text(found)) for found in differences]
    yield Table(columns, rows)


# Labels and categories


def _labels(report: Json) -> Iterator[Block]:
    yield Text(LABELS, "muted", PAGE_ONLY)
    yield table_of(labels.mean_rows(report), keep=NOT_IN_TERMINAL)
    if labels.differences(report):
        yield table_of(labels.difference_rows(report))
    for entry in labels.means(report):
        first, *others = labels.lines(entry)
        yield Text(f"{first}.")
        yield from (Text(f"{line}.", "muted") for line in others)


def _categories(report: Json, categories: Sequence[Json]) -> Iterator[Block]:
    models = words.models(report)
    yield Text(
        f"Means of the {models[-1]} model by {words.scorer_title(words.scorers(report)[0])}.",
        "muted",
        NOT_IN_TERMINAL,
    )

    def last_mean(row: Json) -> float:
        return -1.0 if row[models[-1]] is None else row[models[-1]]

    rows = [
        Interval(
            row["category"],
            words.category_mean(row[models[-1]]),
            ", ".join(f"{model} {words.category_mean(row[model])}" for model in models[:-1]),
            points=[Point(row[model], MODELS[model]) for model in models if row[model] is not None],
            remark=plural(row["rows"], "row"),
        )
        for row in sorted(categories, key=last_mean)
    ]
    key = [(model, MODELS[model]) for model in models]
    yield Intervals(rows, key=key, is_compact=True, keep=Keep(terminal=CATEGORIES))


# Responses


def _responses(report: Json, rows: Sequence[Json]) -> Iterator[Block]:
    models = words.models(report)
    cells = [
        [Cell(row["name"]), *(Cell(value, interval) for value, interval in row["cells"])]
        for row in words.response_rows(report)
    ]
    columns = model_columns(f"of {report['samples']['of']:,} test rows", models)
    yield Table(columns, cells, empty="nothing was measured", keep=NOT_IN_TERMINAL)
    yield Text(SHARES + PERPLEXITY * words.has_perplexity(report), "muted", PAGE_ONLY)
    for served in words.served_texts(report):
        yield Text(served, "muted")
    for entry in report["responses"]:
        yield Text(f"{entry['model']} responses: {words.responses_text(entry)}", "muted", TERMINAL_ONLY)
    yield Group("Samples", list(_samples(report, rows, models)))


def _samples(report: Json, rows: Sequence[Json], models: Sequence[str]) -> Iterator[Block]:
    yield Text(words.sampling_text(report), "muted")
    samples = [_sample(row, models) for row in report["samples"]["rows"]]
    yield Excerpts(samples, is_spread=True, keep=Keep(terminal=SAMPLES))
    if len(rows) > len(report["samples"]["rows"]):
        more = f", the first {MOST_ROWS:,}" if len(rows) > MOST_ROWS else ""
        shown = [_row(row, models[-1]) for row in rows[:MOST_ROWS]]
        title = f"All {len(rows):,} test rows, the lowest score of the {models[-1]} model first{more}"
        yield Fold(title, [table_of(shown)], keep=PAGE_ONLY)


def _sample(row: Json, models: Sequence[str]) -> Excerpt:
    asked = [Quote("prompt", row["instruction"])]
    asked += [Quote("input", row["input"])] if row["input"] else []
    answers = [_answer(model, row[model]) for model in models]
    meta = " · ".join(filter(None, (f"Row {row['id']}", row["category"])))
    return Excerpt(meta, asked, [*answers, Quote("reference", row["reference"])])


def _answer(model: str, answer: Json) -> Quote:
    told = [words.remarks(answer)]
    told += [f"Reason: {answer['reason']}"] if answer["reason"] else []
    told += [f"Missing: {answer['missing_because']}"] if answer["missing_because"] else []
    score = words.score_text(answer["score"])
    return Quote(model, answer["response"], MODELS[model], score, [line for line in told if line])


def _row(row: Json, model: str) -> dict[str, str | Cell]:
    answer = row[model]
    asked = " ".join(filter(None, (row["instruction"], row["input"])))
    return {
        "row": str(row["id"]),
        "score": words.score_text(answer["score"]),
        "prompt": one_line(asked, WIDEST),
        "response": one_line(answer["response"], WIDEST) or words.remarks(answer),
        "reference": one_line(row["reference"], WIDEST),
    }
