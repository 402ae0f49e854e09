"""The README of an export, as hubs read it: metadata, then what the report card says of the model."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tasks.classify.tasks import card_of
from tasks.export.source import ExportSource
from tasks.judge.score import scores_wording as words
from tasks.machine.json_files import Json
from tasks.registry.promote.promotion_wording import checked_text
from tasks.report.data import DATA, data_lines
from tasks.report.exports import blocks as export_blocks
from tasks.report.kinds import is_classified, is_judged, is_pretrained_only
from tasks.report.training import TRAINING_TITLES, shape_text, training_lines, trainings
from tasks.show.document import (
    Block,
    Bullet,
    Bullets,
    Cell,
    Code,
    Document,
    Fact,
    Facts,
    Section,
    Text,
    table_of,
)
from tasks.show.markdown import as_markdown
from tasks.show.text import capital, plural, short

LEVEL = 0.95
Task = tuple[str, str]
"""As a hub calls it, and as people do."""
GENERATION: Task = ("text-generation", "Text generation")
SEQ2SEQ: Task = ("text2text-generation", "Text-to-text generation")


def model_card(source: ExportSource, exported: Json) -> str:
    """The whole file. It names no folder of this machine."""
    document = Document(
        kind="model card",
        title=source.name,
        subtitle="",
        sections=list(_sections(source, exported)),
    )
    front = yaml.safe_dump(metadata(source), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n{as_markdown(document)}"


def metadata(source: ExportSource) -> Json:
    """What a hub lists and filters by: https://huggingface.co/docs/hub/model-cards."""
    config, classifies = source.config, source.summary.classifies
    libraries = {"gguf": "gguf", "ollama": "gguf", "adapter": "peft"}
    found: Json = {}
    if config.license:
        found["license"] = config.license
    if config.language:
        found["language"] = list(config.language)
    if source.base_model:
        found["base_model"] = source.base_model
    found["library_name"] = libraries.get(config.to, "transformers")
    kind, name = _task(source)
    found["pipeline_tag"] = kind
    found["tags"] = ["touchstone", *(["conversational"] if source.template else []), *config.quantize]
    if results := list(_results(source.card or {}, classifies)):
        found["metrics"] = list(dict.fromkeys(metric["type"] for metric in results))
        dataset = {"type": "test-rows", "name": _dataset_name(source.card), "split": "test"}
        result = {"task": {"type": kind, "name": name}, "dataset": dataset, "metrics": results}
        found["model-index"] = [{"name": source.name, "results": [result]}]
    return found


def _dataset_name(card: Json) -> str:
    data = card.get("instructions") or card.get("labelled") or {}
    listed = data.get("listed") or [{"name": "rows"}]
    return Path(listed[0]["name"]).name


def _results(card: Json, classifies: bool) -> Iterator[Json]:
    """A metric with its value and its interval, of the model that is exported: the last one trained."""
    if classifies and is_classified(card):
        task = card_of(card["evaluation"])
        found = card["evaluation"]["splits"]["test"][task.measure]
        yield _metric(task.measure, capital(task.headline), found["mean"], found["low"], found["high"])
        return
    if not is_judged(card):
        return
    *_, model = words.models(card)
    for entry in card["scores"]:
        if entry["model"] == model and words.has_mean(entry):
            kind = entry["scorer"].partition(":")[2] if entry["kind"] == "metric" else "judge-score"
            yield _metric(kind, words.scorer_title(entry), entry["mean"], entry["low"], entry["high"]) | {
                "rows": entry["scored"]
            }


def _metric(kind: str, name: str, value: float, low: float, high: float) -> Json:
    digits = 4
    interval: dict[str, Any] = {"level": LEVEL, "low": round(low, digits), "high": round(high, digits)}
    return {"type": kind, "name": name, "value": round(value, digits), "args": {"interval": interval}}


# The text


def _sections(source: ExportSource, exported: Json) -> Iterator[Section]:
    card = source.card
    yield Section("Model", list(_model(source, card)))
    yield Section(
        "Use", [Code(_snippet(source), "python" if source.config.to in ("folder", "adapter") else "sh")]
    )
    if card:
        yield from _data_and_training(card)
        yield from _scores(card)
    yield Section("Limits", [Bullets([Bullet(line) for line in _limits(card)])])
    yield Section(f"Exported as {exported['format']}", list(export_blocks(exported)))
    yield Section("Lineage", [Facts(list(_lineage(source)))])


def _model(source: ExportSource, card: Json | None) -> Iterator[Block]:
    facts = []
    if card:
        facts.append(
            Fact("Model", f"{short(card['model']['parameters'])} parameters", shape_text(card["model"]))
        )
    else:
        facts.append(Fact("Model", f"{short(source.summary.parameters)} parameters"))
    facts.append(Fact("Base model", source.base_model or "trained here, or imported from a folder"))
    if source.template:
        facts.append(Fact("Chat template", source.template.name, "in the tokenizer; prompts must follow it"))
    if source.summary.classifies and card_of({"task": source.summary.task}).has_labels:
        facts.append(Fact("Labels", ", ".join(source.summary.labels)))
    yield Facts(facts)


