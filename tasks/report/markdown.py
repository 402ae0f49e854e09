"""The card as a Prefect artifact: markdown for the summary, rows for the table of scores."""

import re
from typing import Any

from tasks.report import wording as words

LONGEST = 1200  # characters shown of one response
MARGIN = 20  # characters, for labels

# Marks of spans, tables, headings and HTML; what starts a link without any mark; what starts a list.
ACTING = re.compile(r"[\\`*_\[\]<>#|~&$@]|(?<=www)\.|:(?=//)|^[-+]", re.IGNORECASE)
NUMBERED = re.compile(r"^(\d{1,9})(?=[.)](?:\s|$))")

Json = dict[str, Any]


def score_rows(report: Json) -> list[Json]:
    """One row for each model and scorer, for a table artifact; a mean that is not there says why."""
    return [
        {
            "model": entry["model"],
            "scorer": words.visible(entry["scorer"]),
            "kind": entry["kind"],
            "mean": words.mean_text(entry),
            "95% interval": words.interval_text(entry),
            "rows": entry["rows"],
            "scored": entry["scored"],
            "missing": entry["missing"],
        }
        for entry in report["scores"]
    ]


def as_markdown(report: Json, cost: Json) -> str:
    """The card in short. Text from data, models and judges is escaped, or in fences it cannot close."""
    verdict = words.verdict(report)
    parts = [
        f"# {escaped(report['title'])} {words.under_title(report)}: {words.standing(report)}",
        f"**{verdict.sentence} {verdict.number}".rstrip() + f"** {escaped(verdict.detail)}",
        *(_judged(report) if words.is_judged(report) else ()),
        "## Training",
        _training(report, cost),
        *(() if words.is_judged(report) else _texts(cost)),
        "## Cost",
        escaped(words.cost_text(cost)),
    ]
    if cost["stages"]:
        parts.append(_table([_stage(stage, cost) for stage in cost["stages"]]))
    return "\n\n".join(parts) + "\n"


def _judged(report: Json) -> list[str]:
    parts = [
        escaped(report["promotion"]["reason"]),
        "## Scores",
        _table([{name: str(value) for name, value in row.items()} for row in score_rows(report)]),
        *_bounds(report),
    ]
    if categories := words.of_scorer(report["categories"], report["headline"]):
        parts += ["## By category", _table([_category(row) for row in categories])]
    parts += ["## Samples", escaped(words.sampling_text(report))]
    return parts + [fenced(_sample(row)) for row in report["samples"]["rows"]]


def _texts(cost: Json) -> list[str]:
    parts = ["## Samples", words.texts_text(cost)]
    for row in cost["texts"]["rows"]:
        label = f"step {row['step']:,}, loss {row['validation_loss']:.3f}"
        parts.append(fenced(f"{label}\n{' ' * MARGIN}{_indented(row['text'])}"))
    return parts


def escaped(text: str) -> str:
    """Text on one line in which no character means anything to markdown, to HTML, or to a finder of links."""
    flat = " ".join(words.visible(text).split())
    return NUMBERED.sub(r"\1\\", ACTING.sub(r"\\\g<0>", flat))


def fenced(text: str) -> str:
    """Text as a code block whose fence is longer than any run of backticks in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _table(rows: list[dict[str, str]]) -> str:
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([escaped(row[name]) for name in names] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _bounds(report: Json) -> list[str]:
    return [
        f"{entry['model']}, {escaped(words.scorer_title(entry))}: {escaped(words.scored_text(entry))}"
        for entry in report["scores"]
        if entry["missing"]
    ]


def _category(row: Json) -> dict[str, str]:
    means = {model: words.category_mean(row[model]) for model in (words.BASE, words.TUNED)}
    return {"category": row["category"], "rows": f"{row['rows']:,}"} | means


def _sample(row: Json) -> str:
    """Labels in the margin; what follows a line feed is indented, so that no response can write a label."""
    parts = [("prompt", "\n".join(filter(None, (row["instruction"], row["input"]))))]
    for model in (words.BASE, words.TUNED):
        answer = row[model]
        remark = f" [{words.remarks(answer)}]" if words.remarks(answer) else ""
        parts.append((f"{model} ({words.score_text(answer['score'])})", answer["response"] + remark))
    parts.append(("reference", row["reference"]))
    return "\n".join(f"{label + ':':<{MARGIN}}{_indented(text)}" for label, text in parts)


def _indented(text: str) -> str:
    shown = words.visible(text)
    cut = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    return cut.replace("\n", "\n" + " " * MARGIN)


def _training(report: Json, cost: Json) -> str:
    parameters = words.short(report["pretraining"]["parameters"])
    lines = [("Model", f"{parameters} parameters, {words.shape_text(report['model'])}")]
    lines += [
        (title, f"{report[name]['steps']:,} steps, {words.losses_text(report[name])}")
        for name, title in (("pretraining", "Pretraining"), ("finetuning", "Fine-tuning"))
        if name in report
    ]
    if speed := cost.get("speed"):  # cards of before have none
        lines.append(("Speed", words.speed_text(speed)))
    corpus = report["corpus"]
    lines.append(("Corpus", f"{words.files_text(corpus)}, {words.corpus_text(corpus)}"))
    if words.is_judged(report):
        rows = report["instructions"]
        lines.append(
            ("Instructions", f"{words.files_text(rows)}, {rows['read']:,} rows, {words.moved_text(rows)}")
        )
    return "\n".join(f"- {name}: {escaped(text)}" for name, text in lines)


def _stage(stage: Json, cost: Json) -> dict[str, str]:
    return {
        "output": stage["output"].replace("_", " "),
        "stage": stage["stage"],
        "took": words.duration(stage["seconds"]),
        "note": words.stage_note(stage, cost),
        "MLflow run": stage["run_id"],
        "digest": stage["digest"][:12],
    }
