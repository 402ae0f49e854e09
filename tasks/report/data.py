"""What the card tells of the data: files, documents, rows and their splits."""

from collections.abc import Mapping

from tasks.machine.json_files import Json
from tasks.show.document import Block, Fact, Facts, Fold, Group
from tasks.show.text import capital, percent, plural, size

DATA = {"corpus": "Corpus", "instructions": "Instructions", "labelled": "Labelled texts"}


def data_group(name: str, report: Json) -> Group:
    """One of `DATA` with its files."""
    data = report[name]
    blocks: list[Block] = [Facts([Fact(*line) for line in data_lines(name, report)])]
    if "listed" in data:
        files = [
            Fact(file["name"], file["sha256"], size(file["bytes"]), is_code=True) for file in data["listed"]
        ]
        if (more := data["files"] - len(data["listed"])) > 0:
            files.append(Fact(f"and {more:,} more; over all of them", data["sha256"], is_code=True))
        blocks.append(Fold("Files with SHA-256", [Facts(files)]))
    return Group(DATA[name], blocks)


def files_text(data: Json) -> str:
    return f"{plural(data['files'], 'file')}, {size(data['bytes'])}"


def data_lines(name: str, report: Json) -> list[tuple[str, str]]:
    """One of `DATA` as pairs of label and value."""
    data = report[name]
    lines = _corpus_lines(data) if name == "corpus" else _row_lines(data)
    for training in ("finetuning", "classification"):
        if name != "corpus" and (cut := report.get(training, {}).get("rows_cut")):
            lines.append(("Cut", f"{cut:,} training rows were too long"))
    return lines + ([("Files", files_text(data))] if "files" in data else [])


def data_text(name: str, report: Json) -> str:
    """One of `DATA` in a line."""
    data = report[name]
    parts = [files_text(data)] if "files" in data else []
    if name == "corpus":
        return ", ".join([*parts, corpus_text(data)])
    parts += [f"{data['read']:,} rows, {splits_text(data)}"]
    mixed = f"trained on: {sources_text(data['sources'])}" if "sources" in data else ""
    return "; ".join(filter(None, (", ".join(parts), moved_text(data), left_text(data), mixed)))


def _corpus_lines(corpus: Json) -> list[tuple[str, str]]:
    lines = [("Documents", f"{corpus['documents']:,}"), ("Vocabulary", f"{corpus['vocab_size']:,} tokens")]
    for split in ("train", "validation"):
        tokens, text = corpus[split]["tokens"], size(corpus[split]["bytes"])
        told = ""
        if unknown := corpus[split].get("unknown"):
            told = f", {unknown / max(1, tokens - corpus[split]['documents']):.1%} of them unknown"
        lines.append((split.capitalize(), f"{tokens:,} tokens, {text} of text{told}"))
    if corpus["set_aside"]:
        lines.append(("Not used", f"{plural(corpus['set_aside'], 'document')}, malformed or empty"))
    return lines


def _row_lines(rows: Json) -> list[tuple[str, str]]:
    lines = [("Rows read", f"{rows['read']:,}, with {rows['distinct_prompts']:,} distinct {_thing(rows)}s")]
    if formats := rows.get("formats"):
        lines.append(("Format", ", ".join(f"{name} {count:,}" for name, count in formats.items())))
    if labels := rows.get("labels"):
        lines.append(("Labels", ", ".join(f"{name} {count:,}" for name, count in labels.items())))
    lines += [("Splits", splits_text(rows)), ("Leaks", capital(moved_text(rows)))]
    if sources := rows.get("sources"):
        lines.append(("Training rows by source", sources_text(sources)))
    return lines + ([("Not used", left_text(rows))] if left_text(rows) else [])


def _thing(rows: Json) -> str:
    return "text" if rows.get("labels") else "prompt"


def corpus_text(corpus: Json) -> str:
    """Documents, the tokens of both splits, and what was not used."""
    text = (
        f"{plural(corpus['documents'], 'document')}, {corpus['train']['tokens']:,} + "
        f"{corpus['validation']['tokens']:,} tokens (train + validation), "
        f"a vocabulary of {corpus['vocab_size']:,}"
    )
    left = corpus["set_aside"]
    return f"{text}; {plural(left, 'document')} malformed or empty and not used" if left else text


def splits_text(rows: Json) -> str:
    """`850 train, 50 validation, 100 test`."""
    return ", ".join(f"{count:,} {name}" for name, count in rows["splits"].items())


def moved_text(rows: Json) -> str:
    """What leaked, and was moved into the training split."""
    moved = {name: count for name, count in rows["moved"].items() if count}
    if not moved:
        return f"no {_thing(rows)} stood in two splits"
    text = f"moved to train because their {_thing(rows)}s leaked: "
    text += ", ".join(f"{count:,} from {name}" for name, count in moved.items())
    if near := sum(rows.get("near", {}).values()):
        text += f" ({near:,} of them only nearly the same)"
    return text


def sources_text(sources: Mapping[str, Json]) -> str:
    """`own.json 80.0% (800 drawn of 400 rows, 2.00 epochs), ...`: asked for, and drawn."""
    return ", ".join(
        f"{name} {percent(own['share'])} ({own['drawn']:,} drawn of {plural(own['rows'], 'row')}, "
        f"{own['epochs']:.2f} epochs)"
        for name, own in sources.items()
    )


def left_text(rows: Json) -> str:
    """What was not used: malformed rows set aside, and those that balancing left out."""
    parts = [
        f"{rows[name]:,} {why}"
        for name, why in (
            ("set_aside", "malformed and set aside"),
            (
                "left_out",
                "left out to mix the sources" if "sources" in rows else "left out to balance labels",
            ),
        )
        if rows.get(name)
    ]
    return ", ".join(parts)