def _task(source: ExportSource) -> Task:
    if source.summary.classifies:
        return card_of({"task": source.summary.task}).hub
    return SEQ2SEQ if source.is_seq2seq else GENERATION


def _snippet(source: ExportSource) -> str:
    name = source.name
    if source.config.to == "ollama":
        return f"ollama create {name} -f Modelfile\nollama run {name}"
    if source.config.to == "gguf":
        return f"llama-cli -m {name}-{source.config.kinds[0]}.gguf -cnv"
    if source.config.to == "adapter":
        base = source.base_model or "BASE"
        kind = "AutoModelForSeq2SeqLM" if source.is_seq2seq else "AutoModelForCausalLM"
        return (
            f"from peft import PeftModel\nfrom transformers import {kind}\n\n"
            f'base = {kind}.from_pretrained("{base}")\n'
            'model = PeftModel.from_pretrained(base, "FOLDER")'
        )
    if source.summary.classifies and (usage := card_of({"task": source.summary.task}).usage):
        return usage
    if source.is_seq2seq:
        return (
            "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("FOLDER")\n'
            'model = AutoModelForSeq2SeqLM.from_pretrained("FOLDER")\n'
            'source = tokenizer("a source", return_tensors="pt")\n'
            "print(tokenizer.batch_decode(model.generate(**source), skip_special_tokens=True))"
        )
    task, _ = _task(source)
    asked = '[{"role": "user", "content": "What can you do?"}]' if source.template else '"Once upon a time"'
    return f'from transformers import pipeline\n\nrun = pipeline("{task}", "FOLDER")\nrun({asked})'


def _data_and_training(card: Json) -> Iterator[Section]:
    blocks: list[Block] = []
    for name in DATA:
        if name in card:
            lines = [f"{line[0]}: {line[1]}" for line in data_lines(name, card)]
            blocks += [Text(DATA[name], "strong"), Bullets([Bullet(line) for line in lines])]
    yield Section("Data", blocks)
    blocks = []
    for name, summary in trainings(card).items():
        lines = training_lines(name, summary)
        blocks += [Text(TRAINING_TITLES[name], "strong"), Bullets([Bullet(f"{line}.") for line in lines])]
    if blocks:
        yield Section("Training", blocks)


def _scores(card: Json) -> Iterator[Section]:
    if is_judged(card):
        rows = [
            {
                "model": entry["model"],
                "scorer": words.scorer_title(entry),
                "mean": Cell(words.mean_text(entry), words.interval_text(entry)),
                "rows": f"{entry['scored']:,} of {entry['rows']:,}",
            }
            for entry in card["scores"]
        ]
        note = "Of the test rows, 0 to 100; in brackets the 95% interval."
        yield Section("Scores", [Text(note), table_of(rows)])
    elif is_classified(card):
        found = card["evaluation"]["splits"]["test"]
        task = card_of(card["evaluation"])
        headline = found[task.measure]
        others = [
            f"{title} {found[name]:.3f}" for name, title in task.measures.items() if name != task.measure
        ]
        more = f"; {', '.join(others)}" if others else ""
        text = (
            f"{capital(task.headline)} {headline['mean']:.3f} (95% interval {headline['low']:.3f} to "
            f"{headline['high']:.3f}) on {plural(found['rows'], 'test row')}{more}."
        )
        yield Section("Scores", [Text(text)])


def _limits(card: Json | None) -> Iterator[str]:
    if card is None:
        yield "Nothing is recorded here of how this model was trained or tested."
        return
    context = card["model"].get("context")
    if context:
        yield f"Prompt and response together have at most {context:,} tokens."
    if is_pretrained_only(card):
        yield "It was pretrained alone: it continues texts, and was not trained to answer."
        return
    yield (
        "The scores are of test rows like the training rows. They say nothing of other tasks, other "
        "languages or safety, none of which was measured."
    )
    if is_judged(card):
        answers = card["responses"][-1]
        yield f"Its responses to the test rows: {words.responses_text(answers)}."
    yield f"{capital(checked_text(card['promotion']))}."


def _lineage(source: ExportSource) -> Iterator[Fact]:
    for name, reference in source.run.references.items():
        yield Fact(f"{capital(name)} ({reference.stage})", reference.digest[:16], is_code=True)
    for name in ("touchstone.git_commit",):
        if name in source.run.lineage:
            yield Fact("Code", source.run.lineage[name][:12], is_code=True)
    yield Fact("Made by", "touchstone")
